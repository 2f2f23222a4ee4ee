//! Checks that hold for every SMS, for tests and fuzzing only.

use linkify::LinkFinder;
use shared::i18n::Language;

use super::{Content, Encoding, Measure, Sms, measure, phrases::Phrase};

/// Verifies an SMS composed of `content`.
///
/// # Errors
/// The fault, with the text.
pub fn verify(content: &Content<'_>, sms: &Sms) -> Result<(), String> {
    let text = sms.as_str();
    let Measure { encoding, segments } = measure(text);
    let most = match encoding {
        Encoding::Gsm7 => content.limits.gsm7,
        Encoding::Ucs2 => content.limits.ucs2,
    };
    if segments as usize > most {
        return Err(format!("{segments} segments of {encoding:?}: {text:?}"));
    }
    let said = text.strip_suffix(content.link).and_then(|text| text.strip_suffix(' '));
    let said = said.ok_or_else(|| format!("no link at the end: {text:?}"))?;
    let notice = |language| said.ends_with(&Phrase::Notice.say(language));
    let faults = [
        (said.contains(content.link), "the link is there twice"),
        (!links_in(said).is_empty(), "something else is a link"),
        (said.chars().any(is_invisible), "there is an invisible character"),
        (said.contains("  ") || said.trim() != said, "there is unnecessary space"),
        (!said.contains(": ") || !said.contains(char::is_alphanumeric), "it says nothing"),
        (
            content.stop_notice && !notice(content.language) && !notice(Language::English),
            "there is no notice",
        ),
    ];
    let fault = faults.into_iter().find(|(holds, _)| *holds);
    fault.map_or(Ok(()), |(_, fault)| Err(format!("{fault}: {said:?}")))
}

/// Returns what a phone could detect as a link, by an independent library and a few more rules.
pub(super) fn links_in(text: &str) -> Vec<String> {
    let mut finder = LinkFinder::new();
    finder.url_must_have_scheme(false);
    let mut links: Vec<String> = finder.links(text).map(|link| link.as_str().to_owned()).collect();
    links.extend(text.split(' ').filter(|word| has_host(word)).map(str::to_owned));
    links
}

/// Whether a word has a scheme, or a dot followed by a possible top-level domain.
fn has_host(word: &str) -> bool {
    let lower = word.to_lowercase();
    let scheme = ["://", "www.", "mailto:", "javascript:", "tel:", "sms:", "data:"];
    let domain = lower.split(['.', '。']).skip(1).any(|label| {
        let label: Vec<char> = label.chars().take_while(|c| c.is_alphanumeric()).collect();
        label.len() > 1 && label.iter().all(|c| !c.is_numeric())
    });
    domain
        || scheme.iter().any(|scheme| {
            lower
                .split_once(scheme)
                .is_some_and(|(_, rest)| rest.starts_with(char::is_alphanumeric))
        })
}

/// Whether `c` is a directional mark, a joiner, a control or another invisible character.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{feff}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{e0000}'..='\u{e0fff}' | '\u{20e3}')
}
