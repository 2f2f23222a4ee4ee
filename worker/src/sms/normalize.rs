//! What somebody wrote, as one line that a phone shows: no emoji, nothing invisible.

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{
    GeneralCategory, GeneralCategoryGroup, UnicodeEmoji, UnicodeGeneralCategory,
};
use unicode_segmentation::UnicodeSegmentation;

/// One line of text.
#[derive(Default)]
pub(super) struct Normalized {
    /// The line: single spaces, none at its ends.
    pub(super) text: String,
    /// Whether more was written than is here.
    pub(super) more: bool,
    /// Whether an emoji was left out.
    pub(super) emoji: bool,
}

impl Normalized {
    /// The line of the first `most` characters or little more: of a long message a text shows only
    /// its beginning, and the rest is not looked at.
    pub(super) fn of(written: &str, most: usize) -> Self {
        let mut line = Builder::default();
        for grapheme in written.graphemes(true) {
            if line.chars >= most {
                return Self { more: true, ..line.built() };
            }
            line.grapheme(grapheme);
        }
        line.built()
    }
}

/// What was passed over since the last character.
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

    /// Puts a character in its usual form (NFKC): full-width letters, ligatures and the like would
    /// otherwise be links that look like none.
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
                // Browsers take it for the dot of a host; here no script of its own is around it.
                '。' if self.last.is_none_or(|c| c.is_ascii()) => '.',
                c => c,
            });
        }
    }

    /// The wide punctuation of Chinese and Japanese stays what it is among their characters.
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
            // A mark without a letter would land on a space or on the link.
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
                // "Great!😀See you": what the emoji kept apart stays so.
                Gap::Emoji => c.is_alphanumeric() && !"([{\"'/-".contains(last),
                // "Hello 😀!": no space before what ends a sentence.
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

/// White as a space is, but counted among the symbols.
const BLANK_BRAILLE: char = '\u{2800}';

/// An emoji or a pictograph, which no text in the default alphabet can show and which would make
/// it twice as dear. Digits, `#` and `*` have the Emoji property (UTS #51) and are text; so are
/// signs that have a look-alike.
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

/// Letters and marks take marks. Those of keycaps are on digits, and not wanted.
fn takes_marks(c: char) -> bool {
    matches!(c.general_category_group(), GeneralCategoryGroup::Letter | GeneralCategoryGroup::Mark)
}

/// Marks that enclose a letter as keycaps do, and selectors between two looks of a character.
fn is_ignorable(mark: char) -> bool {
    mark.general_category() == GeneralCategory::EnclosingMark
        || matches!(mark, '\u{34f}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}')
        || matches!(mark, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// Control and format characters (directions, zero-width joiners, tags), what no standard gives a
/// look to, and letters that are blank.
fn is_invisible(c: char) -> bool {
    c.general_category_group() == GeneralCategoryGroup::Other
        || matches!(c, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{fffc}' | '\u{fffd}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(written: &str) -> String {
        Normalized::of(written, 1000).text
    }

    #[test]
    fn it_is_one_line_of_single_spaces() {
        assert_eq!(line("  a\r\n\n\tb\u{a0}\u{2003}c\u{2028}d\u{3000}  "), "a b c d");
        assert_eq!(line("a\0\u{7f}\u{1b}b"), "ab");
    }

    #[test]
    fn emoji_are_left_out_and_leave_no_gap() {
        assert_eq!(line("Hi 😀 there"), "Hi there");
        assert_eq!(line("Hello 😀!"), "Hello!");
        assert_eq!(line("Great!👍🏽See you"), "Great! See you");
        assert_eq!(line("👩‍👩‍👧‍👦 family 🇨🇭 🏴󠁧󠁢󠁳󠁣󠁴󠁿 ❤️"), "family");
        assert_eq!(line("😀(😀yes😀)😀"), "(yes)");
        assert_eq!(line("☎ ☀︎ ♥ ✔ ⭐"), "");
        assert!(Normalized::of("😀", 10).emoji);
        assert!(!Normalized::of("1#*", 10).emoji);
    }

    #[test]
    fn digits_are_text_without_their_keycaps() {
        assert_eq!(line("Gate 1️⃣2️⃣ #️⃣ * 5"), "Gate 12 # * 5");
        assert_eq!(line("© 2026 ®️ ™️ ‼️"), "© 2026 ® TM !!");
    }

    #[test]
    fn what_is_invisible_is_dropped() {
        assert_eq!(line("a\u{200b}b\u{200d}c\u{feff}d\u{ad}e\u{2060}f"), "abcdef");
        assert_eq!(line("\u{202e}a\u{2066}b\u{2069}\u{200f}\u{61c}"), "ab");
        assert_eq!(line("\u{3164}\u{2800}x\u{fe0f}\u{e000}"), "x");
    }

    #[test]
    fn a_mark_has_a_letter_or_is_dropped() {
        assert_eq!(line("e\u{301} \u{301}x .\u{301}com"), "é x .com");
        assert_eq!(line("सं"), "सं");
        assert_eq!(line("😀\u{301}"), "");
    }

    #[test]
    fn wide_characters_come_to_their_usual_form() {
        assert_eq!(line("ｈｔｔｐ：／／ｅｖｉｌ．ｃｏｍ"), "http://evil.com");
        assert_eq!(line("evil。com evil｡com"), "evil.com evil.com");
        assert_eq!(line("你好，很好。谢谢！"), "你好，很好。谢谢！");
        assert_eq!(line("ﬁne ½ 1½ m²"), "fine 1/2 1 1/2 m2");
    }

    #[test]
    fn of_a_long_text_only_the_beginning_is_read() {
        let long = Normalized::of(&"a b ".repeat(1000), 50);
        assert!(long.more && long.text.len() <= 52, "{}", long.text.len());
        assert!(!Normalized::of("a b", 50).more);
    }
}
