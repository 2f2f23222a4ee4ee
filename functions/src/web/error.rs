//! The error page: shown while another page can't be made.

use askama::Template;
use shared::i18n::Language;

use super::{
    locale::Locale,
    page::{Page, STYLE},
};

#[derive(Template)]
#[template(path = "error.html")]
struct Error {
    locale: Locale,
    style: &'static str,
}

/// The error page. It has no script.
pub(crate) fn error(language: Language) -> askama::Result<Page> {
    Page::of(&Error { locale: Locale(language), style: STYLE }, language, "")
}
