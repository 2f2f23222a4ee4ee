//! What the pages are made of: templates, words, one style, one script each, and their policy.

use std::collections::BTreeMap;

use askama::Template;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;
use serde::Serialize;
use sha2::{Digest, Sha256};
use shared::{
    ids::UserId,
    members::Reader,
    messages::{self, FILES_MAX, HistoryCursor, Message},
    threads::{Kind, Thread},
    words::{FluentArgs, Language, Words},
};
use time::{UtcOffset, format_description::BorrowedFormatItem, macros::format_description};

use crate::views::Timestamp;

static WORDS: Words = Words::new([
    include_str!("../../locales/en.ftl"),
    include_str!("../../locales/es.ftl"),
    include_str!("../../locales/zh.ftl"),
    include_str!("../../locales/ru.ftl"),
    include_str!("../../locales/fr.ftl"),
    include_str!("../../locales/de.ftl"),
]);

const STYLE: &str = include_str!("assets/page.css");
const DOOR_SCRIPT: &str = concat!(include_str!("assets/common.js"), include_str!("assets/door.js"));
const THREAD_SCRIPT: &str =
    concat!(include_str!("assets/common.js"), include_str!("assets/thread.js"));

/// The words that the scripts of both pages use.
const COMMON_WORDS: [&str; 5] = ["again", "busy", "offline", "phone-wrong", "renewing"];
const DOOR_WORDS: [&str; 1] = ["opening"];
const THREAD_WORDS: [&str; 23] = [
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
/// Words with a variable, for which the script puts what stands there; here, this does.
const WORDS_WITH: [(&str, &str); 3] = [("left", "n"), ("texts-until", "time"), ("too-long", "n")];
const PLACE: &str = "%";

/// The words of one language.
#[derive(Clone, Copy)]
struct Say(Language);

impl Say {
    fn say(self, id: &str) -> String {
        WORDS.say(self.0, id)
    }

    const fn tag(self) -> &'static str {
        self.0.tag()
    }

    /// The words for a script, by their names in it: `phone-wrong` is `phoneWrong`.
    fn for_script(self, ids: &[&str]) -> BTreeMap<String, String> {
        let ids = COMMON_WORDS.iter().chain(ids);
        ids.map(|id| (camel_case(id), self.say(id))).collect()
    }
}

fn camel_case(id: &str) -> String {
    let mut parts = id.split('-');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (first, rest) = part.split_at_checked(1).unwrap_or((part, ""));
        name.push_str(&first.to_ascii_uppercase());
        name.push_str(rest);
    }
    name
}

/// JSON that can stand in a `<script>`: without `<`, nothing in it ends the element.
fn embed(data: &impl Serialize) -> askama::Result<String> {
    let json = serde_json::to_string(data).map_err(|error| askama::Error::Custom(error.into()))?;
    Ok(json.replace('<', "\\u003c"))
}

/// A page that was written, and what a browser may do with it.
pub(crate) struct Page {
    pub(crate) html: String,
    pub(crate) policy: HeaderValue,
    pub(crate) language: Language,
}

impl Page {
    fn of(page: &impl Template, language: Language, script: &str) -> askama::Result<Self> {
        let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
        let policy = format!(
            "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src 'self' data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash(script),
            hash(STYLE),
        );
        let policy = HeaderValue::from_str(&policy);
        let policy = policy.map_err(|error| askama::Error::Custom(error.into()))?;
        Ok(Self { html: page.render()?, policy, language })
    }
}

#[derive(Template)]
#[template(path = "door.html")]
struct Door {
    words: Say,
    style: &'static str,
    script: &'static str,
    data: String,
    locked: bool,
}

#[derive(Serialize)]
struct DoorData {
    root: &'static str,
    locked: bool,
    words: BTreeMap<String, String>,
}

/// The page behind a link. With `locked` it is the page of a thread that this browser may not read.
pub(crate) fn door(language: Language, locked: bool) -> askama::Result<Page> {
    let words = Say(language);
    let root = if locked { "../" } else { "" };
    let data = embed(&DoorData { root, locked, words: words.for_script(&DOOR_WORDS) })?;
    let door = Door { words, style: STYLE, script: DOOR_SCRIPT, data, locked };
    Page::of(&door, language, DOOR_SCRIPT)
}

#[derive(Template)]
#[template(path = "trouble.html")]
struct Trouble {
    words: Say,
    style: &'static str,
}

/// The page for when another can't be made just now.
pub(crate) fn trouble(language: Language) -> askama::Result<Page> {
    Page::of(&Trouble { words: Say(language), style: STYLE }, language, "")
}

#[derive(Template)]
#[template(path = "thread.html")]
struct ThreadPage {
    words: Say,
    style: &'static str,
    script: &'static str,
    data: String,
    title: String,
    /// The others in the thread.
    members: Vec<String>,
    /// Oldest first.
    messages: Vec<Bubble>,
    /// What the script fills in for a message that comes later.
    blank: Bubble,
}

/// A message as it stands on the page.
#[derive(Default)]
struct Bubble {
    seq: i64,
    mine: bool,
    author: String,
    text: String,
    /// What there is to say of it besides.
    aside: String,
    at: String,
    /// In UTC: what is read where no script puts it in the reader's own way.
    at_plain: String,
    /// The first that the reader has not seen, after some that they have.
    first_fresh: bool,
}

#[derive(Serialize)]
struct ThreadData<'a> {
    root: &'static str,
    thread: String,
    me: &'a str,
    latest: String,
    before: Option<String>,
    read: i64,
    texts: Texts,
    words: ThreadWords,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Texts {
    state: &'static str,
    muted_until: Option<Timestamp>,
}

#[derive(Serialize)]
struct ThreadWords {
    #[serde(flatten)]
    words: BTreeMap<String, String>,
    /// By how many files there are.
    files: Vec<String>,
}

/// What the page of a thread shows.
pub(crate) struct Reading {
    pub(crate) thread: Thread,
    pub(crate) reader: Reader,
    pub(crate) user_id: UserId,
    pub(crate) newest: messages::Page,
}

/// A thread with its newest messages, in `language`.
pub(crate) fn thread(language: Language, reading: Reading) -> askama::Result<Page> {
    let words = Say(language);
    let Reading { thread, reader, user_id, newest } = reading;
    let others = thread.members.iter().filter(|member| member.user_id != user_id);
    let members: Vec<String> = others.map(|member| member.name.clone()).collect();

    let newest_first = newest.messages.into_iter();
    let mut messages: Vec<Bubble> =
        newest_first.rev().map(|message| bubble(words, &user_id, message)).collect();
    let first_fresh = messages.iter().position(|m| m.seq > reader.last_read_seq && !m.mine);
    // Where everything is new, nothing begins anew; unless there is more that they have read.
    let has_read_more = newest.next.is_some() && reader.last_read_seq > 0;
    let first_fresh = first_fresh.filter(|at| *at > 0 || has_read_more);
    if let Some(message) = first_fresh.and_then(|at| messages.get_mut(at)) {
        message.first_fresh = true;
    }

    let mut script_words = words.for_script(&THREAD_WORDS);
    for (id, variable) in WORDS_WITH {
        let mut args = FluentArgs::new();
        args.set(variable, PLACE);
        script_words.insert(camel_case(id), WORDS.say_with(language, id, &args));
    }
    let data = embed(&ThreadData {
        root: "../",
        thread: thread.thread_id.to_string(),
        me: user_id.as_str(),
        latest: newest.latest.encode(),
        before: newest.next.map(HistoryCursor::encode),
        read: reader.last_read_seq,
        texts: texts(&reader),
        words: ThreadWords {
            words: script_words,
            files: (0..=FILES_MAX).map(|n| files(words, n)).collect(),
        },
    })?;
    let page = ThreadPage {
        words,
        style: STYLE,
        script: THREAD_SCRIPT,
        data,
        title: title(words, &thread, &members),
        members,
        messages,
        blank: Bubble::default(),
    };
    Page::of(&page, language, THREAD_SCRIPT)
}

/// A thread's title. One without has it from its kind, in the reader's language, and a conversation of two
/// from its other member.
fn title(words: Say, thread: &Thread, others: &[String]) -> String {
    match (&thread.title, thread.kind, others) {
        (Some(title), ..) => title.clone(),
        (None, Kind::Dm, [other]) => other.clone(),
        (None, Kind::Dm, _) => words.say("direct-message"),
        (None, Kind::Family | Kind::Group, _) => words.say("family-chat"),
    }
}

fn texts(reader: &Reader) -> Texts {
    let state = match (reader.has_phone, reader.texts.opted_out, reader.texts.muted) {
        (false, ..) => "none",
        (true, true, _) => "off",
        (true, false, true) => "muted",
        (true, false, false) => "on",
    };
    Texts { state, muted_until: reader.texts.muted_until.map(Timestamp::from) }
}

fn files(words: Say, count: usize) -> String {
    if count == 0 {
        return String::new();
    }
    let mut args = FluentArgs::new();
    args.set("n", count);
    WORDS.say_with(words.0, "files", &args)
}

/// The author's name, or what the reader's language calls an erased member.
fn author(words: Say, name: Option<String>) -> String {
    name.unwrap_or_else(|| words.say("former-member"))
}

fn bubble(words: Say, reader: &UserId, message: Message) -> Bubble {
    const MACHINE: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    const PLAIN: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    let at = message.created_at.to_offset(UtcOffset::UTC);
    let (text, asides) = if message.deleted_at.is_some() {
        (String::new(), vec![words.say("deleted")])
    } else {
        let edited = message.edited_at.map(|_| words.say("edited"));
        let asides = [Some(files(words, message.file_ids.len())), edited];
        let asides = asides.into_iter().flatten().filter(|aside| !aside.is_empty());
        (message.body.unwrap_or_default(), asides.collect())
    };
    Bubble {
        seq: message.seq,
        mine: message.author_id == *reader,
        author: author(words, message.author_name),
        text,
        aside: asides.join(" · "),
        at: at.format(MACHINE).unwrap_or_default(),
        at_plain: at.format(PLAIN).unwrap_or_default(),
        first_fresh: false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use shared::{
        ids::{MessageId, ThreadId},
        members,
        threads::Member,
    };
    use time::OffsetDateTime;

    use super::*;

    /// What fits into the first packets of a connection (RFC 6928), with room to spare.
    const PAGE_MAX: usize = 14 * 1024;

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

    fn reading(newest_first: Vec<Message>) -> Reading {
        let member = |id: &str| Member {
            user_id: user(id),
            name: format!("<{id}>"),
            role: "MEMBER".to_owned(),
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
        let texts = members::Texts { opted_out: false, muted: false, muted_until: None };
        let reader =
            Reader { locale: None, time_zone: None, has_phone: true, last_read_seq: 1, texts };
        let latest = HistoryCursor { seq: 3, latest: 3 };
        let newest = messages::Page { messages: newest_first, next: None, latest };
        Reading { thread, reader, user_id: user("gran"), newest }
    }

    fn pages(language: Language) -> [Page; 4] {
        [
            door(language, false),
            door(language, true),
            thread(language, reading(vec![])),
            trouble(language),
        ]
        .map(|page| page.expect("a page"))
    }

    fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
        let (_, rest) = text.split_once(start).expect("the start");
        rest.split_once(end).expect("the end").0
    }

    #[test]
    fn every_language_has_every_word() {
        assert_eq!(WORDS.faults(), Vec::<String>::new());
        // What is said in templates and scripts, and by this file, is what the catalogue has.
        let templates = [
            include_str!("templates/ask.html"),
            include_str!("templates/door.html"),
            include_str!("templates/message.html"),
            include_str!("templates/thread.html"),
            include_str!("templates/trouble.html"),
        ];
        let said = templates.iter().flat_map(|template| template.split("words.say(\"").skip(1));
        let said = said.filter_map(|rest| Some(rest.split_once('"')?.0));
        let scripts = [&COMMON_WORDS[..], &DOOR_WORDS, &THREAD_WORDS].concat();
        let with = WORDS_WITH.iter().map(|(id, _)| *id);
        let here = ["direct-message", "family-chat", "files"];
        let used: BTreeSet<&str> = said.chain(scripts).chain(with).chain(here).collect();
        let catalogue = include_str!("../../locales/en.ftl").lines();
        let catalogue = catalogue.filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
        let catalogue = catalogue.filter_map(|line| Some(line.split_once(" = ")?.0));
        assert_eq!(used, catalogue.collect());
        for (script, ids) in [(DOOR_SCRIPT, &DOOR_WORDS[..]), (THREAD_SCRIPT, &THREAD_WORDS)] {
            let mut given: BTreeSet<String> =
                Say(Language::English).for_script(ids).into_keys().collect();
            if ids.len() > DOOR_WORDS.len() {
                given.extend(WORDS_WITH.iter().map(|(id, _)| camel_case(id)));
                given.insert("files".to_owned());
            }
            let said = script.split("words.").skip(1);
            let said =
                said.filter_map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric()).next());
            assert_eq!(said.map(str::to_owned).collect::<BTreeSet<_>>(), given);
        }
        for (id, _) in WORDS_WITH {
            for language in Language::ALL {
                let data = thread(language, reading(vec![])).expect("a page").html;
                let said = between(&data, &format!("\"{}\":\"", camel_case(id)), "\"").to_owned();
                assert_eq!(said.matches(PLACE).count(), 1, "{said}");
            }
        }
    }

    #[tokio::test]
    async fn a_page_is_small_in_every_language() {
        use axum::{Router, body::Body, routing::get};
        use http_body_util::BodyExt;
        use tower::ServiceExt;

        for language in Language::ALL {
            for page in pages(language) {
                let html = page.html;
                let router = Router::new()
                    .route("/", get(async || ([("content-type", "text/html")], html)))
                    .layer(tower_http::compression::CompressionLayer::new());
                let request = http::Request::get("/").header("accept-encoding", "gzip");
                let request = request.body(Body::empty()).expect("a request");
                let response = router.oneshot(request).await.expect("an answer");
                assert_eq!(response.headers()["content-encoding"], "gzip");
                let size = response.into_body().collect().await.expect("a body").to_bytes().len();
                assert!(size < PAGE_MAX, "{}: {size} bytes", language.tag());
            }
        }
    }

    #[test]
    fn the_policy_allows_this_style_and_this_script_and_nothing_else() {
        let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
        for page in pages(Language::German) {
            let policy = page.policy.to_str().expect("ASCII");
            assert_eq!(page.html.matches("<style>").count(), 1);
            assert!(policy.contains(&hash(between(&page.html, "<style>", "</style>"))));
            // A script of data is never run, and needs no leave.
            assert!(page.html.matches("<script>").count() <= 1);
            if page.html.contains("<script>") {
                let script = between(&page.html, "<script>", "</script>");
                assert!(policy.contains(&hash(script)));
                assert!(!script.contains("innerHTML"));
            }
            assert!(!policy.contains("unsafe"));
            for forbidden in [" style=", " onclick=", " src=", "javascript:", "og:"] {
                assert!(!page.html.contains(forbidden), "{forbidden}");
            }
            // What a preview of a link shows.
            assert!(page.html.contains("<title>Kinline</title>"));
        }
    }

    #[test]
    fn what_people_write_is_text() {
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
    fn new_messages_begin_where_somebody_stopped_reading() {
        let of =
            |newest_first| thread(Language::English, reading(newest_first)).expect("a page").html;
        let fresh = "<p class=\"fresh\">";
        let html = of(vec![message(3, "mum", "c"), message(2, "mum", "b"), message(1, "mum", "a")]);
        assert_eq!(html.matches(fresh).count(), 1);
        assert!(html.find(fresh) > html.find(">a</p>") && html.find(fresh) < html.find(">b</p>"));
        // One's own are not new, and where everything is, nothing is.
        assert!(!of(vec![message(2, "gran", "b"), message(1, "mum", "a")]).contains(fresh));
        assert!(!of(vec![message(3, "mum", "b"), message(2, "mum", "a")]).contains(fresh));
    }

    #[test]
    fn a_thread_is_called_by_what_it_is() {
        let called = |kind, title: Option<&str>, others: &[&str]| {
            let mut thread = reading(vec![]).thread;
            (thread.kind, thread.title) = (kind, title.map(str::to_owned));
            let others: Vec<String> = others.iter().map(|&name| name.to_owned()).collect();
            super::title(Say(Language::German), &thread, &others)
        };
        assert_eq!(called(Kind::Dm, None, &["Mum"]), "Mum");
        assert_eq!(called(Kind::Dm, None, &[]), "Direktnachricht");
        assert_eq!(called(Kind::Family, None, &["Mum"]), "Familienchat");
        assert_eq!(called(Kind::Group, Some("Sunday"), &["Mum"]), "Sunday");
        // What is given is no sentinel, whatever it says.
        for given in ["Family Chat", "Direct Message"] {
            assert_eq!(called(Kind::Family, Some(given), &["Mum"]), given);
            assert_eq!(called(Kind::Dm, Some(given), &["Mum"]), given);
        }
    }
}
