//! The landing page: behind a link, and where a new link is requested.

use askama::Template;
use serde::Serialize;
use shared::i18n::Language;

use super::{
    locale::{ForScript, Locale},
    page::{Page, STYLE, embed},
};

pub(super) const SCRIPT: &str =
    concat!(include_str!("assets/common.js"), include_str!("assets/landing.js"));

/// Ids of the messages that the script shows.
pub(super) const MESSAGES: [&str; 1] = ["opening"];

#[derive(Template)]
#[template(path = "landing.html")]
struct Landing {
    locale: Locale,
    style: &'static str,
    script: &'static str,
    data: String,
    locked: bool,
}

#[derive(Serialize)]
struct Data {
    root: &'static str,
    locked: bool,
    i18n: ForScript,
}

/// The landing page. With `locked`, in place of a thread that this browser may not read.
pub(crate) fn landing(language: Language, locked: bool) -> askama::Result<Page> {
    let locale = Locale(language);
    let root = if locked { "../" } else { "" };
    let data = embed(&Data { root, locked, i18n: locale.for_script(&MESSAGES, &[]) })?;
    let page = Landing { locale, style: STYLE, script: SCRIPT, data, locked };
    Page::of(&page, language, SCRIPT)
}
