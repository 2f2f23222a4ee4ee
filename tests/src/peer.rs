//! The peer check: moto's SQS and SNS in place of the local engines.

use std::{
    env,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use local::carrier::{Direction, Sms};
use serde_json::Value;
use time::OffsetDateTime;
use worker::sms::{self, Encoding, Measure};

/// The address of moto's server, from `KINLINE_TEST_PEER`; `None` without that variable.
#[must_use]
pub fn address() -> Option<SocketAddr> {
    env::var("KINLINE_TEST_PEER").ok().map(|at| at.parse().expect("an address and a port"))
}

/// Makes moto forget everything: it answers the more slowly the more it holds. So it serves one test at a time.
pub fn reset(address: SocketAddr) {
    call(address, "POST", "/moto-api/reset");
}

/// The SMS that moto accepted, oldest first.
#[must_use]
pub fn sms(address: SocketAddr) -> Vec<Sms> {
    let remembered = call(address, "GET", "/moto-api/data.json");
    remembered["sns"]["SMS"].as_array().into_iter().flatten().map(from_moto).collect()
}

/// An SMS from moto's record.
fn from_moto(taken: &Value) -> Sms {
    let field = |name: &str| taken[name].as_str().expect("a field of moto's record").to_owned();
    let body = field("message");
    let Measure { encoding, segments } = sms::measure(&body);
    let encoding = if encoding == Encoding::Gsm7 { "GSM-7" } else { "UCS-2" }.to_owned();
    Sms {
        direction: Direction::Received,
        phone: field("phone_number"),
        message_id: field("message_id"),
        body,
        segments,
        encoding,
        // moto keeps no times.
        at: OffsetDateTime::now_utc(),
    }
}

/// The JSON that a call of moto's own API answers with. Blocks, so that [`sms`] has the signature of the local
/// carrier's method.
fn call(address: SocketAddr, method: &str, path: &str) -> Value {
    let mut stream = TcpStream::connect(address).expect("moto listens");
    let request = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    serde_json::from_str(body).expect("JSON")
}
