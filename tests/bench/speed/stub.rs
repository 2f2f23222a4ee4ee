//! A queue and a carrier that accept everything and answer after a fixed time, so that only their
//! clients are measured.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

/// Serves SQS and SNS on one port until the process ends. One thread per connection, since a thread's
/// sleep is exact to 0.1 ms, and a runtime's timer to 1 ms.
pub(crate) fn serve(answers_after: Duration) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || connection(&stream, answers_after));
        }
    });
    address
}

/// Serves a connection until the client closes it.
fn connection(stream: &TcpStream, answers_after: Duration) -> Option<()> {
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
            ("application/x-amz-json-1.0", taken(&body)?)
        } else {
            ("text/xml", SENT.to_owned())
        };
        let length = answer.len();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n");
        (&*stream).write_all((head + &answer).as_bytes()).ok()?;
    }
}

/// The answer to a `SendMessageBatch`: every entry was accepted.
fn taken(body: &[u8]) -> Option<String> {
    let request: Value = serde_json::from_slice(body).ok()?;
    let entry = |entry: &Value| json!({ "Id": entry["Id"], "MessageId": entry["Id"], "MD5OfMessageBody": "" });
    let taken: Vec<Value> =
        request["Entries"].as_array().into_iter().flatten().map(entry).collect();
    Some(json!({ "Successful": taken, "Failed": [] }).to_string())
}

const SENT: &str = "<PublishResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><PublishResult>\
    <MessageId>94f20ce6-13c5-43a0-9a9e-ca52d816e90b</MessageId></PublishResult><ResponseMetadata>\
    <RequestId>f187a3c1-376f-11df-8963-01868b7c937a</RequestId></ResponseMetadata></PublishResponse>";
