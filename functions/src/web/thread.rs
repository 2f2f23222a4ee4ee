//! The thread page: members, newest messages, and a form to answer.

use askama::Template;
use serde::Serialize;
use shared::{
    i18n::{FluentArgs, Language},
    ids::UserId,
    members::Membership,
    messages::{self, FILES_MAX, HistoryCursor, Message},
    threads::{Kind, Thread},
};
use time::{UtcOffset, format_description::BorrowedFormatItem, macros::format_description};

use super::{
    locale::{ForScript, Locale},
    page::{Page, STYLE, embed},
};
use crate::views::Timestamp;

pub(super) const SCRIPT: &str =
    concat!(include_str!("assets/common.js"), include_str!("assets/thread.js"));

/// Ids of the messages that the script shows.
pub(super) const MESSAGES: [&str; 23] = [
    "deleted",
    "edited",
    "former-member",
    "loading",
    "locked-text",
    "locked-title",
    "lost",
    "refused",
    "sending",
    "sign-out-sure",
    "sign-out-yes",
    "signed-out",
    "signed-out-text",
    "stop-sure",
    "stop-yes",
    "texts-muted",
    "texts-none",
    "texts-off",
    "texts-on",
    "today",
    "unsent",
    "yesterday",
    "you",
];
/// Messages with a variable that the script completes.
pub(super) const OPEN_MESSAGES: [(&str, &str); 3] =
    [("left", "n"), ("texts-until", "time"), ("too-long", "n")];

#[derive(Template)]
#[template(path = "thread.html")]
struct ThreadPage {
    locale: Locale,
    style: &'static str,
    script: &'static str,
    data: String,
    title: String,
    /// The others in the thread.
    members: Vec<String>,
    /// Oldest first.
    messages: Vec<Bubble>,
    /// The template of a message that comes later, for the script.
    blank: Bubble,
}

/// A message as it stands on the page.
#[derive(Default)]
struct Bubble {
    seq: i64,
    mine: bool,
    author: String,
    text: String,
    /// Notes below the text: deleted, files, edited.
    aside: String,
    at: String,
    /// In UTC, for browsers without the script, which writes local time.
    at_plain: String,
    /// The first unread message, if there are read ones before it.
    first_unread: bool,
}

#[derive(Serialize)]
struct Data<'a> {
    root: &'static str,
    thread: String,
    me: &'a str,
    latest: String,
    before: Option<String>,
    read: i64,
    texts: SmsSetting,
    i18n: Messages,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SmsSetting {
    state: &'static str,
    muted_until: Option<Timestamp>,
}

#[derive(Serialize)]
struct Messages {
    #[serde(flatten)]
    messages: ForScript,
    /// By the number of files.
    files: Vec<String>,
}

/// The data of a thread page.
pub(crate) struct Reading {
    pub(crate) thread: Thread,
    pub(crate) membership: Membership,
    pub(crate) user_id: UserId,
    pub(crate) newest: messages::Page,
}

/// A thread with its newest messages, in `language`.
pub(crate) fn thread(language: Language, reading: Reading) -> askama::Result<Page> {
    let locale = Locale(language);
    let Reading { thread, membership, user_id, newest } = reading;
    let others = thread.members.iter().filter(|member| member.user_id != user_id);
    let members: Vec<String> = others.map(|member| member.name.clone()).collect();

    let newest_first = newest.messages.into_iter();
    let mut messages: Vec<Bubble> =
        newest_first.rev().map(|message| bubble(locale, &user_id, message)).collect();
    let first_unread = messages.iter().position(|m| m.seq > membership.last_read_seq && !m.mine);
    // If all messages on the page are unread, none is marked, unless an earlier page has read ones.
    let has_read_more = newest.next.is_some() && membership.last_read_seq > 0;
    let first_unread = first_unread.filter(|at| *at > 0 || has_read_more);
    if let Some(message) = first_unread.and_then(|at| messages.get_mut(at)) {
        message.first_unread = true;
    }

    let data = embed(&Data {
        root: "../",
        thread: thread.thread_id.to_string(),
        me: user_id.as_str(),
        latest: newest.latest.encode(),
        before: newest.next.map(HistoryCursor::encode),
        read: membership.last_read_seq,
        texts: sms_setting(&membership),
        i18n: Messages {
            messages: locale.for_script(&MESSAGES, &OPEN_MESSAGES),
            files: (0..=FILES_MAX).map(|n| files(locale, n)).collect(),
        },
    })?;
    let page = ThreadPage {
        locale,
        style: STYLE,
        script: SCRIPT,
        data,
        title: title(locale, &thread, &members),
        members,
        messages,
        blank: Bubble::default(),
    };
    Page::of(&page, language, SCRIPT)
}

/// A thread's title. The default depends on the kind, in the page's language; for a direct message it is
/// the other member's name.
fn title(locale: Locale, thread: &Thread, others: &[String]) -> String {
    match (&thread.title, thread.kind, others) {
        (Some(title), ..) => title.clone(),
        (None, Kind::Dm, [other]) => other.clone(),
        (None, Kind::Dm, _) => locale.say("direct-message"),
        (None, Kind::Family | Kind::Group, _) => locale.say("family-chat"),
    }
}

fn sms_setting(membership: &Membership) -> SmsSetting {
    let state = match (membership.has_phone, membership.sms.opted_out, membership.sms.muted) {
        (false, ..) => "none",
        (true, true, _) => "off",
        (true, false, true) => "muted",
        (true, false, false) => "on",
    };
    SmsSetting { state, muted_until: membership.sms.muted_until.map(Timestamp::from) }
}

fn files(locale: Locale, count: usize) -> String {
    if count == 0 {
        return String::new();
    }
    let mut args = FluentArgs::new();
    args.set("n", count);
    locale.say_with("files", &args)
}

/// The author's name, or a placeholder for an erased member.
fn author(locale: Locale, name: Option<String>) -> String {
    name.unwrap_or_else(|| locale.say("former-member"))
}

fn bubble(locale: Locale, user_id: &UserId, message: Message) -> Bubble {
    const MACHINE: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    const PLAIN: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    let at = message.created_at.to_offset(UtcOffset::UTC);
    let (text, asides) = if message.deleted_at.is_some() {
        (String::new(), vec![locale.say("deleted")])
    } else {
        let edited = message.edited_at.map(|_| locale.say("edited"));
        let asides = [Some(files(locale, message.file_ids.len())), edited];
        let asides = asides.into_iter().flatten().filter(|aside| !aside.is_empty());
        (message.body.unwrap_or_default(), asides.collect())
    };
    Bubble {
        seq: message.seq,
        mine: message.author_id == *user_id,
        author: author(locale, message.author_name),
        text,
        aside: asides.join(" · "),
        at: at.format(MACHINE).unwrap_or_default(),
        at_plain: at.format(PLAIN).unwrap_or_default(),
        first_unread: false,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use shared::{
        access::Role,
        ids::{MessageId, ThreadId},
        members,
        threads::Member,
    };
    use time::OffsetDateTime;

    use super::*;

    fn user(id: &str) -> UserId {
        id.parse().expect("an id")
    }

    fn message(seq: i64, author: &str, body: &str) -> Message {
        Message {
            message_id: MessageId::new(),
            thread_id: ThreadId::new(),
            seq,
            author_id: user(author),
            author_name: Some(format!("{author}</script>")),
            body: Some(body.to_owned()),
            file_ids: vec![],
            reply_to_id: None,
            created_at: OffsetDateTime::UNIX_EPOCH,
            edited_at: None,
            deleted_at: None,
        }
    }

    pub(in super::super) fn reading(newest_first: Vec<Message>) -> Reading {
        let member = |id: &str| Member {
            user_id: user(id),
            name: format!("<{id}>"),
            role: Role::Member,
            joined_at: OffsetDateTime::UNIX_EPOCH,
        };
        let thread = Thread {
            thread_id: ThreadId::new(),
            family_id: "f".parse().expect("an id"),
            kind: Kind::Family,
            title: Some("Us & them".to_owned()),
            member_key: String::new(),
            last_seq: 0,
            last_message_at: None,
            created_at: OffsetDateTime::UNIX_EPOCH,
            updated_at: OffsetDateTime::UNIX_EPOCH,
            members: vec![member("mum"), member("gran")],
        };
        let sms = members::SmsStatus { opted_out: false, muted: false, muted_until: None };
        let membership =
            Membership { locale: None, time_zone: None, has_phone: true, last_read_seq: 1, sms };
        let latest = HistoryCursor { seq: 3, latest: 3 };
        let newest = messages::Page { messages: newest_first, next: None, latest };
        Reading { thread, membership, user_id: user("gran"), newest }
    }

    #[test]
    fn messages_are_escaped() {
        let hostile = "</p><script>alert(1)</script> & 'x'\n  two";
        let page = thread(Language::English, reading(vec![message(2, "mum", hostile)]));
        let html = page.expect("a page").html;
        assert_eq!(html.matches("</script>").count(), 2);
        assert!(!html.contains("<script>alert"));
        assert!(html.contains("alert(1)"));
        assert!(html.contains("&#38; &#39;x&#39;\n  two</p>"));
        assert!(html.contains("<bdi>&#60;mum&#62;</bdi>") && html.contains("Us &#38; them"));
        assert_eq!(embed(&"</script>").expect("JSON"), r#""\u003c/script>""#);
    }

    #[test]
    fn unread_messages_are_marked_after_the_last_read_one() {
        let of =
            |newest_first| thread(Language::English, reading(newest_first)).expect("a page").html;
        let fresh = "<p class=\"fresh\">";
        let html = of(vec![message(3, "mum", "c"), message(2, "mum", "b"), message(1, "mum", "a")]);
        assert_eq!(html.matches(fresh).count(), 1);
        assert!(html.find(fresh) > html.find(">a</p>") && html.find(fresh) < html.find(">b</p>"));
        // The member's own messages are not unread. If all are unread, none is marked.
        assert!(!of(vec![message(2, "gran", "b"), message(1, "mum", "a")]).contains(fresh));
        assert!(!of(vec![message(3, "mum", "b"), message(2, "mum", "a")]).contains(fresh));
    }

    #[test]
    fn a_default_title_depends_on_the_kind() {
        let called = |kind, title: Option<&str>, others: &[&str]| {
            let mut thread = reading(vec![]).thread;
            (thread.kind, thread.title) = (kind, title.map(str::to_owned));
            let others: Vec<String> = others.iter().map(|&name| name.to_owned()).collect();
            super::title(Locale(Language::German), &thread, &others)
        };
        assert_eq!(called(Kind::Dm, None, &["Mum"]), "Mum");
        assert_eq!(called(Kind::Dm, None, &[]), "Direktnachricht");
        assert_eq!(called(Kind::Family, None, &["Mum"]), "Familienchat");
        assert_eq!(called(Kind::Group, Some("Sunday"), &["Mum"]), "Sunday");
        // A given title is shown as it is, even if it equals a default.
        for given in ["Family Chat", "Direct Message"] {
            assert_eq!(called(Kind::Family, Some(given), &["Mum"]), given);
            assert_eq!(called(Kind::Dm, Some(given), &["Mum"]), given);
        }
    }
}
