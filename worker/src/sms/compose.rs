//! Composing an SMS: sender, preview, optional opt-out notice, and link.
//!
//! Drafts are made in the default alphabet, then in UCS-2, each within its limit; the first that fits is
//! used. The fallback is a short phrase in the default alphabet, which always fits.

use std::borrow::Cow;

use shared::i18n::Language;
use unicode_segmentation::UnicodeSegmentation;

use super::{
    Content, Limits, Sms, Subject,
    alphabet::{Encoding, is_gsm7},
    normalize::Normalized,
    phrases::{self, NOTICE_MAX, Phrase},
    sanitize::sanitize,
    transliterate::transliterate,
};

/// Maximum length of a sender's name, in units.
const SENDER_MAX: usize = 20;
/// Minimum length of a shortened sender's name, in units.
const SENDER_MIN: usize = 8;
/// Maximum length of a thread's title, in units.
const TITLE_MAX: usize = 40;
/// Minimum length of a shortened title, in bytes.
const TITLE_MIN: usize = 6;
/// Minimum room for a preview, in units.
const PREVIEW_MIN: usize = 15;
/// Minimum room for a preview in the fallback, in units; with less it has none.
const PREVIEW_LEAST: usize = 8;
/// Characters read of a name or a title, more than are shown, since some are left out.
const NAME_READ: usize = 64;
/// The sender's name if it can't be shown.
const DEFAULT_SENDER: &str = "Kinline";
const CUT: &str = "...";

/// Units of the default alphabet that a link must leave for the shortest SMS: `{sender}: {preview} {link}`.
pub(super) const AROUND_LINK: usize = SENDER_MIN + ": ".len() + PREVIEW_MIN + " ".len();
/// The same for an SMS with an opt-out notice: `{sender}: {notice} {link}`.
pub(super) const AROUND_LINK_AND_NOTICE: usize = SENDER_MIN + ": ".len() + NOTICE_MAX + " ".len();

/// Composes an SMS, with the preview cut at a word to fit. The link is whole, at the end, and the only part
/// that a phone detects as a link. The segments are within the limit of the encoding, if the link's base URL
/// passes [`Limits::check_url`].
#[must_use]
pub fn compose(content: &Content<'_>) -> Sms {
    let written = Written::of(content);
    for language in languages(content.language) {
        for encoding in [Encoding::Gsm7, Encoding::Ucs2] {
            let draft = written.draft(content, language, encoding);
            let text = draft.lay_out(content.limits);
            if let Some(text) = text.filter(|text| Encoding::of(text) == encoding) {
                return Sms(text);
            }
        }
    }
    let language = phrases::gsm7_language(content.language);
    // The words before the first one of another script say more than a phrase. The name may be of
    // another script as well.
    if let Some(beginning) = written.beginning() {
        let draft = written.plain_draft(content, language, beginning);
        let text = draft.lay_out(content.limits);
        if let Some(text) = text.filter(|text| Encoding::of(text) == Encoding::Gsm7) {
            return Sms(text);
        }
    }
    let preview = written.preview(language, Encoding::Gsm7);
    let text = written.plain_draft(content, language, preview).squeeze(content.limits);
    if Encoding::of(&text) == Encoding::Gsm7 {
        return Sms(text);
    }
    let phrase = Piece::whole(written.phrase.say(language));
    Sms(written.plain_draft(content, language, phrase).squeeze(content.limits))
}

/// The recipient's language, then English, which has the shortest phrases.
fn languages(language: Language) -> impl Iterator<Item = Language> {
    let english = (language != Language::English).then_some(Language::English);
    [language].into_iter().chain(english)
}

/// The user-written parts, normalized.
struct Written {
    name: Normalized,
    thread: Option<(u32, Normalized)>,
    body: Option<Normalized>,
    /// Used in place of a body that is missing or can't be shown.
    phrase: Phrase,
}

impl Written {
    fn of(content: &Content<'_>) -> Self {
        let title = || Normalized::of(content.thread, NAME_READ);
        let Subject::Message { sender, body, file_count, waiting } = content.subject else {
            let phrase = Phrase::FreshLink;
            return Self { name: title(), thread: None, body: None, phrase };
        };
        // No SMS shows more of a long message.
        let limits = content.limits;
        let most = Encoding::Gsm7.capacity(limits.gsm7).max(Encoding::Ucs2.capacity(limits.ucs2));
        let body = body.map(|body| Normalized::of(body, most));
        let phrase = match &body {
            _ if file_count > 0 => Phrase::Files(file_count),
            Some(body) if body.emoji => Phrase::Emoji,
            _ => Phrase::NewMessage,
        };
        Self {
            name: Normalized::of(sender, NAME_READ),
            thread: (waiting > 0).then(|| (waiting, title())),
            body: body.filter(|body| !body.text.is_empty()),
            phrase,
        }
    }

    fn draft<'a>(
        &self,
        content: &Content<'a>,
        language: Language,
        encoding: Encoding,
    ) -> Draft<'a> {
        let preview = self.preview(language, encoding);
        let thread = self.thread.as_ref();
        Draft {
            encoding,
            language,
            name: self.named(encoding, &Piece::of(&self.name, encoding)),
            thread: thread.map(|(count, title)| (*count, Piece::of(title, encoding))),
            least: self.least(encoding, &preview),
            preview,
            notice: content.stop_notice.then(|| Phrase::Notice.say(language)),
            link: content.link,
        }
    }

    /// Makes a draft in the default alphabet, without words of other scripts in name and title.
    fn plain_draft<'a>(
        &self,
        content: &Content<'a>,
        language: Language,
        preview: Piece,
    ) -> Draft<'a> {
        let draft = self.draft(content, language, Encoding::Gsm7);
        Draft {
            name: self.named(draft.encoding, &draft.name.gsm7_only()),
            thread: draft.thread.map(|(count, title)| (count, title.gsm7_only())),
            least: self.least(draft.encoding, &preview),
            preview,
            ..draft
        }
    }

    /// The body up to its first word of another script, if that is long enough for a preview.
    fn beginning(&self) -> Option<Piece> {
        let piece = Piece::of(self.body.as_ref()?, Encoding::Gsm7);
        let end = piece
            .text
            .split_inclusive(' ')
            .take_while(|word| word.trim_end().chars().all(is_gsm7))
            .map(str::len)
            .sum();
        let text = piece.text[..end].trim_end().to_owned();
        let enough = Encoding::Gsm7.length(&text) >= PREVIEW_MIN && end < piece.text.len();
        enough.then_some(Piece { text, more: true })
    }

    fn preview(&self, language: Language, encoding: Encoding) -> Piece {
        match &self.body {
            Some(body) => Piece::of(body, encoding),
            None => Piece::whole(self.phrase.say(language)),
        }
    }

    /// Minimum units of the preview. Phrases are never cut.
    fn least(&self, encoding: Encoding, preview: &Piece) -> usize {
        let length = encoding.length(&preview.text);
        if self.body.is_some() { length.min(PREVIEW_MIN) } else { length }
    }

    /// The sender's name or, for a requested link, the thread's title.
    fn named(&self, encoding: Encoding, name: &Piece) -> Piece {
        // Without colons: the SMS has one after the name, so another could imitate a different sender.
        let words = name.text.split([':', ' ']).filter(|word| !word.is_empty());
        let shown = words.collect::<Vec<_>>().join(" ");
        let piece = match self.phrase {
            Phrase::FreshLink => Piece { text: shown, more: name.more },
            _ => Piece::whole(beginning(encoding, &shown, SENDER_MAX).to_owned()),
        };
        if piece.text.contains(char::is_alphanumeric) {
            piece
        } else {
            Piece::whole(DEFAULT_SENDER.to_owned())
        }
    }
}

/// A part of an SMS that is safe to show.
struct Piece {
    text: String,
    more: bool,
}

impl Piece {
    fn of(line: &Normalized, encoding: Encoding) -> Self {
        let text = match encoding {
            Encoding::Gsm7 => transliterate(&line.text),
            Encoding::Ucs2 => Cow::Borrowed(line.text.as_str()),
        };
        Self { text: sanitize(&text).into_owned(), more: line.more }
    }

    const fn whole(text: String) -> Self {
        Self { text, more: false }
    }

    /// Removes words of other scripts.
    fn gsm7_only(self) -> Self {
        let words = self.text.split(' ').filter(|word| word.chars().all(is_gsm7));
        Self { text: words.collect::<Vec<_>>().join(" "), more: self.more }
    }

    /// Returns as much as fits in `room` units, cut after a word if possible.
    fn fit(&self, encoding: Encoding, room: usize) -> String {
        let end = if self.more { CUT } else { "" };
        if encoding.length(&self.text) + end.len() <= room {
            return format!("{}{end}", self.text);
        }
        let kept = beginning(encoding, &self.text, room.saturating_sub(CUT.len()));
        let at_word = self.text[kept.len()..].starts_with(' ');
        let kept = match kept.rfind(' ') {
            // Cut before the last word, unless that leaves more than half of the room empty.
            Some(end) if !at_word && end * 2 >= kept.len() => &kept[..end],
            _ => kept,
        };
        match kept.trim_end() {
            "" => String::new(),
            kept => format!("{kept}{CUT}"),
        }
    }
}

/// Returns as many whole graphemes of `text` as fit in `room` units.
fn beginning(encoding: Encoding, text: &str, room: usize) -> &str {
    let (mut used, mut end) = (0, 0);
    for grapheme in text.graphemes(true) {
        used += encoding.length(grapheme);
        if used > room {
            break;
        }
        end += grapheme.len();
    }
    text[..end].trim_end()
}

/// The parts of an SMS in one encoding, before they are cut to fit.
struct Draft<'a> {
    encoding: Encoding,
    language: Language,
    name: Piece,
    /// The number of further waiting messages, and the thread.
    thread: Option<(u32, Piece)>,
    preview: Piece,
    /// Minimum units of the preview.
    least: usize,
    notice: Option<String>,
    link: &'a str,
}

impl Draft<'_> {
    /// Returns the text, if name and preview have enough room.
    fn lay_out(&self, limits: Limits) -> Option<String> {
        let room = self.room(limits)?;
        let head = self.head(room.checked_sub(self.least + " ".len())?)?;
        let preview = room - self.encoding.length(&head) - " ".len();
        let preview = self.preview.fit(self.encoding, preview);
        (!preview.is_empty()).then(|| self.text(&head, &preview))
    }

    /// Returns the text, with the preview shortened or left out if necessary.
    fn squeeze(&self, limits: Limits) -> String {
        self.lay_out(limits).unwrap_or_else(|| {
            let room = self.room(limits).unwrap_or_default();
            let head = self.name.fit(self.encoding, SENDER_MIN);
            let left = room.saturating_sub(self.encoding.length(&head) + " ".len());
            let preview = match left {
                ..PREVIEW_LEAST => String::new(),
                _ => self.preview.fit(self.encoding, left),
            };
            self.text(&head, &preview)
        })
    }

    /// Units left by notice and link; `None` if there are none.
    fn room(&self, limits: Limits) -> Option<usize> {
        let segments = match self.encoding {
            Encoding::Gsm7 => limits.gsm7,
            Encoding::Ucs2 => limits.ucs2,
        };
        let notice = self.notice.as_ref();
        let notice = notice.map_or(0, |notice| self.encoding.length(notice) + " ".len());
        let fixed = ": ".len() + notice + self.encoding.length(self.link);
        self.encoding.capacity(segments).checked_sub(fixed)
    }

    /// Sender and thread, in at most `room` units.
    fn head(&self, room: usize) -> Option<String> {
        let Some((count, thread)) = &self.thread else {
            return self.short_name(room);
        };
        // The thread is shortened first, then the name.
        self.head_with_thread(room, *count, thread).or_else(|| {
            let count = format!(" +{count}");
            Some(self.short_name(room.checked_sub(count.len())?)? + &count)
        })
    }

    fn head_with_thread(&self, room: usize, count: u32, thread: &Piece) -> Option<String> {
        let head = |title| phrases::waiting(self.language, &self.name.text, count, title);
        let room = room.checked_sub(self.encoding.length(&head("")))?.min(TITLE_MAX);
        let title = thread.fit(self.encoding, room);
        let shown = title.len() >= thread.text.len().min(TITLE_MIN + CUT.len());
        (shown && !title.is_empty()).then(|| head(&title))
    }

    /// Returns the name, cut to `room` units; `None` if that is too short to recognize.
    fn short_name(&self, room: usize) -> Option<String> {
        let enough = room >= self.encoding.length(&self.name.text).min(SENDER_MIN);
        enough.then(|| self.name.fit(self.encoding, room)).filter(|name| !name.is_empty())
    }

    fn text(&self, head: &str, preview: &str) -> String {
        let notice = self.notice.as_deref().unwrap_or_default();
        let parts = [preview, notice, self.link];
        let mut text = format!("{head}:");
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            text.push(' ');
            text.push_str(part);
        }
        text
    }
}
