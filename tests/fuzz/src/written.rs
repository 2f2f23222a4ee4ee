//! Text as it is stored: normalised, without directional overrides, never invisible.

use shared::text::{self, Name, TextError};

use crate::input::byte;

/// Input: the maximum length, and the text.
pub(crate) fn harness(bytes: &[u8]) {
    let (max, written) = byte(bytes);
    let (max, written) = (usize::from(max), String::from_utf8_lossy(written));
    match text::clean(&written, max) {
        Ok(kept) => {
            assert_eq!(text::clean(&kept, max).as_ref(), Ok(&kept), "cleaned twice");
            assert!(kept.chars().count() <= max);
            let hidden = |c: char| {
                (c.is_control() && c != '\n' && c != '\t')
                    || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            };
            assert!(!kept.contains(hidden));
            assert_eq!(text::is_blank(&kept), text::is_blank(&written), "{written:?}");
        }
        Err(TextError::TooLong { .. }) => assert!(written.len() > max),
        Err(_) => assert!(written.contains(char::is_control)),
    }
    if let Ok(name) = Name::new(&written) {
        let again = Name::new(name.as_str()).expect("a name that was kept");
        assert_eq!(again.as_str(), name.as_str(), "a name in two spellings");
        assert!((1..=Name::MAX).contains(&name.as_str().chars().count()));
        assert!(!text::is_blank(name.as_str()) && !name.as_str().contains(['\n', '\t']));
    }
    let preview = text::preview(&written, max);
    assert!(preview.chars().count() <= max.max(1) && !preview.contains(['\n', '\t']));
}
