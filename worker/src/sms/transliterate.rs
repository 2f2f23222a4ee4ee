//! Transliterating text to the 7-bit default alphabet, by similar characters.

use std::borrow::Cow;

use unicode_normalization::char::decompose_canonical;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

use super::alphabet::is_gsm7;

/// Replaces characters by similar ones of the default alphabet. Characters without one, mainly letters of other
/// scripts, stay.
pub(super) fn transliterate(line: &str) -> Cow<'_, str> {
    if line.chars().all(is_gsm7) {
        return Cow::Borrowed(line);
    }
    let mut text = String::with_capacity(line.len());
    for c in line.chars() {
        if is_gsm7(c) {
            text.push(c);
        } else if let Some(similar) = substitute(c) {
            text.push_str(similar);
        } else {
            push_by_kind(&mut text, c);
        }
    }
    Cow::Owned(text)
}

/// Pushes a character that is not in the table, by its general category.
fn push_by_kind(text: &mut String, c: char) {
    use GeneralCategory as Kind;
    match c.general_category() {
        Kind::DashPunctuation => text.push('-'),
        Kind::InitialPunctuation | Kind::FinalPunctuation => text.push('"'),
        Kind::OpenPunctuation => text.push('('),
        Kind::ClosePunctuation => text.push(')'),
        // An accent that has no composed character with its letter.
        _ if c.general_category_group() == GeneralCategoryGroup::Mark
            && text.chars().next_back().is_some_and(is_gsm7) => {}
        _ => text.push(base(c).filter(|&base| is_gsm7(base)).unwrap_or(c)),
    }
}

/// Returns a letter without its accents.
fn base(c: char) -> Option<char> {
    let mut base = None;
    decompose_canonical(c, |part| {
        base.get_or_insert(part);
    });
    // Decomposition removes accents, but not strokes and hooks, which the table has.
    base.map(|base| substitute(base).and_then(|same| same.chars().next()).unwrap_or(base))
}

/// Returns the substitute of a character that Unicode does not decompose.
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
    fn typographic_characters_are_transliterated() {
        assert_eq!(
            transliterate("“It’s” – ‚so‘ — «no» ‹x› „y‟ ‐‑‒―−"),
            "\"It's\" - 'so' - \"no\" 'x' \"y\" -----"
        );
        assert_eq!(transliterate("• one · two … 2×3 20°C © ™"), "- one - two ... 2x3 20degC (c) ™");
        assert_eq!(transliterate("`´′″【x】、。"), "'''\"(x),.");
    }

    #[test]
    fn letters_lose_marks_outside_the_alphabet() {
        assert_eq!(transliterate("áêçłœőŒÁÍÚîôûÿŠžčřů"), "aecloeoOEAIUiouySzcru");
        assert_eq!(transliterate("èéùìòÇØøÅåÆæßÉÄÖÑÜäöñüà"), "èéùìòÇØøÅåÆæßÉÄÖÑÜäöñüà");
        assert_eq!(transliterate("Chào bà, ế ơ ư đ"), "Chào bà, e o u d");
        assert_eq!(transliterate("İıŞşĞğ"), "IiSsGg");
        assert_eq!(transliterate("x\u{30c}\u{301}"), "x");
    }

    #[test]
    fn other_scripts_stay() {
        assert_eq!(transliterate("Привет, й"), "Привет, й");
        assert_eq!(transliterate("ΔΩ α ά"), "ΔΩ α ά");
        assert_eq!(transliterate("你好"), "你好");
        assert_eq!(transliterate("が"), "が");
    }
}
