//! A pretend carrier: Amazon SNS's interface for texts, strict about numbers and lengths, which
//! remembers every text and shows it on the phone wall.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context;
use axum::{
    Form, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::post,
};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use shared::phone::PhoneNumber;
use time::OffsetDateTime;
use tokio::{net::TcpListener, sync::broadcast, task::JoinHandle};
use uuid::Uuid;
use worker::sms::{self, Encoding, Measure};

/// Most characters of a message (Amazon SNS API Reference, Publish: Message).
const MESSAGE_MAX: usize = 1600;

/// Which way a text went, seen from the handset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the handset.
    Received,
    /// From the handset.
    Sent,
}

/// A text that the carrier took.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sms {
    /// Which way.
    pub direction: Direction,
    /// The handset's number, in E.164.
    pub phone: String,
    /// The whole text.
    pub body: String,
    /// How many segments it is billed as.
    pub segments: u32,
    /// `GSM-7` or `UCS-2`.
    pub encoding: String,
    /// When the carrier took it.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The carrier's own id of it.
    pub message_id: String,
}

#[derive(Default)]
struct Memory {
    texts: Vec<Sms>,
    opted_out: BTreeSet<String>,
    file: Option<File>,
}

/// The carrier. Clones are the same carrier.
#[derive(Clone)]
pub struct Carrier {
    memory: Arc<Mutex<Memory>>,
    changed: broadcast::Sender<()>,
}

impl Default for Carrier {
    fn default() -> Self {
        Self { memory: Arc::default(), changed: broadcast::Sender::new(64) }
    }
}

impl Carrier {
    /// A carrier that remembers its texts in `file`, those of earlier runs included.
    ///
    /// # Errors
    /// When the file can't be read or written.
    pub fn with_file(file: &Path) -> anyhow::Result<Self> {
        let open = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(file);
        let mut file = open.with_context(|| format!("can't open {}", file.display()))?;
        let mut texts = Vec::new();
        let mut whole = true;
        for line in BufReader::new(&file).lines() {
            let line = line?;
            whole = serde_json::from_str(&line).map(|text| texts.push(text)).is_ok();
        }
        if !whole {
            // A line that a kill cut short: what comes next begins on a line of its own.
            file.write_all(b"\n")?;
        }
        let carrier = Self::default();
        *carrier.memory() = Memory { texts, file: Some(file), ..Memory::default() };
        Ok(carrier)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every text, oldest first.
    #[must_use]
    pub fn texts(&self) -> Vec<Sms> {
        self.memory().texts.clone()
    }

    /// The texts that handsets received, oldest first; those of one number, or all.
    #[must_use]
    pub fn received(&self, phone: Option<&str>) -> Vec<Sms> {
        let of = |sms: &&Sms| {
            sms.direction == Direction::Received && phone.is_none_or(|phone| sms.phone == phone)
        };
        self.memory().texts.iter().filter(of).cloned().collect()
    }

    /// Forgets every text.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn clear(&self) -> anyhow::Result<()> {
        let mut memory = self.memory();
        memory.texts.clear();
        if let Some(file) = &memory.file {
            file.set_len(0)?;
        }
        drop(memory);
        self.tell();
        Ok(())
    }

    /// Says so whenever a text comes or goes.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<()> {
        self.changed.subscribe()
    }

    fn tell(&self) {
        // Nobody may be looking.
        let _nobody = self.changed.send(());
    }

    /// Takes a text, to or from a handset.
    ///
    /// # Errors
    /// When the file can't be written: then the carrier has not taken it.
    pub fn take(
        &self,
        direction: Direction,
        phone: &PhoneNumber,
        body: &str,
    ) -> anyhow::Result<Sms> {
        let Measure { encoding, segments } = sms::measure(body);
        let sms = Sms {
            direction,
            phone: phone.e164().to_owned(),
            body: body.to_owned(),
            segments,
            encoding: match encoding {
                Encoding::Gsm7 => "GSM-7",
                Encoding::Ucs2 => "UCS-2",
            }
            .to_owned(),
            at: OffsetDateTime::now_utc(),
            message_id: Uuid::new_v4().to_string(),
        };
        let mut memory = self.memory();
        if let Some(file) = &mut memory.file {
            let mut line = serde_json::to_vec(&sms)?;
            line.push(b'\n');
            file.write_all(&line)?;
        }
        memory.texts.push(sms.clone());
        drop(memory);
        self.tell();
        Ok(sms)
    }

    /// Serves SNS on a free port of loopback, until the handle is aborted; returns where.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn serve(&self) -> anyhow::Result<(String, JoinHandle<()>)> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no free port for SNS")?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let router = Router::new().route("/", post(operation)).with_state(self.clone());
        let server = tokio::spawn(async move {
            let _runs_until_aborted = axum::serve(listener, router).await;
        });
        Ok((endpoint, server))
    }
}

/// One request of the AWS Query protocol.
async fn operation(
    State(carrier): State<Carrier>,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    match field("Action") {
        "Publish" => publish(&carrier, field("PhoneNumber"), field("Message")),
        "CheckIfPhoneNumberIsOptedOut" => {
            let opted_out = carrier.memory().opted_out.contains(field("phoneNumber"));
            answer("CheckIfPhoneNumberIsOptedOut", &format!("<isOptedOut>{opted_out}</isOptedOut>"))
        }
        "OptInPhoneNumber" => {
            carrier.memory().opted_out.remove(field("phoneNumber"));
            answer("OptInPhoneNumber", "")
        }
        _ => refuse("InvalidAction", "This carrier does texts alone."),
    }
}

fn publish(carrier: &Carrier, number: &str, message: &str) -> Response {
    // SNS takes E.164 and nothing else.
    let phone = PhoneNumber::parse(number, None).ok().filter(|phone| phone.e164() == number);
    let Some(phone) = phone else {
        return refuse("InvalidParameter", "Invalid parameter: PhoneNumber");
    };
    if message.trim().is_empty() {
        return refuse("InvalidParameter", "Invalid parameter: Empty message");
    }
    if message.chars().count() > MESSAGE_MAX {
        return refuse("InvalidParameter", "Invalid parameter: Message too long");
    }
    if carrier.memory().opted_out.contains(phone.e164()) {
        return refuse("OptedOut", "Phone number is opted out");
    }
    match carrier.take(Direction::Received, &phone, message) {
        Ok(sms) => answer("Publish", &format!("<MessageId>{}</MessageId>", sms.message_id)),
        Err(error) => {
            tracing::error!(%error, "carrier can't keep a text");
            xml(StatusCode::INTERNAL_SERVER_ERROR, error_body("Receiver", "InternalError", "disk"))
        }
    }
}

fn answer(action: &str, result: &str) -> Response {
    let body = format!(
        "<{action}Response xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\">\
         <{action}Result>{result}</{action}Result>\
         <ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></{action}Response>",
        Uuid::new_v4()
    );
    xml(StatusCode::OK, body)
}

fn refuse(code: &str, message: &str) -> Response {
    xml(StatusCode::BAD_REQUEST, error_body("Sender", code, message))
}

fn error_body(side: &str, code: &str, message: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\">\
         <Error><Type>{side}</Type><Code>{code}</Code><Message>{message}</Message></Error>\
         <RequestId>{}</RequestId></ErrorResponse>",
        Uuid::new_v4()
    )
}

fn xml(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "text/xml")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_survive_a_restart_and_a_cut_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("texts.jsonl");
        let phone = PhoneNumber::parse("+15550100001", None).expect("possible");
        let carrier = Carrier::with_file(&file).expect("opens");
        carrier.take(Direction::Received, &phone, "one").expect("taken");
        drop(carrier);
        let mut cut = OpenOptions::new().append(true).open(&file).expect("opens");
        cut.write_all(b"{\"direction\":\"rec").expect("written");
        let carrier = Carrier::with_file(&file).expect("opens");
        carrier.take(Direction::Sent, &phone, "two").expect("taken");
        let bodies: Vec<String> = Carrier::with_file(&file)
            .expect("opens")
            .texts()
            .into_iter()
            .map(|sms| sms.body)
            .collect();
        assert_eq!(bodies, ["one", "two"]);
    }
}
