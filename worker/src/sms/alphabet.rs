//! The two encodings of SMS, and counting segments as carriers do.
//!
//! Sources: 3GPP TS 23.038 (alphabets), TS 23.040 (concatenation): 160 septets or 70 UTF-16 units in a single
//! SMS, 153 or 67 in each part of a longer one.

/// The encoding of an SMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// The 7-bit default alphabet.
    Gsm7,
    /// UTF-16.
    Ucs2,
}

impl Encoding {
    /// Units in a single SMS, and in each part of a longer one.
    const fn sizes(self) -> (usize, usize) {
        match self {
            Self::Gsm7 => (160, 153),
            Self::Ucs2 => (70, 67),
        }
    }

    /// Units that always fit in `segments`, wherever double characters are: each part except the last may
    /// leave one unit empty, since no character is split.
    pub(super) const fn capacity(self, segments: usize) -> usize {
        match (self.sizes(), segments) {
            (_, 0) => 0,
            ((single, _), 1) => single,
            ((_, part), _) => part * segments - (segments - 1),
        }
    }

    /// Units of `c`; `None` if it is not in the alphabet.
    pub(super) fn units(self, c: char) -> Option<usize> {
        match self {
            Self::Gsm7 => septets(c),
            Self::Ucs2 => Some(c.len_utf16()),
        }
    }

    /// The cheapest encoding of `text`.
    pub(super) fn of(text: &str) -> Self {
        if text.chars().all(is_gsm7) { Self::Gsm7 } else { Self::Ucs2 }
    }

    /// Units of `text`. A character outside the alphabet counts as one.
    pub(super) fn length(self, text: &str) -> usize {
        text.chars().map(|c| self.units(c).unwrap_or(1)).sum()
    }
}

/// Whether `c` is in the default alphabet or its extension table.
pub(super) fn is_gsm7(c: char) -> bool {
    septets(c).is_some()
}

/// The characters of the default alphabet that are not ASCII.
const BEYOND_ASCII: &str = "èéùìòàäöñüåøæßÄÖÑÜÅØÆÇÉ£¥§¡¿¤ΓΔΘΛΞΠΣΦΨΩ";

/// Septets of a character in the default alphabet (TS 23.038, 6.2.1), two for those of the
/// extension table (6.2.1.1).
fn septets(c: char) -> Option<usize> {
    match c {
        '\u{c}' | '^' | '{' | '}' | '\\' | '[' | '~' | ']' | '|' | '€' => Some(2),
        '\n' | '\r' | ' '..='Z' | '_' | 'a'..='z' => Some(1),
        c if !c.is_ascii() && BEYOND_ASCII.contains(c) => Some(1),
        _ => None,
    }
}

/// The encoding and segments of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// The encoding.
    pub encoding: Encoding,
    /// The number of segments billed.
    pub segments: u32,
}

/// Counts the segments of a text. No character is split between two segments.
#[must_use]
pub fn measure(text: &str) -> Measure {
    let encoding = Encoding::of(text);
    let (single, part) = encoding.sizes();
    if encoding.length(text) <= single {
        return Measure { encoding, segments: 1 };
    }
    let (mut segments, mut used) = (1, 0);
    for units in text.chars().filter_map(|c| encoding.units(c)) {
        if used + units > part {
            segments += 1;
            used = 0;
        }
        used += units;
    }
    Measure { encoding, segments }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_matches_the_specification() {
        let basic = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
            ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
        let extension = "\u{c}^{}\\[~]|€";
        // 128 codes, one of which is the escape to the extension table.
        assert_eq!((basic.chars().count(), extension.chars().count()), (127, 10));
        for c in '\0'..=char::MAX {
            let expected = match c {
                c if basic.contains(c) => Some(1),
                c if extension.contains(c) => Some(2),
                _ => None,
            };
            assert_eq!(Encoding::Gsm7.units(c), expected, "{c:?}");
        }
    }

    #[test]
    fn segments_are_counted_as_carriers_do() {
        let gsm = |text: &str, segments| {
            assert_eq!(measure(text), Measure { encoding: Encoding::Gsm7, segments }, "{text:?}");
        };
        let ucs = |text: &str, segments| {
            assert_eq!(measure(text), Measure { encoding: Encoding::Ucs2, segments }, "{text:?}");
        };
        gsm("", 1);
        gsm(&"a".repeat(160), 1);
        gsm(&"a".repeat(161), 2);
        gsm(&"a".repeat(306), 2);
        gsm(&"a".repeat(307), 3);
        gsm(&"€".repeat(80), 1);
        gsm(&"€".repeat(81), 2);
        // 153 is odd, and an escaped character is not split.
        gsm(&"€".repeat(153), 3);
        ucs(&"я".repeat(70), 1);
        ucs(&"я".repeat(71), 2);
        ucs(&"😀".repeat(35), 1);
        ucs(&"😀".repeat(36), 2);
        // 67 is odd as well: 33 pairs fit.
        ucs(&"😀".repeat(67), 3);
    }

    #[test]
    fn text_within_the_capacity_fits_the_segments() {
        for segments in 1..=4_u32 {
            for (double, encoding) in [("€", Encoding::Gsm7), ("😀", Encoding::Ucs2)] {
                let capacity = encoding.capacity(segments as usize);
                for singles in 0..4 {
                    let doubles = double.repeat((capacity - singles) / 2);
                    let text = format!("{}{doubles}", "a".repeat(singles));
                    let measured = measure(&text);
                    assert_eq!(measured.encoding, encoding);
                    assert!(measured.segments <= segments, "{measured:?} of {segments}");
                }
            }
        }
    }
}
