//! Rules for users' texts: names, titles, messages.

use std::borrow::Cow;

use serde::Serialize;
use unicode_normalization::{UnicodeNormalization, is_nfc};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// The reason why a text is refused. Never holds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Only white space.
    #[error("must not be empty")]
    Empty,
    /// More characters (Unicode scalar values) than allowed.
    #[error("must have at most {max} characters")]
    TooLong {
        /// The maximum.
        max: usize,
    },
    /// Contains a control character other than newline and tab.
    #[error("must not contain control characters other than newline and tab")]
    ControlCharacter,
}

/// Normalizes a text of up to `max` characters for storage; it may have several lines. The result is in
/// Unicode's Normalization Form C (UAX #15), so that a text has one spelling, and without explicit
/// directional formatting (UAX #9, 2.1 to 2.4), which could reverse the text after it. Marks that
/// right-to-left writing needs are kept.
///
/// # Errors
/// [`TextError::TooLong`], [`TextError::ControlCharacter`].
pub fn clean(written: &str, max: usize) -> Result<String, TextError> {
    if written.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Err(TextError::ControlCharacter);
    }
    let text: Cow<'_, str> = if written.contains(is_directional_formatting) {
        written.chars().filter(|c| !is_directional_formatting(*c)).collect::<String>().into()
    } else {
        written.into()
    };
    let text = if is_nfc(&text) { text.into_owned() } else { text.nfc().collect() };
    // A character has at least one byte, so short texts need no counting.
    if text.len() > max && text.chars().count() > max {
        return Err(TextError::TooLong { max });
    }
    Ok(text)
}

/// Whether `c` begins or ends an embedding, override or isolate. Some keyboards and address books add them to
/// copied text.
const fn is_directional_formatting(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Trims white space and directional formatting, so that the text is still trimmed after [`clean`].
#[must_use]
pub fn trim(written: &str) -> &str {
    written.trim_matches(|c: char| c.is_whitespace() || is_directional_formatting(c))
}

/// Whether `text` has no visible character: only white space, formatting and blank letters.
#[must_use]
pub fn is_blank(text: &str) -> bool {
    text.chars().all(|c| {
        c.is_whitespace()
            || matches!(c.general_category(), GeneralCategory::Format | GeneralCategory::Control)
            // Fillers, blank Braille, joiners, variation selectors.
            || matches!(c, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{2800}' | '\u{34f}')
            || matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
    })
}

/// A user's or a family's name: one trimmed line of 1 to 100 characters.
#[derive(Clone, PartialEq, Eq, Serialize, sqlx::Type)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct Name(String);

impl Name {
    /// Maximum length, in characters.
    pub const MAX: usize = 100;

    /// Validates a name.
    ///
    /// # Errors
    /// Any [`TextError`]; newlines, tabs and line separators count as control characters here.
    pub fn new(written: &str) -> Result<Self, TextError> {
        if is_blank(written) {
            return Err(TextError::Empty);
        }
        let name = trim(written);
        if name.contains(['\n', '\t', '\u{2028}', '\u{2029}']) {
            return Err(TextError::ControlCharacter);
        }
        Ok(Self(clean(name, Self::MAX)?))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Name(…)")
    }
}

/// Returns the first `max` characters of `text` on one line, with `…` at the end if it was cut.
#[must_use]
pub fn preview(text: &str, max: usize) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > max * 4 {
            break;
        }
    }
    if line.chars().count() <= max {
        return line;
    }
    let mut cut: String = line.chars().take(max.saturating_sub(1)).collect();
    cut.truncate(cut.trim_end().len());
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept(written: &str) -> String {
        clean(written, 10).expect("a text")
    }

    #[test]
    fn control_characters_are_refused_but_for_newline_and_tab() {
        assert_eq!(kept("a\n\tb"), "a\n\tb");
        for bad in ["\0", "a\r\nb", "\u{7f}", "\u{85}", "\u{1b}[31m"] {
            assert_eq!(clean(bad, 10), Err(TextError::ControlCharacter), "{bad:?}");
        }
    }

    #[test]
    fn length_is_counted_in_characters_of_what_is_kept() {
        assert_eq!(clean(&"é".repeat(4000), 4000), Ok("é".repeat(4000)));
        assert_eq!(clean(&"é".repeat(4001), 4000), Err(TextError::TooLong { max: 4000 }));
        // Two characters each, as some keyboards send them.
        assert_eq!(clean(&"e\u{301}".repeat(4000), 4000), Ok("é".repeat(4000)));
    }

    #[test]
    fn one_text_has_one_spelling() {
        assert_eq!(kept("Zoe\u{308}"), kept("Zo\u{eb}"));
        assert_eq!(kept("\u{1112}\u{1161}\u{11ab}"), "\u{d55c}");
    }

    #[test]
    fn directional_formatting_is_removed() {
        assert_eq!(kept("a\u{202e}gpj.exe"), "agpj.exe");
        assert_eq!(kept("\u{2068}Anna\u{2069}"), "Anna");
        assert_eq!(kept("\u{202a}+1 555\u{202c}"), "+1 555");
        // Right-to-left writing, its marks and joiners stay as they are.
        for right in ["שלום\u{200f}!", "می\u{200c}خواهم", "👨\u{200d}👩\u{200d}👧"]
        {
            assert_eq!(kept(right), right);
        }
    }

    #[test]
    fn invisible_text_is_blank() {
        for blank in
            ["", " \n\t\u{a0}", "\u{200b}\u{feff}", "\u{3164}", "\u{2800} \u{200e}", "\u{202e}"]
        {
            assert!(is_blank(blank), "{blank:?}");
            assert_eq!(Name::new(blank), Err(TextError::Empty), "{blank:?}");
        }
        for seen in ["a", ".", "👍", "ー", "\u{e000}", "\u{200b}a"] {
            assert!(!is_blank(seen), "{seen:?}");
        }
    }

    #[test]
    fn trim_removes_directional_formatting() {
        assert_eq!(trim("\u{2068} \u{202a}a b\n\u{2069} "), "a b");
        assert_eq!(trim("\u{2068} \t"), "");
    }

    #[test]
    fn names_are_one_trimmed_line() {
        assert_eq!(Name::new("  Grandma ").map(|n| n.as_str().to_owned()), Ok("Grandma".into()));
        // As some address books copy it.
        let isolated = Name::new("\u{2068} Grandma\t\u{2069}");
        assert_eq!(isolated.map(|n| n.as_str().to_owned()), Ok("Grandma".into()));
        assert_eq!(Name::new(" \t "), Err(TextError::Empty));
        for two_lines in ["a\nb", "a\tb", "a\u{2028}b"] {
            assert_eq!(Name::new(two_lines), Err(TextError::ControlCharacter));
        }
        assert_eq!(Name::new(&"x".repeat(101)), Err(TextError::TooLong { max: 100 }));
        assert_eq!(format!("{:?}", Name::new("Grandma")), "Ok(Name(…))");
    }

    proptest! {
        #[test]
        fn clean_is_idempotent(text in any::<String>()) {
            if let Ok(text) = clean(&text, 100) {
                prop_assert!(text.chars().count() <= 100);
                prop_assert_eq!(clean(&text, 100), Ok(text));
            }
        }

        #[test]
        fn a_preview_is_one_line_within_its_limit(text in any::<String>(), max in 1_usize..200) {
            let line = preview(&text, max);
            prop_assert!(line.chars().count() <= max);
            prop_assert!(!line.contains('\n'));
        }
    }
}
