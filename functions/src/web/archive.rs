//! The archive page of an export: a family's messages, to be read from disk.

use askama::Template;
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use shared::{erasure::FORMER_MEMBER, ids::ThreadId, messages::Message};
use time::{
    Date, OffsetDateTime, UtcOffset, format_description::BorrowedFormatItem,
    macros::format_description,
};

const STYLE: &str = include_str!("assets/archive.css");

const DAY: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday], [day padding:none] [month repr:long] [year]");
const CLOCK: &[BorrowedFormatItem<'_>] = format_description!("[hour]:[minute]");
const MACHINE: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");

#[derive(Template)]
#[template(path = "archive.html")]
struct Page<'a> {
    style: &'a str,
    style_hash: String,
    family: &'a str,
    part: u32,
    is_last_part: bool,
    exported: String,
    /// The rendered messages, escaped.
    body: &'a str,
}

#[derive(Template)]
#[template(path = "archive-message.html")]
struct Item<'a> {
    /// The title of the thread that begins here.
    thread: Option<&'a str>,
    /// Whether the previous thread ends here.
    ends_thread: bool,
    /// The day that begins here.
    day: Option<String>,
    id: String,
    author: &'a str,
    at: String,
    clock: String,
    answers: Option<String>,
    deleted: bool,
    edited: bool,
    text: &'a str,
    files: &'a [String],
}

/// An archive page, built message by message.
pub(crate) struct Archive {
    family: String,
    part: u32,
    exported: String,
    body: String,
    /// The thread and day of the last message.
    end: Option<(ThreadId, Date)>,
    next_end: Option<(ThreadId, Date)>,
}

impl Archive {
    pub(crate) fn new(family: &str, part: u32, exported_at: OffsetDateTime) -> Self {
        let exported = exported_at.format(DAY).unwrap_or_default();
        let (body, end) = (String::new(), None);
        Self { family: family.to_owned(), part, exported, body, end, next_end: None }
    }

    /// The size in bytes, including the rest of the page.
    pub(crate) fn len(&self) -> usize {
        STYLE.len() + 4096 + self.body.len()
    }

    /// Renders the next message, for [`Self::push`].
    pub(crate) fn write(&mut self, thread: &str, message: &Message) -> askama::Result<String> {
        let at = message.created_at.to_offset(UtcOffset::UTC);
        let begins_thread = self.end.is_none_or(|(thread_id, _)| thread_id != message.thread_id);
        let begins_day = begins_thread || self.end.is_none_or(|(_, day)| day != at.date());
        self.next_end = Some((message.thread_id, at.date()));
        Item {
            thread: begins_thread.then_some(thread),
            ends_thread: begins_thread && self.end.is_some(),
            day: begins_day.then(|| at.format(DAY).unwrap_or_default()),
            id: message.message_id.to_string(),
            author: message.author_name.as_deref().unwrap_or(FORMER_MEMBER),
            at: at.format(MACHINE).unwrap_or_default(),
            clock: at.format(CLOCK).unwrap_or_default(),
            answers: message.reply_to_id.map(|id| id.to_string()),
            deleted: message.deleted_at.is_some(),
            edited: message.edited_at.is_some() && message.deleted_at.is_none(),
            text: message.body.as_deref().unwrap_or_default(),
            files: &message.file_ids,
        }
        .render()
    }

    /// Appends the HTML that [`Self::write`] returned last.
    pub(crate) fn push(&mut self, html: &str) {
        self.body.push_str(html);
        self.end = self.next_end;
    }

    /// The whole page.
    pub(crate) fn finish(mut self, is_last_part: bool) -> askama::Result<String> {
        if self.end.is_some() {
            self.body.push_str("</section>\n");
        }
        Page {
            style: STYLE,
            style_hash: STANDARD.encode(Sha256::digest(STYLE)),
            family: &self.family,
            part: self.part,
            is_last_part,
            exported: self.exported,
            body: &self.body,
        }
        .render()
    }
}

#[cfg(test)]
mod tests {
    use shared::ids::MessageId;

    use super::*;

    #[test]
    fn messages_are_escaped() {
        let mut page = Archive::new("<b>Us</b>", 1, OffsetDateTime::UNIX_EPOCH);
        let mut message = Message {
            message_id: MessageId::new(),
            thread_id: ThreadId::new(),
            seq: 1,
            author_id: "u".parse().expect("an id"),
            author_name: Some("</section><script>alert(1)</script>".to_owned()),
            body: Some("<img src=x onerror=alert(1)> & \"co\"\n</article>".to_owned()),
            file_ids: vec!["f1".to_owned()],
            reply_to_id: Some(MessageId::new()),
            created_at: OffsetDateTime::UNIX_EPOCH,
            edited_at: None,
            deleted_at: None,
        };
        for title in ["</title><i>", "</title><i>", "Other"] {
            if title == "Other" {
                message.thread_id = ThreadId::new();
                message.deleted_at = Some(OffsetDateTime::UNIX_EPOCH);
                message.body = None;
            }
            let html = page.write(title, &message).expect("written");
            page.push(&html);
        }
        let html = page.finish(true).expect("a page");
        for markup in ["<script", "<img", "<i>", "<b>Us", "onerror=alert(1)>"] {
            assert!(!html.contains(markup), "{markup}");
        }
        assert!(html.contains("&#60;b&#62;Us&#60;/b&#62;"));
        assert!(html.contains("Thursday, 1 January 1970"));
        assert!(html.contains("This message was deleted."));
        for (tag, times) in [("section", 2), ("article", 3), ("html", 1), ("main", 1)] {
            assert_eq!(html.matches(&format!("<{tag}")).count(), times, "{tag}");
            assert_eq!(html.matches(&format!("</{tag}>")).count(), times, "/{tag}");
        }
        // The page fetches nothing and runs nothing.
        for outside in ["http://", "https://", " src=\"", "<link", "@import", "url("] {
            assert!(!html.contains(outside), "{outside}");
        }
    }
}
