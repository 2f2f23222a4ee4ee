//! Normalizing user text to one line, without emoji and invisible characters.

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{
    GeneralCategory, GeneralCategoryGroup, UnicodeEmoji, UnicodeGeneralCategory,
};
use unicode_segmentation::UnicodeSegmentation;

/// A normalized text.
#[derive(Default)]
pub(super) struct Normalized {
    /// One line with single spaces, none at its ends.
    pub(super) text: String,
    /// Whether the written text is longer.
    pub(super) more: bool,
    /// Whether an emoji was left out.
    pub(super) emoji: bool,
}

impl Normalized {
    /// Normalizes the first `most` characters, or slightly more. The rest of a long message is not read.
    pub(super) fn of(written: &str, most: usize) -> Self {
        let mut builder = Builder::default();
        for grapheme in written.graphemes(true) {
            if builder.chars >= most {
                return Self { more: true, ..builder.built() };
            }
            builder.grapheme(grapheme);
        }
        builder.built()
    }
}

/// Characters skipped since the last one kept.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Gap {
    #[default]
    None,
    Space,
    Emoji,
    SpaceAndEmoji,
}

#[derive(Default)]
struct Builder {
    text: String,
    chars: usize,
    last: Option<char>,
    gap: Gap,
    emoji: bool,
}

impl Builder {
    fn built(self) -> Normalized {
        Normalized { text: self.text, more: false, emoji: self.emoji }
    }

    fn grapheme(&mut self, grapheme: &str) {
        if let [byte] = grapheme.as_bytes() {
            self.char(char::from(*byte));
        } else if grapheme.chars().any(is_picture) {
            self.emoji = true;
            self.gap = match self.gap {
                Gap::None | Gap::Emoji => Gap::Emoji,
                Gap::Space | Gap::SpaceAndEmoji => Gap::SpaceAndEmoji,
            };
        } else if let Some(mark) = self.stays_wide(grapheme) {
            self.char(mark);
        } else {
            self.compatible(grapheme);
        }
    }

    /// Pushes a grapheme in NFKC: full-width letters, ligatures and others would otherwise hide links.
    fn compatible(&mut self, grapheme: &str) {
        if grapheme.starts_with(|c| matches!(c, '¼'..='¾' | '⅐'..='⅞'))
            && self.gap == Gap::None
            && self.last.is_some_and(|c| c.is_ascii_digit())
        {
            // 1½ is not 11/2.
            self.gap = Gap::Space;
        }
        for c in grapheme.nfkc() {
            self.char(match c {
                '\u{2044}' => '/',
                // Browsers read it as the dot of a host name. Kept only after other scripts.
                '。' if self.last.is_none_or(|c| c.is_ascii()) => '.',
                c => c,
            });
        }
    }

    /// Returns wide punctuation that is kept, after characters of Chinese and Japanese.
    fn stays_wide(&self, grapheme: &str) -> Option<char> {
        let mut chars = grapheme.chars();
        let c = chars.next().filter(|_| chars.next().is_none())?;
        let wide = matches!(c, '！' | '（' | '）' | '，' | '：' | '；' | '？' | '～');
        (wide && self.last.is_some_and(|last| !last.is_ascii())).then_some(c)
    }

    fn char(&mut self, c: char) {
        if c.is_whitespace() || c == BLANK_BRAILLE {
            self.gap = match self.gap {
                Gap::None | Gap::Space => Gap::Space,
                Gap::Emoji | Gap::SpaceAndEmoji => Gap::SpaceAndEmoji,
            };
        } else if c.is_ascii() {
            if !c.is_ascii_control() {
                self.push(c);
            }
        } else if is_mark(c) {
            // A mark without a letter would combine with a space or with the link.
            if self.gap == Gap::None && self.last.is_some_and(takes_marks) && !is_ignorable(c) {
                self.push(c);
            }
        } else if !is_invisible(c) {
            self.push(c);
        }
    }

    fn push(&mut self, c: char) {
        if let Some(last) = self.last {
            let space = match self.gap {
                Gap::None => false,
                Gap::Space => true,
                // "Great!😀See you": a space replaces the emoji.
                Gap::Emoji => c.is_alphanumeric() && !"([{\"'/-".contains(last),
                // "Hello 😀!": no space before punctuation.
                Gap::SpaceAndEmoji => !".,;:!?)".contains(c),
            };
            if space {
                self.text.push(' ');
                self.chars += 1;
            }
        }
        self.text.push(c);
        self.chars += 1;
        self.last = Some(c);
        self.gap = Gap::None;
    }
}

/// Blank like a space, but of the category of symbols.
const BLANK_BRAILLE: char = '\u{2800}';

/// Whether `c` is an emoji or a pictograph, which the default alphabet lacks and which would double the price.
/// Digits, `#` and `*` have the Emoji property (UTS #51) but are text, as are signs with a transliteration.
fn is_picture(c: char) -> bool {
    if c.is_ascii() || matches!(c, '©' | '®' | '™' | '‼' | '⁉' | 'ℹ' | '↔' | '〰') {
        return false;
    }
    c.is_emoji_char()
        || (matches!(c, '\u{2300}'..='\u{23ff}' | '\u{25a0}'..='\u{27bf}' | '\u{2b00}'..='\u{2bff}' | '\u{1f000}'..='\u{1faff}')
            && c.general_category() == GeneralCategory::OtherSymbol
            && super::transliterate::substitute(c).is_none())
}

fn is_mark(c: char) -> bool {
    c.general_category_group() == GeneralCategoryGroup::Mark
}

/// Whether `c` can carry a mark: letters and marks. Digits can't, since their marks are keycaps.
fn takes_marks(c: char) -> bool {
    matches!(c.general_category_group(), GeneralCategoryGroup::Letter | GeneralCategoryGroup::Mark)
}

/// Whether `mark` is an enclosing mark, as of keycaps, or a variation selector.
fn is_ignorable(mark: char) -> bool {
    mark.general_category() == GeneralCategory::EnclosingMark
        || matches!(mark, '\u{34f}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}')
        || matches!(mark, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// Whether `c` is a control or format character (directional marks, zero-width joiners, tags), unassigned or
/// private, or a blank letter.
fn is_invisible(c: char) -> bool {
    c.general_category_group() == GeneralCategoryGroup::Other
        || matches!(c, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{fffc}' | '\u{fffd}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalize(written: &str) -> String {
        Normalized::of(written, 1000).text
    }

    #[test]
    fn the_result_is_one_line_with_single_spaces() {
        assert_eq!(normalize("  a\r\n\n\tb\u{a0}\u{2003}c\u{2028}d\u{3000}  "), "a b c d");
        assert_eq!(normalize("a\0\u{7f}\u{1b}b"), "ab");
    }

    #[test]
    fn emoji_are_left_out_and_leave_no_gap() {
        assert_eq!(normalize("Hi 😀 there"), "Hi there");
        assert_eq!(normalize("Hello 😀!"), "Hello!");
        assert_eq!(normalize("Great!👍🏽See you"), "Great! See you");
        assert_eq!(normalize("👩‍👩‍👧‍👦 family 🇨🇭 🏴󠁧󠁢󠁳󠁣󠁴󠁿 ❤️"), "family");
        assert_eq!(normalize("😀(😀yes😀)😀"), "(yes)");
        assert_eq!(normalize("☎ ☀︎ ♥ ✔ ⭐"), "");
        assert!(Normalized::of("😀", 10).emoji);
        assert!(!Normalized::of("1#*", 10).emoji);
    }

    #[test]
    fn digits_are_text_without_their_keycaps() {
        assert_eq!(normalize("Gate 1️⃣2️⃣ #️⃣ * 5"), "Gate 12 # * 5");
        assert_eq!(normalize("© 2026 ®️ ™️ ‼️"), "© 2026 ® TM !!");
    }

    #[test]
    fn invisible_characters_are_removed() {
        assert_eq!(normalize("a\u{200b}b\u{200d}c\u{feff}d\u{ad}e\u{2060}f"), "abcdef");
        assert_eq!(normalize("\u{202e}a\u{2066}b\u{2069}\u{200f}\u{61c}"), "ab");
        assert_eq!(normalize("\u{3164}\u{2800}x\u{fe0f}\u{e000}"), "x");
    }

    #[test]
    fn marks_without_a_letter_are_removed() {
        assert_eq!(normalize("e\u{301} \u{301}x .\u{301}com"), "é x .com");
        assert_eq!(normalize("सं"), "सं");
        assert_eq!(normalize("😀\u{301}"), "");
    }

    #[test]
    fn wide_characters_are_normalized() {
        assert_eq!(normalize("ｈｔｔｐ：／／ｅｖｉｌ．ｃｏｍ"), "http://evil.com");
        assert_eq!(normalize("evil。com evil｡com"), "evil.com evil.com");
        assert_eq!(normalize("你好，很好。谢谢！"), "你好，很好。谢谢！");
        assert_eq!(normalize("ﬁne ½ 1½ m²"), "fine 1/2 1 1/2 m2");
    }

    #[test]
    fn only_the_beginning_of_a_long_text_is_read() {
        let long = Normalized::of(&"a b ".repeat(1000), 50);
        assert!(long.more && long.text.len() <= 52, "{}", long.text.len());
        assert!(!Normalized::of("a b", 50).more);
    }
}
