//! Rules for what people write: names, titles, messages.

use serde::Serialize;

/// Why a text is refused. Never carries the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Nothing but white space.
    #[error("must not be empty")]
    Empty,
    /// More characters (Unicode scalar values) than allowed.
    #[error("must have at most {max} characters")]
    TooLong {
        /// How many are allowed.
        max: usize,
    },
    /// A control character other than newline and tab.
    #[error("must not contain control characters other than newline and tab")]
    ControlCharacter,
}

/// Checks a text of up to `max` characters, several lines allowed.
///
/// # Errors
/// [`TextError::TooLong`], [`TextError::ControlCharacter`].
pub fn check(text: &str, max: usize) -> Result<(), TextError> {
    if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Err(TextError::ControlCharacter);
    }
    // A character is one byte at least, so short texts need no counting.
    if text.len() > max && text.chars().count() > max {
        return Err(TextError::TooLong { max });
    }
    Ok(())
}

/// A person's or a family's name: one trimmed line of 1 to 100 characters.
#[derive(Clone, PartialEq, Eq, Serialize, sqlx::Type)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct Name(String);

impl Name {
    /// Longest name, in characters.
    pub const MAX: usize = 100;

    /// Takes a name as it was written.
    ///
    /// # Errors
    /// Any [`TextError`]; a newline or a tab counts as a control character here.
    pub fn new(written: &str) -> Result<Self, TextError> {
        let name = written.trim();
        if name.is_empty() {
            return Err(TextError::Empty);
        }
        if name.contains(['\n', '\t']) {
            return Err(TextError::ControlCharacter);
        }
        check(name, Self::MAX)?;
        Ok(Self(name.to_owned()))
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

/// The first `max` characters of `text` on one line, ending in `…` where something was cut.
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

    #[test]
    fn control_characters_are_refused_but_for_newline_and_tab() {
        assert_eq!(check("a\n\tb", 10), Ok(()));
        for bad in ["\0", "a\r\nb", "\u{7f}", "\u{85}", "\u{1b}[31m"] {
            assert_eq!(check(bad, 10), Err(TextError::ControlCharacter), "{bad:?}");
        }
    }

    #[test]
    fn length_is_counted_in_characters() {
        assert_eq!(check(&"é".repeat(4000), 4000), Ok(()));
        assert_eq!(check(&"é".repeat(4001), 4000), Err(TextError::TooLong { max: 4000 }));
    }

    #[test]
    fn names_are_one_trimmed_line() {
        assert_eq!(Name::new("  Grandma ").map(|n| n.as_str().to_owned()), Ok("Grandma".into()));
        assert_eq!(Name::new(" \t "), Err(TextError::Empty));
        assert_eq!(Name::new("a\nb"), Err(TextError::ControlCharacter));
        assert_eq!(Name::new(&"x".repeat(101)), Err(TextError::TooLong { max: 100 }));
        assert_eq!(format!("{:?}", Name::new("Grandma")), "Ok(Name(…))");
    }

    proptest! {
        #[test]
        fn a_preview_is_one_line_within_its_limit(text in any::<String>(), max in 1_usize..200) {
            let line = preview(&text, max);
            prop_assert!(line.chars().count() <= max);
            prop_assert!(!line.contains('\n'));
        }
    }
}
