//! The peer check: moto's SQS and SNS in place of the local engines.

use std::{
    env,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use local::carrier::{Direction, Sms};
use serde_json::Value;
use shared::links::LinkKeys;
use time::OffsetDateTime;
use worker::sms::{self, Encoding, Measure};

/// The address of moto's server, from `KINLINE_TEST_PEER`; `None` without that variable.
#[must_use]
pub fn address() -> Option<SocketAddr> {
    env::var("KINLINE_TEST_PEER").ok().map(|at| at.parse().expect("an address and a port"))
}

/// The SMS that moto accepted whose links `keys` signed, oldest first: it has other systems' too.
#[must_use]
pub fn sms(address: SocketAddr, keys: &LinkKeys) -> Vec<Sms> {
    let ours = |sms: &Sms| {
        let link = sms.body.split_once("/l#");
        let token = link.and_then(|(_, rest)| rest.split_whitespace().next());
        token.is_some_and(|token| keys.verify(token).is_ok())
    };
    let remembered = get(address, "/moto-api/data.json");
    remembered["sns"]["SMS"].as_array().into_iter().flatten().map(from_moto).filter(ours).collect()
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

/// The JSON at `path`. Blocks, so that [`sms`] has the signature of the local carrier's method.
fn get(address: SocketAddr, path: &str) -> Value {
    let mut stream = TcpStream::connect(address).expect("moto listens");
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    serde_json::from_str(body).expect("JSON")
}
