//! A family's export: one or more zips of JSON, each with an archive page.

use std::io::{Cursor, Write};

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};
use serde::{Deserialize, Serialize};
use shared::{
    Error,
    access::Role,
    export::{
        self, Export, ExportCursor, ExportPlace, ExportedMember, ExportedMessage, ExportedThread,
        ExportedUser,
    },
    ids::{MessageId, ThreadId, UserId},
    members::MemberStatus,
    threads::Kind,
};
use time::OffsetDateTime;
use utoipa::IntoParams;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use crate::{
    error::Problem,
    extract::{Params, ProvisionedFamily, bad_cursor},
    openapi::{self, problems::problems, shapes},
    state::Api,
    views::{DeliveryView, FamilyView, MessageView, Timestamp, UserView},
    web::archive::Archive,
};

/// Maximum bytes of a part before compression. Incompressible data grows by less than a thousandth, and
/// by a third in base64: 6.01 million bytes of the 6,291,556 that a Lambda response may have. One
/// message with all its deliveries is at most a fortieth of it.
const PART_MAX: usize = 4_500_000;

/// `GET /families/{familyId}/export`.
pub fn router(api: Api) -> Router {
    routes().with_state(api)
}

openapi::routes!(Api: export);

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ExportParams {
    /// The next part: follow the `Link` of the previous one.
    #[param(value_type = Option<shapes::Cursor>, nullable = false)]
    cursor: Option<String>,
}

problems! {
    /// A malformed cursor.
    ExportParams: [bad_cursor("cursor")];
}

/// Export a family
///
/// A zip of `family.json`, `users.json`, `threads.json`, `messages.json`, `deliveries.json` and
/// `keepsake.html`, which shows the messages in any browser, from disk. A large export comes in parts,
/// each a complete zip: follow the `Link` with `rel="next"` until there is none.
#[utoipa::path(
    get, path = "/families/{familyId}/export", tag = "Provisioning", operation_id = "exportFamily",
    params(ProvisionedFamily, ExportParams),
    security(("service" = [])),
    responses(
        (status = 200, description = "A part of the export", body = String, content_type = "application/zip",
            headers(("Link" = String, description = "The next part; missing on the last one"))),
        ProvisionedFamily, Params<ExportParams>, ExportParams,
    ),
)]
async fn export(
    State(api): State<Api>,
    ProvisionedFamily(host): ProvisionedFamily,
    Params(params): Params<ExportParams>,
) -> Result<Response, Problem> {
    let cursor = match params.cursor.as_deref().map(ExportCursor::decode) {
        None => ExportCursor::FIRST,
        Some(decoded) => decoded.map_err(|_| bad_cursor("cursor"))?,
    };
    let mut export = export::begin(&api.db, &host).await?;
    let mut part = Part::new(&export, cursor.part);
    let next = fill(&mut export, &mut part, cursor.place).await?;
    let zip = part.zip(export.family.clone().into(), next.is_none())?;
    export.finish().await?;

    let name = format!("attachment; filename=\"{}-{:03}.zip\"", host.family, cursor.part);
    let mut response =
        ([(header::CONTENT_TYPE, "application/zip"), (header::CONTENT_DISPOSITION, &name)], zip)
            .into_response();
    if let Some(place) = next {
        let next = ExportCursor { part: cursor.part.saturating_add(1), place }.encode();
        // Relative to the request, since the API may be served under a path.
        let link = HeaderValue::from_str(&format!("<export?cursor={next}>; rel=\"next\""));
        let link = link.map_err(|_| Problem::from(Error::Corrupt("a cursor that is no header")))?;
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// Fills a part from `place` on. Returns where the next part begins, if there is more.
async fn fill(
    export: &mut Export,
    part: &mut Part,
    mut place: ExportPlace,
) -> Result<Option<ExportPlace>, Problem> {
    loop {
        match place.clone() {
            ExportPlace::Users { after } => {
                let users = export.users(after.as_ref()).await?;
                if users.is_empty() {
                    place = ExportPlace::Threads { after: None };
                }
                for exported in users {
                    let after = Some(exported.user.user_id.clone());
                    if !part.take_user(exported)? {
                        return Ok(Some(place));
                    }
                    place = ExportPlace::Users { after };
                }
            }
            ExportPlace::Threads { after } => {
                let threads = export.threads(after).await?;
                if threads.is_empty() {
                    place = ExportPlace::Messages { after: None };
                }
                for thread in threads {
                    let after = Some(thread.thread_id);
                    if !part.take_thread(thread)? {
                        return Ok(Some(place));
                    }
                    place = ExportPlace::Threads { after };
                }
            }
            ExportPlace::Messages { after } => {
                let messages = export.messages(after).await?;
                if messages.is_empty() {
                    return Ok(None);
                }
                for exported in messages {
                    let after = Some((exported.message.thread_id, exported.message.seq));
                    if !part.take_message(exported)? {
                        return Ok(Some(place));
                    }
                    place = ExportPlace::Messages { after };
                }
            }
        }
    }
}

/// The contents of one zip, before compression.
struct Part {
    number: u32,
    exported_at: OffsetDateTime,
    users: List,
    threads: List,
    messages: List,
    deliveries: List,
    archive: Archive,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct About {
    family: FamilyView,
    exported_at: Timestamp,
    part: u32,
    is_last_part: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserInFull {
    #[serde(flatten)]
    user: UserView,
    opted_out_at: Option<Timestamp>,
    deactivated_at: Option<Timestamp>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ThreadInFull {
    id: ThreadId,
    kind: Kind,
    title: String,
    title_is_default: bool,
    created_by: UserId,
    last_seq: i64,
    last_message_at: Option<Timestamp>,
    created_at: Timestamp,
    members: Vec<MemberInFull>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberInFull {
    user_id: UserId,
    role: Role,
    status: MemberStatus,
    last_read_seq: i64,
    joined_at: Timestamp,
    ended_at: Option<Timestamp>,
}

impl From<ExportedMember> for MemberInFull {
    fn from(member: ExportedMember) -> Self {
        Self {
            user_id: member.user_id,
            role: member.role,
            status: member.status,
            last_read_seq: member.last_read_seq,
            joined_at: member.joined_at.into(),
            ended_at: member.ended_at.map(Timestamp::from),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeliveryInFull {
    thread_id: ThreadId,
    message_id: MessageId,
    #[serde(flatten)]
    delivery: DeliveryView,
}

impl Part {
    fn new(export: &Export, number: u32) -> Self {
        let exported_at = OffsetDateTime::now_utc();
        Self {
            number,
            exported_at,
            users: List::default(),
            threads: List::default(),
            messages: List::default(),
            deliveries: List::default(),
            archive: Archive::new(export.family.name.as_str(), number, exported_at),
        }
    }

    fn len(&self) -> usize {
        let lists = [&self.users, &self.threads, &self.messages, &self.deliveries];
        lists.iter().map(|list| list.0.len()).sum::<usize>() + self.archive.len()
    }

    /// Whether `more` bytes still fit. The first item of a part always does.
    fn fits(&self, more: usize) -> bool {
        self.len() + more <= PART_MAX
    }

    fn take_user(&mut self, exported: ExportedUser) -> Result<bool, Problem> {
        let item = json(&UserInFull {
            user: exported.user.into(),
            opted_out_at: exported.opted_out_at.map(Timestamp::from),
            deactivated_at: exported.deactivated_at.map(Timestamp::from),
        })?;
        Ok(self.fits(item.len()) && self.users.push(&item))
    }

    fn take_thread(&mut self, thread: ExportedThread) -> Result<bool, Problem> {
        let item = json(&ThreadInFull {
            id: thread.thread_id,
            kind: thread.kind,
            title_is_default: thread.title.is_none(),
            title: thread.title.unwrap_or_else(|| thread.kind.default_title().to_owned()),
            created_by: thread.created_by,
            last_seq: thread.last_seq,
            last_message_at: thread.last_message_at.map(Timestamp::from),
            created_at: thread.created_at.into(),
            members: thread.members.into_iter().map(MemberInFull::from).collect(),
        })?;
        Ok(self.fits(item.len()) && self.threads.push(&item))
    }

    fn take_message(&mut self, exported: ExportedMessage) -> Result<bool, Problem> {
        let ExportedMessage { message, thread_title, thread_kind, deliveries } = exported;
        let thread_title = thread_title.as_deref().unwrap_or(thread_kind.default_title());
        let html = self.archive.write(thread_title, &message).map_err(|_| unwritable())?;
        let (thread_id, message_id) = (message.thread_id, message.message_id);
        let item = json(&MessageView::from(message))?;
        let deliveries = deliveries
            .into_iter()
            .map(|delivery| {
                json(&DeliveryInFull { thread_id, message_id, delivery: delivery.into() })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let size = html.len() + item.len() + deliveries.iter().map(Vec::len).sum::<usize>();
        if !self.fits(size) {
            return Ok(false);
        }
        self.archive.push(&html);
        self.messages.push(&item);
        for delivery in &deliveries {
            self.deliveries.push(delivery);
        }
        Ok(true)
    }

    fn zip(self, family: FamilyView, is_last_part: bool) -> Result<Vec<u8>, Problem> {
        let about =
            About { family, exported_at: self.exported_at.into(), part: self.number, is_last_part };
        let archive = self.archive.finish(is_last_part).map_err(|_| unwritable())?;
        let files = [
            ("family.json", json(&about)?),
            ("users.json", self.users.finish()),
            ("threads.json", self.threads.finish()),
            ("messages.json", self.messages.finish()),
            ("deliveries.json", self.deliveries.finish()),
            ("keepsake.html", archive.into_bytes()),
        ];
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        for (name, bytes) in files {
            zip.start_file(name, options).map_err(|_| unwritable())?;
            zip.write_all(&bytes).map_err(|_| unwritable())?;
        }
        Ok(zip.finish().map_err(|_| unwritable())?.into_inner())
    }
}

fn unwritable() -> Problem {
    Error::Corrupt("an export that can't be written").into()
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(value).map_err(|_| unwritable())
}

/// A JSON array, one item in each line.
#[derive(Default)]
struct List(Vec<u8>);

impl List {
    fn push(&mut self, item: &[u8]) -> bool {
        self.0.extend_from_slice(if self.0.is_empty() { b"[\n" } else { b",\n" });
        self.0.extend_from_slice(item);
        true
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.extend_from_slice(if self.0.is_empty() { b"[]\n" } else { b"\n]\n" });
        self.0
    }
}
