//! A queue and a carrier that accept everything and answer after a fixed time, so that only their
//! clients are measured.

use std::{
    io::{BufRead, BufReader, Read, Write},
    mem,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

/// SQS and SNS on one port.
pub(crate) struct Stub {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Whether to keep the queue's messages.
    keeps: bool,
    kept: Vec<String>,
    /// SMS so far.
    sent: u64,
}

impl Stub {
    /// Serves until the process ends. One thread per connection, since a thread's sleep is exact to 0.1 ms,
    /// and a runtime's timer to 1 ms.
    pub(crate) fn serve(answers_after: Duration) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                thread::spawn(move || connection(&stream, answers_after, &state));
            }
        });
        Self { address, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("a state")
    }

    /// Keeps the bodies of the queue's messages from now on.
    pub(crate) fn keep(&self) {
        self.state().keeps = true;
    }

    /// The bodies since the last call.
    pub(crate) fn kept(&self) -> Vec<String> {
        mem::take(&mut self.state().kept)
    }

    /// The number of SMS so far.
    pub(crate) fn sent(&self) -> u64 {
        self.state().sent
    }
}

/// Serves a connection until the client closes it.
fn connection(stream: &TcpStream, answers_after: Duration, state: &Mutex<State>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let (mut length, mut is_sqs, mut line) = (0, false, String::new());
        loop {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            is_sqs |= lower.starts_with("x-amz-target:");
            if lower.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        thread::sleep(answers_after);
        let (kind, answer) = if is_sqs {
            ("application/x-amz-json-1.0", taken(&body, state)?)
        } else {
            state.lock().ok()?.sent += 1;
            ("text/xml", SENT.to_owned())
        };
        let length = answer.len();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n");
        (&*stream).write_all((head + &answer).as_bytes()).ok()?;
    }
}

/// The answer to a `SendMessageBatch`: every entry was accepted.
fn taken(body: &[u8], state: &Mutex<State>) -> Option<String> {
    let request: Value = serde_json::from_slice(body).ok()?;
    let mut state = state.lock().ok()?;
    if state.keeps {
        let entries = request["Entries"].as_array()?.iter();
        state
            .kept
            .extend(entries.filter_map(|entry| Some(entry["MessageBody"].as_str()?.to_owned())));
    }
    drop(state);
    let entry = |entry: &Value| json!({ "Id": entry["Id"], "MessageId": entry["Id"], "MD5OfMessageBody": "" });
    let taken: Vec<Value> =
        request["Entries"].as_array().into_iter().flatten().map(entry).collect();
    Some(json!({ "Successful": taken, "Failed": [] }).to_string())
}

const SENT: &str = "<PublishResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><PublishResult>\
    <MessageId>94f20ce6-13c5-43a0-9a9e-ca52d816e90b</MessageId></PublishResult><ResponseMetadata>\
    <RequestId>f187a3c1-376f-11df-8963-01868b7c937a</RequestId></ResponseMetadata></PublishResponse>";
