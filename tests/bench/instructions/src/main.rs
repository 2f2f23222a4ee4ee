//! Runs one of the hot parts without I/O a number of times: `instructions <part> <times>`. Without
//! arguments, prints the names of the parts.

#![expect(clippy::expect_used, reason = "a benchmark reports errors to its reader only")]
#![expect(clippy::print_stdout, reason = "it prints names for a script")]

use std::{env, hint::black_box};

use aws_sdk_sqs::config::{Credentials, Region};
use axum::{Router, body::Body, extract::FromRequestParts};
use functions::{
    Api, auth::Auth, edge, extract::Caller, routes, state::Rules, views::HistoryView,
    web::site::Site,
};
use http::{
    Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use jsonwebtoken::{EncodingKey, Header};
use platform::{aws::behavior_version, config::SecretString};
use serde_json::json;
use shared::{
    cursor::HistoryCursor,
    db::Database,
    i18n::Language,
    ids::{MessageId, SmsId, ThreadId, UserId},
    links::{LinkId, LinkKeys},
    messages::{Message, Page},
    queue::{Job, Queue},
    threads::{Kind, MemberSet},
};
use time::OffsetDateTime;
use tokio::runtime::Runtime;
use tower::ServiceExt;
use worker::sms::{Content, Limits, Subject, compose, measure};

const SECRET: &str = "a secret to count with, 32 bytes and more";
/// Never connected to: there is no such folder for a socket, and port 1 is closed.
const DATABASE: &str = "postgres://nobody@localhost/none?host=/nowhere";
const ENDPOINT: &str = "http://127.0.0.1:1";
/// 2100-01-01, which is far in the future.
const EXPIRES: u64 = 4_102_444_800;
const TEXT: &str = "Bring the albums on Sunday, will you? Grandma wants to show them around.";
/// Cyrillic with an emoji, which the SMS drops.
const OTHER_SCRIPT: &str =
    "Принеси альбомы в воскресенье 🎂, бабушка хочет их показать всем гостям.";

type Part = fn(&Stage);

/// The parts, by name.
const PARTS: [(&str, Part); 12] = [
    ("link-sign", |stage| stage.sign()),
    ("link-verify", |stage| stage.verify()),
    ("token-verify", |stage| stage.authenticate()),
    ("text-gsm7", |stage| stage.compose(TEXT, 1)),
    ("text-gsm7-cut", |stage| stage.compose(&TEXT.repeat(10), 1)),
    ("text-ucs2", |stage| stage.compose(OTHER_SCRIPT, 2)),
    ("member-key-10", |stage| stage.member_key()),
    ("cursor-encode", |stage| stage.encode()),
    ("cursor-decode", |stage| stage.decode()),
    ("page-of-50", |stage| stage.serialise()),
    ("post-refused", |stage| stage.post()),
    ("job-parse", |stage| stage.parse()),
];

platform::set_allocator!();

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [part, times] = arguments.as_slice() else {
        for (name, _) in PARTS {
            println!("{name}");
        }
        return;
    };
    let (_, part) = PARTS.iter().find(|(name, _)| name == part).expect("a part");
    let times: u32 = times.parse().expect("a number");
    let stage = Stage::new();
    for _ in 0..times {
        part(&stage);
    }
}

/// The data of all parts. All of it is created for every part, so that this costs the same for any
/// number of times.
struct Stage {
    runtime: Runtime,
    api: Api,
    router: Router,
    bearer: String,
    keys: LinkKeys,
    link: LinkId,
    token: String,
    members: Vec<UserId>,
    cursor: HistoryCursor,
    encoded: String,
    messages: Vec<Message>,
    job: String,
}

impl Stage {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let within = runtime.enter();
        let db = Database::new(DATABASE, 1).expect("an address").pool();
        let auth = Auth::hs256(&SecretString::from(SECRET));
        let site = Site::new("https://kin.example").expect("an address");
        let api = Api::new(db, auth, site, Rules::default());
        let sqs = aws_sdk_sqs::Config::builder()
            .behavior_version(behavior_version())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::new("none", "none", None, None, "none"))
            .endpoint_url(ENDPOINT);
        let queue = Queue::new(sqs, format!("{ENDPOINT}/none"));
        let router = edge(routes::messages::router(api.clone(), queue));
        drop(within);

        let claims = json!({ "sub": "u0", "familyId": "fam", "exp": EXPIRES });
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let signed = jsonwebtoken::encode(&Header::default(), &claims, &key).expect("signed");
        let keys = LinkKeys::parse("a=0123456789abcdef0123456789abcdef").expect("a key");
        let link = LinkId::try_from(vec![1, 2, 3, 4, 5, 6, 7, 8]).expect("8 bytes");
        let cursor = HistoryCursor { seq: 123_456, latest: 1_000_000 };
        let sms = SmsId::from_bytes([7; 16]);
        Self {
            runtime,
            api,
            router,
            bearer: format!("Bearer {signed}"),
            token: keys.sign(link).expect("signed"),
            keys,
            link,
            members: (0..10).map(|i| format!("user_{i}").parse().expect("an id")).collect(),
            cursor,
            encoded: cursor.encode(),
            messages: (1..=50).map(message).collect(),
            job: json!({ "v": 2, "kind": "sms", "familyId": "fam", "smsId": sms }).to_string(),
        }
    }

    fn sign(&self) {
        black_box(self.keys.sign(black_box(self.link))).expect("signed");
    }

    fn verify(&self) {
        black_box(self.keys.verify(black_box(&self.token))).expect("ours");
    }

    fn authenticate(&self) {
        let request = Request::builder().header(AUTHORIZATION, &self.bearer).body(());
        let (mut parts, ()) = request.expect("a request").into_parts();
        let caller = Caller::from_request_parts(&mut parts, &self.api);
        assert!(self.runtime.block_on(caller).is_ok(), "a member");
    }

    fn compose(&self, body: &str, segments: u32) {
        let link = format!("https://kin.example/l#{}", self.token);
        let content = Content {
            subject: Subject::Message {
                sender: "Grandma",
                body: Some(black_box(body)),
                file_count: 0,
                waiting: 0,
            },
            thread: "Family Chat",
            language: Language::default(),
            stop_notice: false,
            link: &link,
            limits: Limits::new(1, 2).expect("limits"),
        };
        let text = compose(&content);
        assert_eq!(measure(text.as_str()).segments, segments);
    }

    fn member_key(&self) {
        let others = black_box(&self.members).iter().rev().cloned();
        let set = MemberSet::new(Kind::Family, &self.members[0], others).expect("members");
        black_box(set.key());
    }

    fn encode(&self) {
        black_box(black_box(self.cursor).encode());
    }

    fn decode(&self) {
        black_box(HistoryCursor::decode(black_box(&self.encoded))).expect("a cursor");
    }

    fn serialise(&self) {
        let (messages, latest) = (self.messages.clone(), self.cursor);
        let page = HistoryView::from(Page { messages, next: Some(latest), latest });
        black_box(page.to_json()).expect("JSON");
    }

    /// A whole request whose body is refused by the last check.
    fn post(&self) {
        let request = Request::post("/threads/th_00000000000000000000000000000001/messages")
            .header(AUTHORIZATION, &self.bearer)
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(json!({ "body": TEXT, "replyToId": "msg_nonsense" }).to_string()));
        let router = self.router.clone();
        let answer = self.runtime.block_on(router.oneshot(request.expect("a request")));
        assert_eq!(answer.map(|answer| answer.status()), Ok(StatusCode::UNPROCESSABLE_ENTITY));
    }

    fn parse(&self) {
        assert!(matches!(Job::parse(black_box(&self.job)), Ok(Job::Sms(_))), "a job");
    }
}

fn message(seq: u8) -> Message {
    Message {
        message_id: MessageId::from_bytes([seq; 16]),
        thread_id: ThreadId::from_bytes([1; 16]),
        seq: seq.into(),
        author_id: format!("user_{}", seq % 10).parse().expect("an id"),
        author_name: Some("Grandma".to_owned()),
        body: Some(TEXT.to_owned()),
        file_ids: Vec::new(),
        reply_to_id: None,
        created_at: OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(seq.into()),
        edited_at: None,
        deleted_at: None,
    }
}
