//! Composing a text and counting its segments, as carriers do.
//!
//! Facts: 3GPP TS 23.038 (alphabet), TS 23.040 (concatenation): 160 septets or 70 UTF-16 units in
//! one text, 153 or 67 in each part of a longer one.

use std::fmt;

use shared::config::{self, ConfigError};

/// The default alphabet but its escape character (TS 23.038, 6.2.1).
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
    ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// The extension table: two septets each (TS 23.038, 6.2.1.1).
const EXTENSION: &str = "\u{c}^{}\\[~]|€";

/// How a text is put into bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// The 7-bit default alphabet.
    Gsm7,
    /// UTF-16.
    Ucs2,
}

impl Encoding {
    /// Units that one text takes, and that each part of a longer one takes.
    const fn capacity(self) -> (usize, usize) {
        match self {
            Self::Gsm7 => (160, 153),
            Self::Ucs2 => (70, 67),
        }
    }

    /// Units that `c` takes; `None` when it is not in the alphabet.
    fn units(self, c: char) -> Option<usize> {
        match self {
            Self::Gsm7 if BASIC.contains(c) => Some(1),
            Self::Gsm7 if EXTENSION.contains(c) => Some(2),
            Self::Gsm7 => None,
            Self::Ucs2 => Some(c.len_utf16()),
        }
    }

    fn of(text: &str) -> Self {
        if text.chars().all(|c| Self::Gsm7.units(c).is_some()) { Self::Gsm7 } else { Self::Ucs2 }
    }

    fn length(self, text: &str) -> usize {
        text.chars().filter_map(|c| self.units(c)).sum()
    }
}

/// What a text costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// How it goes out.
    pub encoding: Encoding,
    /// How many texts it is billed as.
    pub segments: u32,
}

/// Measures a text. No character is split between two segments.
#[must_use]
pub fn measure(text: &str) -> Measure {
    let encoding = Encoding::of(text);
    let (single, part) = encoding.capacity();
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

/// How long a text may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most segments, 1 to 4. A text in UCS-2 may take one more where the link leaves no room.
    max_segments: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_segments: 1 }
    }
}

impl Limits {
    /// Reads `KINLINE_SMS_MAX_SEGMENTS`, 1 by default.
    ///
    /// # Errors
    /// [`ConfigError`] when it is not a number from 1 to 4.
    pub fn from_env() -> Result<Self, ConfigError> {
        const NAME: &str = "KINLINE_SMS_MAX_SEGMENTS";
        let max_segments = config::parsed(NAME, 1)?;
        if (1..=4).contains(&max_segments) {
            Ok(Self { max_segments })
        } else {
            Err(ConfigError::Invalid { name: NAME, why: "must be 1 to 4".to_owned() })
        }
    }
}

/// What a text is made of.
pub struct Content<'a> {
    /// Who wrote the message.
    pub sender: &'a str,
    /// What they wrote; `None` when it is files only.
    pub body: Option<&'a str>,
    /// How many files there are.
    pub file_count: i32,
    /// The link, which always stays whole.
    pub link: &'a str,
    /// How long the text may be.
    pub limits: Limits,
}

/// A text as it goes to the carrier. Invisible to `Debug`: it holds a name, a message and a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Text(…)")
    }
}

/// Longest sender's name in a text, in characters.
const SENDER_MAX: usize = 20;
/// Least room for a preview, in units: a text that has less takes another segment.
const PREVIEW_MIN: usize = 15;
/// Most segments of any text, however long its link is: SNS takes 1,600 characters.
const SEGMENTS_MAX: usize = 10;
const CUT: &str = "...";

/// `{sender}: {preview} {link}`, the preview cut at a word to what the rest leaves.
#[must_use]
pub fn compose(content: &Content<'_>) -> Text {
    let sender: String = plain(content.sender).chars().take(SENDER_MAX).collect();
    let preview = match (content.body, content.file_count) {
        (Some(body), _) => plain(body),
        (None, 1) => "[file]".to_owned(),
        (None, n) => format!("[{n} files]"),
    };
    let around = format!("{}:  {}", sender.trim_end(), content.link);
    let encoding = Encoding::of(&format!("{around}{preview}"));
    let fixed = encoding.length(&around);
    let (single, part) = encoding.capacity();
    let room = (content.limits.max_segments..=SEGMENTS_MAX)
        .map(|segments| if segments == 1 { single } else { part * segments })
        .find(|capacity| fixed + PREVIEW_MIN <= *capacity)
        .map_or(PREVIEW_MIN, |capacity| capacity - fixed);
    let preview = fit(encoding, &preview, room);
    Text(format!("{}: {preview} {}", sender.trim_end(), content.link))
}

/// One line, with typographic characters as their look-alikes of the default alphabet.
fn plain(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        for c in word.chars() {
            match c {
                '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{2032}' => line.push('\''),
                '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{2033}' => line.push('"'),
                '\u{2010}'..='\u{2015}' | '\u{2212}' => line.push('-'),
                '\u{2026}' => line.push_str(CUT),
                c if c.is_control() => {}
                c => line.push(c),
            }
        }
    }
    line
}

/// As much of `text` as `room` units take, cut after a word where there is one.
fn fit(encoding: Encoding, text: &str, room: usize) -> String {
    if encoding.length(text) <= room {
        return text.to_owned();
    }
    let room = room.saturating_sub(encoding.length(CUT));
    let mut used = 0;
    let kept: String = text
        .chars()
        .take_while(|&c| {
            used += encoding.units(c).unwrap_or_default();
            used <= room
        })
        .collect();
    let at_word = text[kept.len()..].starts_with(' ');
    let kept = match kept.rfind(' ') {
        // A last word that leaves less than half of the room empty is left out whole.
        Some(end) if !at_word && end * 2 >= kept.len() => &kept[..end],
        _ => &kept,
    };
    format!("{}{CUT}", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As long as a link of the local stack: 24 characters of address and 73 of token.
    const LINK: &str = "http://127.0.0.1:3000/l#aeyJqdGkiOiJBQUFBQUFBQUFBQSJ9.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn text(sender: &str, body: &str) -> String {
        let content = Content {
            sender,
            body: Some(body),
            file_count: 0,
            link: LINK,
            limits: Limits::default(),
        };
        compose(&content).0
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
        // 153 is odd: the second half of an escaped character does not go into the next part.
        gsm(&"€".repeat(153), 3);
        ucs(&"я".repeat(70), 1);
        ucs(&"я".repeat(71), 2);
        ucs(&"😀".repeat(35), 1);
        ucs(&"😀".repeat(36), 2);
        // 67 is odd as well: 33 pairs fit.
        ucs(&"😀".repeat(67), 3);
    }

    #[test]
    fn a_short_message_is_whole_and_one_segment() {
        let text = text("Grandma", "Pie at five?");
        assert_eq!(text, format!("Grandma: Pie at five? {LINK}"));
        assert_eq!(measure(&text), Measure { encoding: Encoding::Gsm7, segments: 1 });
    }

    #[test]
    fn a_long_message_is_cut_at_a_word() {
        let text = text("Grandma", &"apple pie and cream ".repeat(20));
        assert_eq!(
            text,
            format!("Grandma: apple pie and cream apple pie and cream apple pie... {LINK}")
        );
        assert_eq!(measure(&text).segments, 1);
    }

    #[test]
    fn typographic_characters_do_not_cost_a_segment() {
        let text = text("Dad", "“It’s late” – come in…\n\tnow\u{a0}please");
        assert!(text.starts_with("Dad: \"It's late\" - come in... now please "));
        assert_eq!(measure(&text).encoding, Encoding::Gsm7);
    }

    #[test]
    fn files_alone_are_named() {
        let content = Content {
            sender: "Dad",
            body: None,
            file_count: 2,
            link: LINK,
            limits: Limits::default(),
        };
        assert_eq!(compose(&content).0, format!("Dad: [2 files] {LINK}"));
        assert_eq!(compose(&Content { file_count: 1, ..content }).0, format!("Dad: [file] {LINK}"));
    }

    proptest! {
        #[test]
        fn the_link_is_whole_and_the_text_within_bounds(sender in any::<String>(), body in any::<String>()) {
            let text = text(&sender, &body);
            let link = format!(" {LINK}");
            prop_assert!(text.ends_with(&link));
            let Measure { encoding, segments } = measure(&text);
            let most = if encoding == Encoding::Gsm7 { 1 } else { 3 };
            prop_assert!(segments <= most, "{segments} segments");
        }
    }
}
