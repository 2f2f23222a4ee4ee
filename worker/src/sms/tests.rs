//! Tests of whole SMS: their texts, and the checks that hold for all.

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    verify::{links_in, verify},
    *,
};

/// A link as long as those of the local stack: 24 characters and a token of 73.
const LINK: &str = "http://127.0.0.1:3000/l#aeyJqdGkiOiJBQUFBQUFBQUFBQSJ9.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A link with a host of `host` characters and a token of `token`.
fn link(host: usize, token: usize) -> String {
    format!("https://{}.ex/l#a{}", "h".repeat(host - 3), "B".repeat(token - 1))
}

const fn message<'a>(sender: &'a str, body: &'a str) -> Content<'a> {
    let subject = Subject::Message { sender, body: Some(body), file_count: 0, waiting: 0 };
    Content {
        subject,
        thread: "",
        language: Language::English,
        stop_notice: false,
        link: LINK,
        limits: Limits { gsm7: 1, ucs2: 2 },
    }
}

const fn files<'a>(sender: &'a str, body: Option<&'a str>, file_count: i32) -> Content<'a> {
    let subject = Subject::Message { sender, body, file_count, waiting: 0 };
    Content { subject, ..message("", "") }
}

const fn waiting<'a>(sender: &'a str, body: &'a str, waiting: u32, thread: &'a str) -> Content<'a> {
    let subject = Subject::Message { sender, body: Some(body), file_count: 0, waiting };
    Content { subject, thread, ..message("", "") }
}

/// Composes an SMS, checks its link and limit, and returns the text before the link.
fn said(content: &Content<'_>) -> String {
    let text = compose(content).0;
    let Measure { encoding, segments } = measure(&text);
    let most = match encoding {
        Encoding::Gsm7 => content.limits.gsm7,
        Encoding::Ucs2 => content.limits.ucs2,
    };
    assert!(segments as usize <= most, "{segments} segments of {encoding:?}: {text}");
    let end = text.strip_suffix(content.link).and_then(|text| text.strip_suffix(' '));
    end.expect("the link at the end").to_owned()
}

fn is_gsm7(text: &str) -> bool {
    measure(text).encoding == Encoding::Gsm7
}

#[test]
fn a_word_of_another_script_does_not_hide_what_stands_before_it() {
    for (body, shown) in [
        ("Let's have dinner on Sunday, Оля is coming, ok?", "Ann: Let's have dinner on Sunday,"),
        ("Let's meet at the usual place by Иван at five", "Ann: Let's meet at the usual place by"),
    ] {
        let text = said(&message("Ann", body));
        assert!(text.starts_with(shown), "{text}");
    }
}

#[test]
fn a_name_cannot_imitate_another_sender() {
    assert_eq!(said(&message("Mum: sent you money. Dad", "hi")), "Mum sent you money.: hi");
    let name = format!("{}Ann", "!".repeat(25));
    assert_eq!(said(&message(&name, "hi")), "Kinline: hi");
}

#[test]
fn a_short_message_is_whole() {
    assert_eq!(said(&message("Grandma", "Pie at five?")), "Grandma: Pie at five?");
}

#[test]
fn a_long_message_is_cut_at_a_word() {
    let body = "apple pie and cream ".repeat(20);
    assert_eq!(
        said(&message("Grandma", &body)),
        "Grandma: apple pie and cream apple pie and cream apple pie..."
    );
}

#[test]
fn a_preview_keeps_40_characters_beside_the_longest_usual_link_and_sender() {
    let link = link(20, 73);
    let body = "x".repeat(400);
    let content = Content { link: &link, ..message("Grandmother1", &body) };
    assert_eq!(said(&content), format!("Grandmother1: {}...", "x".repeat(38)));
    let body = "x".repeat(41);
    let content = Content { link: &link, ..message("Grandmother1", &body) };
    assert_eq!(said(&content), format!("Grandmother1: {body}"));
}

#[test]
fn typographic_characters_do_not_cost_a_segment() {
    let said = said(&message("Dad", "“It’s late” – come in…\n\tnow\u{a0}please"));
    assert_eq!(said, "Dad: \"It's late\" - come in... now please");
}

#[test]
fn accents_and_emoji_do_not_cost_a_segment() {
    assert_eq!(
        said(&message("Zoë", "¿Mañana a las 5? 🎂 Está bien")),
        "Zoe: ¿Mañana a las 5? Esta bien"
    );
    assert_eq!(said(&message("👵 Grandma 🌸", "I ❤️ you")), "Grandma: I you");
    assert_eq!(said(&message("👵", "hi")), "Kinline: hi");
}

#[test]
fn a_message_of_emoji_becomes_a_phrase() {
    assert_eq!(said(&message("Leo", "😀😀❤️")), "Leo: [emoji]");
    assert_eq!(said(&message("Leo", "\u{200b}")), "Leo: new message");
    assert_eq!(said(&files("Leo", Some("😀"), 1)), "Leo: [photo]");
}

#[test]
fn files_alone_are_named() {
    assert_eq!(said(&files("Dad", None, 2)), "Dad: [2 files]");
    assert_eq!(said(&files("Dad", None, 1)), "Dad: [photo]");
    assert_eq!(said(&files("Dad", None, 0)), "Dad: new message");
    let spanish = Content { language: Language::Spanish, ..files("Dad", None, 2) };
    assert_eq!(said(&spanish), "Dad: [2 archivos]");
}

#[test]
fn another_script_is_kept_if_it_fits() {
    assert_eq!(said(&message("Мама", "Ужин в пять")), "Мама: Ужин в пять");
    assert_eq!(said(&message("妈妈", "你好。今天吃饭了吗？")), "妈妈: 你好。 今天吃饭了吗？");
    // The part that is cut off does not count.
    let body = format!("{} Привет", "word ".repeat(40));
    assert!(is_gsm7(&said(&message("Dad", &body))));
}

#[test]
fn another_script_becomes_a_phrase_if_it_does_not_fit() {
    let one = Limits { gsm7: 1, ucs2: 1 };
    let content = |sender, body| Content { limits: one, ..message(sender, body) };
    assert_eq!(said(&content("Мама", "Ужин в пять")), "Kinline: new message");
    assert_eq!(said(&content("Maria Иванова", "Ужин")), "Maria: new message");
    assert_eq!(said(&content("(Мама)", "See you")), "Kinline: See you");
    let german = Content { language: Language::German, ..content("Мама", "Ужин") };
    assert_eq!(said(&german), "Kinline: neue Nachricht");
    let chinese = Content { language: Language::Chinese, ..content("妈妈", "你好") };
    assert_eq!(said(&chinese), "Kinline: new message");
}

#[test]
fn a_long_link_leaves_another_script_no_room() {
    let link = link(30, 80);
    let content = Content {
        link: &link, ..message("Александра", "Сегодня вечером ужин")
    };
    assert_eq!(said(&content), "Kinline: new message");
}

#[test]
fn several_messages_name_their_thread() {
    assert_eq!(
        said(&waiting("Ann", "Pie at five?", 3, "Sunday")),
        "Ann +3 in Sunday: Pie at five?"
    );
    assert_eq!(said(&waiting("Ann", "Pie at five?", 3, "")), "Ann +3: Pie at five?");
    // The thread's title is shortened for the preview, then left out.
    assert_eq!(
        said(&waiting("Ann", &"pie ".repeat(50), 3, "Summer holidays of all of us in France")),
        "Ann +3 in Summer holidays of all of us in...: pie pie pie..."
    );
    let (link, body) = (link(20, 73), "pie ".repeat(50));
    let content =
        |sender, count, thread| Content { link: &link, ..waiting(sender, &body, count, thread) };
    assert_eq!(
        said(&content("Bartholomew", 12, "Summer holidays in France")),
        "Bartholomew +12 in Summer holidays...: pie pie pie..."
    );
    assert_eq!(
        said(&content("Bartholomew Anderson", 12, "Summer holidays")),
        "Bartholomew Anderson +12 in Summer...: pie pie pie..."
    );
    let french = Content { language: Language::French, ..waiting("Ann", "Oui", 3, "Dimanche") };
    assert_eq!(said(&french), "Ann +3 dans Dimanche: Oui");
}

#[test]
fn the_notice_is_whole_and_before_the_link() {
    let notice = |content: Content<'_>| said(&Content { stop_notice: true, ..content });
    let body = "pie ".repeat(50);
    assert_eq!(notice(message("Ann", "Pie at five?")), "Ann: Pie at five? Reply STOP to opt out");
    assert_eq!(
        notice(message("Bartholomew Anderson", &body)),
        "Bartholomew Anderson: pie pie pie pie... Reply STOP to opt out"
    );
    let usual = link(20, 73);
    let content = Content { link: &usual, ..message("Bartholomew Anderson", &body) };
    assert_eq!(notice(content), "Bartholomew...: pie pie pie... Reply STOP to opt out");
    let longest = link(30, 80);
    let content = Content { link: &longest, ..message("Bartholomew", &body) };
    assert_eq!(notice(content), "Barth...: Reply STOP to opt out");
    let german = Content { language: Language::German, ..message("Ann", "Pie") };
    assert_eq!(notice(german), "Ann: Pie Mit STOP abmelden");
    // In Russian it would exceed two segments of UCS-2, so it is English.
    let russian =
        Content { language: Language::Russian, ..message("Bartholomew", "Pie and cream today") };
    assert_eq!(notice(russian), "Bartholomew: Pie and cream today Reply STOP to opt out");
}

#[test]
fn a_fresh_link_names_its_thread() {
    let fresh = |language, thread| {
        said(&Content { subject: Subject::FreshLink, language, thread, ..message("", "") })
    };
    assert_eq!(fresh(Language::English, "Sunday"), "Sunday: here is your link");
    assert_eq!(fresh(Language::Spanish, "Sunday"), "Sunday: este es su enlace");
    assert_eq!(fresh(Language::Chinese, "家"), "家: 这是您的链接");
    assert_eq!(fresh(Language::English, ""), "Kinline: here is your link");
    assert_eq!(
        fresh(Language::English, "Summer holidays of all of us in the south of France"),
        "Summer holidays of all of us in the...: here is your link"
    );
    let one = Content { limits: Limits { gsm7: 1, ucs2: 1 }, ..message("", "") };
    let chinese =
        Content { subject: Subject::FreshLink, language: Language::Chinese, thread: "家", ..one };
    assert_eq!(said(&chinese), "Kinline: here is your link");
}

#[test]
fn a_pasted_link_is_broken() {
    let text = said(&message("Eve", "Look: https://kin.example/l#abc"));
    assert_eq!(text, "Eve: Look: https: //kin. example/l#abc");
}

#[test]
fn an_sms_is_cut_between_graphemes() {
    let body = "का".repeat(200);
    let said = said(&message("Mum", &body));
    let preview =
        said.strip_prefix("Mum: ").and_then(|said| said.strip_suffix("...")).expect("cut");
    assert!(preview.len() > 10 && body.starts_with(preview) && preview.ends_with('ा'), "{said}");
}

/// Tricky parts of texts, separated by bars.
const TRICKY: &str = "http://¦https://¦HTTPS:¦://¦//¦www.¦www¦mailto:¦javascript:¦tel:¦evil¦com¦\
    .com¦evil.com¦bit.ly/x¦пример.рф¦1.2.3.4¦3.50¦user@host.tld¦@¦.¦。¦．¦․¦｡¦:¦：¦/¦／¦ｅｖｉｌ．ｃｏｍ¦\
    xn--¦[::1]¦e.g.¦https://kin.example/l#a¦word¦grandmother¦STOP¦0¦1¦\
    a¦b¦Z¦é¦ç¦ł¦œ¦ß¦я¦й¦你好¦，¦が¦ガ¦한¦שלום¦مرحبا¦𝒜¦𠮷¦\
    \u{301}¦\u{307}\u{323}¦\u{20e3}¦\u{fe0f}¦\u{200d}¦\u{200b}¦\u{202e}¦\u{2066}¦\u{200f}¦\u{ad}¦\
    \u{feff}¦\u{e0020}¦\u{3164}¦\0¦\u{1b}¦\u{c}¦\r\n¦\t¦ ¦  ¦\u{a0}¦\u{2028}¦\u{3000}¦\
    \u{10ffff}¦\u{d7ff}¦\u{e000}¦😀¦❤️¦👩‍👩‍👧‍👦¦🇨🇭¦1️⃣¦👍🏽¦©¦½¦…¦“¦’¦—¦\
    ^¦{¦}¦\\¦[¦~¦]¦|¦€¦`¦!¦?¦)¦(¦-¦_¦#¦%¦&¦=¦+¦*";

fn tricky() -> impl Strategy<Value = String> {
    let bits: Vec<&str> = TRICKY.split('¦').collect();
    vec(select(bits), 0..40).prop_map(|bits| bits.concat())
}

fn written() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => tricky(),
        2 => any::<String>(),
        1 => "[ -~]{0,400}",
        1 => "[a-z0-9.:/@ ]{0,80}",
        1 => vec(tricky(), 0..20).prop_map(|bits| bits.concat()),
    ]
}

#[derive(Debug)]
struct Case {
    sender: String,
    body: Option<String>,
    thread: String,
    file_count: i32,
    waiting: u32,
    fresh: bool,
    stop_notice: bool,
    language: Language,
    link: String,
    limits: Limits,
}

impl Case {
    fn content(&self) -> Content<'_> {
        let subject = if self.fresh {
            Subject::FreshLink
        } else {
            Subject::Message {
                sender: &self.sender,
                body: self.body.as_deref(),
                file_count: self.file_count,
                waiting: self.waiting,
            }
        };
        Content {
            subject,
            thread: &self.thread,
            language: self.language,
            stop_notice: self.stop_notice,
            link: &self.link,
            limits: self.limits,
        }
    }
}

fn case() -> impl Strategy<Value = Case> {
    let counts = (-1..30_i32, prop_oneof![Just(0), 1..200_u32, Just(u32::MAX)]);
    let flags = (proptest::bool::weighted(0.1), any::<bool>(), select(Language::ALL.to_vec()));
    let link = (6..=30_usize, 70..=80_usize).prop_map(|(host, token)| link(host, token));
    let limits = (1..=4_usize, 1..=4_usize).prop_map(|(gsm7, ucs2)| Limits { gsm7, ucs2 });
    (written(), proptest::option::weighted(0.9, written()), written(), counts, flags, link, limits)
        .prop_map(|(sender, body, thread, counts, flags, link, limits)| Case {
            sender,
            body,
            thread,
            file_count: counts.0,
            waiting: counts.1,
            fresh: flags.0,
            stop_notice: flags.1,
            language: flags.2,
            link,
            limits,
        })
}

#[test]
fn the_link_finder_finds_links() {
    for link in ["http://x.y", "see evil.com", "a@evil.com", "www.x", "tel:1", "evil。公司", LINK]
    {
        assert!(!links_in(link).is_empty(), "{link}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_sms_is_within_its_limit_and_has_one_link(case in case()) {
        let content = case.content();
        let verified = verify(&content, &compose(&content));
        prop_assert!(verified.is_ok(), "{verified:?}");
    }

    #[test]
    fn plain_words_stay_as_they_are(sender in "[A-Z][a-z]{1,11}", body in "[A-Za-z0-9,!?']{1,19}( [A-Za-z0-9,!?']{1,19})") {
        prop_assert_eq!(said(&message(&sender, &body)), format!("{sender}: {body}"));
    }
}
