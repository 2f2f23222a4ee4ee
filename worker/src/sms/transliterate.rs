//! Bringing a line to the 7-bit default alphabet: each character to what looks like it there.

use std::borrow::Cow;

use unicode_normalization::char::decompose_canonical;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

use super::alphabet::is_gsm7;

/// `line` with every character brought to the default alphabet that has a look-alike there. What
/// has none, letters of another script above all, stays.
pub(super) fn transliterate(line: &str) -> Cow<'_, str> {
    if line.chars().all(is_gsm7) {
        return Cow::Borrowed(line);
    }
    let mut text = String::with_capacity(line.len());
    for c in line.chars() {
        if is_gsm7(c) {
            text.push(c);
        } else if let Some(same) = substitute(c) {
            text.push_str(same);
        } else {
            push_by_kind(&mut text, c);
        }
    }
    Cow::Owned(text)
}

/// Characters that no table names, by what kind they are of.
fn push_by_kind(text: &mut String, c: char) {
    use GeneralCategory as Kind;
    match c.general_category() {
        Kind::DashPunctuation => text.push('-'),
        Kind::InitialPunctuation | Kind::FinalPunctuation => text.push('"'),
        Kind::OpenPunctuation => text.push('('),
        Kind::ClosePunctuation => text.push(')'),
        // An accent that makes no one character with its letter.
        _ if c.general_category_group() == GeneralCategoryGroup::Mark
            && text.chars().next_back().is_some_and(is_gsm7) => {}
        _ => text.push(base(c).filter(|&base| is_gsm7(base)).unwrap_or(c)),
    }
}

/// A letter without its accents.
fn base(c: char) -> Option<char> {
    let mut base = None;
    decompose_canonical(c, |part| {
        base.get_or_insert(part);
    });
    // Letters that are two in one decompose, their strokes and hooks don't.
    base.map(|base| substitute(base).and_then(|same| same.chars().next()).unwrap_or(base))
}

/// The look-alike of a character that Unicode doesn't decompose.
pub(super) const fn substitute(c: char) -> Option<&'static str> {
    Some(match c {
        '`'
        | '´'
        | '\u{2018}'..='\u{201b}'
        | '′'
        | '‵'
        | 'ʹ'
        | 'ʻ'
        | 'ʼ'
        | 'ʽ'
        | 'ˈ'
        | '‹'
        | '›'
        | '׳' => "'",
        '\u{201c}'..='\u{201f}'
        | '″'
        | '‴'
        | '«'
        | '»'
        | '「'
        | '」'
        | '『'
        | '』'
        | '〝'
        | '〞'
        | '《'
        | '》'
        | '〈'
        | '〉'
        | '״' => "\"",
        '−' | '⁃' | '─' | '━' | '•' | '‣' | '◦' | '∙' | '·' | '・' | '●' | '○' | '■' | '□'
        | '▪' | '▫' | '～' | '˗' => "-",
        '★' | '☆' | '✱' | '∗' | '⁎' => "*",
        '…' => "...",
        '。' => ".",
        '，' | '、' => ",",
        '！' => "!",
        '？' => "?",
        '：' => ":",
        '；' => ";",
        '（' => "(",
        '）' => ")",
        '¦' => "|",
        '×' => "x",
        '÷' | '∕' => "/",
        '±' => "+/-",
        '≤' => "<=",
        '≥' => ">=",
        '≠' => "!=",
        '≈' | '∼' => "~",
        '→' => "->",
        '←' => "<-",
        '↔' => "<->",
        '⇒' => "=>",
        '°' => "deg",
        '©' => "(c)",
        '®' => "(R)",
        '¢' => "c",
        '₹' => "Rs",
        'µ' | 'μ' => "u",
        'Œ' => "OE",
        'œ' => "oe",
        'Þ' => "Th",
        'þ' => "th",
        'ẞ' => "SS",
        'Ð' | 'Đ' | 'Ɗ' | 'Ɖ' => "D",
        'ð' | 'đ' | 'ɗ' | 'ɖ' => "d",
        'Ł' | 'Ƚ' => "L",
        'ł' | 'ƚ' => "l",
        'Ħ' => "H",
        'ħ' => "h",
        'ı' => "i",
        'ȷ' => "j",
        'ĸ' | 'ƙ' => "k",
        'Ŋ' | 'Ɲ' => "N",
        'ŋ' | 'ɲ' => "n",
        'Ŧ' => "T",
        'ŧ' => "t",
        'Ɓ' => "B",
        'ɓ' => "b",
        'Ə' | 'Ɛ' | 'Ǝ' => "E",
        'ə' | 'ɛ' | 'ǝ' => "e",
        'ƒ' => "f",
        'Ɠ' | 'Ǥ' => "G",
        'ɠ' | 'ǥ' => "g",
        'Ƙ' => "K",
        'Ɔ' => "O",
        'ɔ' => "o",
        'Ƴ' => "Y",
        'ƴ' => "y",
        'Ƶ' => "Z",
        'ƶ' => "z",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typographic_characters_have_look_alikes() {
        assert_eq!(
            transliterate("“It’s” – ‚so‘ — «no» ‹x› „y‟ ‐‑‒―−"),
            "\"It's\" - 'so' - \"no\" 'x' \"y\" -----"
        );
        assert_eq!(transliterate("• one · two … 2×3 20°C © ™"), "- one - two ... 2x3 20degC (c) ™");
        assert_eq!(transliterate("`´′″【x】、。"), "'''\"(x),.");
    }

    #[test]
    fn letters_lose_the_marks_that_the_alphabet_has_not() {
        assert_eq!(transliterate("áêçłœőŒÁÍÚîôûÿŠžčřů"), "aecloeoOEAIUiouySzcru");
        assert_eq!(transliterate("èéùìòÇØøÅåÆæßÉÄÖÑÜäöñüà"), "èéùìòÇØøÅåÆæßÉÄÖÑÜäöñüà");
        assert_eq!(transliterate("Chào bà, ế ơ ư đ"), "Chào bà, e o u d");
        assert_eq!(transliterate("İıŞşĞğ"), "IiSsGg");
        assert_eq!(transliterate("x\u{30c}\u{301}"), "x");
    }

    #[test]
    fn other_scripts_stay_but_for_the_capitals_of_the_alphabet() {
        assert_eq!(transliterate("Привет, й"), "Привет, й");
        assert_eq!(transliterate("ΔΩ α ά"), "ΔΩ α ά");
        assert_eq!(transliterate("你好"), "你好");
        assert_eq!(transliterate("が"), "が");
    }
}
