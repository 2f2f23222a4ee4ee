//! The HTTP response that API Gateway makes of a function's answer.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

/// Separates the metadata of a streamed answer from its body.
const STREAM_DELIMITER: [u8; 8] = [0; 8];

/// An HTTP response as the API's client gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// By lower-case name. Values of a repeated name are joined with `, `; those of `set-cookie`, which
    /// contain commas, with a newline.
    pub headers: BTreeMap<String, String>,
    /// The body, decoded.
    pub body: Vec<u8>,
}

impl HttpAnswer {
    /// Reads an answer to an HTTP API's event (payload format 2.0).
    ///
    /// # Panics
    /// If it isn't valid. AWS would send an answer without a `statusCode` as the JSON body of a 200,
    /// which none of our functions intends.
    #[must_use]
    pub fn from_gateway(response: &Value) -> Self {
        Self::parse(response)
            .unwrap_or_else(|why| panic!("not an answer to an HTTP event: {why}: {response}"))
    }

    fn parse(response: &Value) -> Result<Self, &'static str> {
        let status = response["statusCode"].as_u64().and_then(|status| status.try_into().ok());
        let mut headers = BTreeMap::new();
        for (name, value) in members(&response["headers"]) {
            let value = value.as_str().ok_or("a header that is no string")?;
            add(&mut headers, name, value, ", ");
        }
        for (name, values) in members(&response["multiValueHeaders"]) {
            for value in values.as_array().ok_or("a multi-value header that is no list")? {
                add(&mut headers, name, value.as_str().ok_or("a header that is no string")?, ", ");
            }
        }
        for cookie in response["cookies"].as_array().into_iter().flatten() {
            add(
                &mut headers,
                "set-cookie",
                cookie.as_str().ok_or("a cookie that is no string")?,
                "\n",
            );
        }
        let body = response["body"].as_str().unwrap_or_default();
        let body = if response["isBase64Encoded"].as_bool().unwrap_or_default() {
            BASE64_STANDARD.decode(body).map_err(|_| "a body that is not base64")?
        } else {
            body.as_bytes().to_vec()
        };
        Ok(Self { status: status.ok_or("no status")?, headers, body })
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{} with a body that is no JSON: {error}: {self:?}", self.status)
        })
    }
}

/// Parses a complete streamed answer: metadata, eight zero bytes, the body.
pub(super) fn from_stream(stream: &[u8]) -> Result<Value, String> {
    let delimiter = stream
        .windows(STREAM_DELIMITER.len())
        .position(|window| window == STREAM_DELIMITER)
        .ok_or("a stream without metadata")?;
    let (metadata, rest) = stream.split_at(delimiter);
    let mut answer: Value = serde_json::from_slice(metadata).map_err(|error| error.to_string())?;
    let fields = answer.as_object_mut().ok_or("metadata that is no object")?;
    let body = BASE64_STANDARD.encode(&rest[STREAM_DELIMITER.len()..]);
    fields.insert("body".to_owned(), json!(body));
    fields.insert("isBase64Encoded".to_owned(), json!(true));
    Ok(answer)
}

fn members(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

fn add(headers: &mut BTreeMap<String, String>, name: &str, value: &str, separator: &str) {
    headers
        .entry(name.to_ascii_lowercase())
        .and_modify(|values| *values = format!("{values}{separator}{value}"))
        .or_insert_with(|| value.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_cookies_and_a_binary_body() {
        let answer = HttpAnswer::from_gateway(&json!({
            "statusCode": 200,
            "headers": { "Content-Type": "image/png" },
            "multiValueHeaders": { "Vary": ["cookie", "accept"] },
            "cookies": ["a=1; Path=/", "b=2"],
            "body": "AP8=",
            "isBase64Encoded": true,
        }));
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, [0x00, 0xff]);
        assert_eq!(answer.headers["content-type"], "image/png");
        assert_eq!(answer.headers["vary"], "cookie, accept");
        assert_eq!(answer.headers["set-cookie"], "a=1; Path=/\nb=2");
    }

    #[test]
    fn no_body_is_an_empty_one() {
        let answer = HttpAnswer::from_gateway(&json!({ "statusCode": 304, "body": null }));
        assert_eq!((answer.status, answer.body), (304, Vec::new()));
    }

    #[test]
    #[should_panic(expected = "no status")]
    fn an_answer_without_a_status_is_none() {
        let _ = HttpAnswer::from_gateway(&json!({ "batchItemFailures": [] }));
    }

    #[test]
    fn a_stream_is_metadata_and_a_body() {
        let stream = b"{\"statusCode\":201,\"cookies\":[]}\0\0\0\0\0\0\0\0\0text";
        let answer = HttpAnswer::from_gateway(&from_stream(stream).unwrap());
        assert_eq!((answer.status, answer.body.as_slice()), (201, b"\0text".as_slice()));
        assert!(from_stream(b"{}").is_err());
    }
}
