//! AWS's events for functions, field for field.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

/// The region in the events.
pub(crate) const REGION: &str = "us-east-1";
/// The account in the events: that of AWS's documentation.
pub(crate) const ACCOUNT: &str = "123456789012";

/// The HTTP API's domain name.
const DOMAIN: &str = "a1b2c3d4e5.execute-api.us-east-1.amazonaws.com";
const TRACE: &str = "Root=1-5e9f0c65-1de4d666d4dd26aced652b6c";

/// A request to an HTTP API, payload format 2.0, as its stage `$default` sends it.
///
/// `path_and_query` is as the client sends it: HTTP APIs decode `rawPath`, but not the query. Given
/// headers replace the default ones; values of a repeated name are joined, and cookies have their own
/// field. The content type decides whether the body is base64.
#[must_use]
pub fn http_event(
    method: &str,
    path_and_query: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> Value {
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    let path = decoded(path);
    let mut headers = combined(headers);
    let cookies = headers.remove("cookie");
    for (name, usual) in [
        ("accept", "*/*"),
        ("host", DOMAIN),
        ("user-agent", "curl/8.5.0"),
        ("x-amzn-trace-id", TRACE),
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-port", "443"),
        ("x-forwarded-proto", "https"),
    ] {
        headers.entry(name.to_owned()).or_insert_with(|| usual.to_owned());
    }
    let length = body.map_or(0, <[u8]>::len);
    headers.entry("content-length".to_owned()).or_insert_with(|| length.to_string());

    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "a1b2c3d4e5",
            "domainName": DOMAIN,
            "domainPrefix": "a1b2c3d4e5",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.7",
                "userAgent": headers["user-agent"],
            },
            "requestId": "LV7fzho-PHcEJPw=",
            "routeKey": "$default",
            "stage": "$default",
            "time": "21/Apr/2020:15:08:21 +0000",
            "timeEpoch": 1_587_481_701_067_u64,
        },
        "isBase64Encoded": false,
    });
    // Absent instead of empty.
    if let Some(cookies) = cookies {
        event["cookies"] = cookies.split(';').map(str::trim).collect();
    }
    if !query.is_empty() {
        event["queryStringParameters"] = json!(parameters(query));
    }
    if let Some(body) = body {
        let text = std::str::from_utf8(body)
            .ok()
            .filter(|_| headers.get("content-type").is_some_and(|kind| is_text(kind)));
        event["isBase64Encoded"] = json!(text.is_none());
        event["body"] =
            text.map_or_else(|| json!(BASE64_STANDARD.encode(body)), |text| json!(text));
    }
    event
}

/// A batch of SQS messages as `(message id, body)`, in the form of Lambda's event source mapping.
///
/// `md5OfBody` is wrong, and the same for all: the receiving client checks it, functions don't.
#[must_use]
pub fn sqs_event(records: &[(&str, &str)]) -> Value {
    let records: Vec<Value> = records
        .iter()
        .map(|(message_id, body)| {
            json!({
                "messageId": message_id,
                "receiptHandle": format!("receipt-of-{message_id}"),
                "body": body,
                "attributes": {
                    "ApproximateReceiveCount": "1",
                    "SentTimestamp": "1520621625029",
                    "SenderId": "AROAIWPX5BD2BHG722MW4:sender",
                    "ApproximateFirstReceiveTimestamp": "1520621634884",
                },
                "messageAttributes": {},
                "md5OfBody": "d41d8cd98f00b204e9800998ecf8427e",
                "eventSource": "aws:sqs",
                "eventSourceARN": format!("arn:aws:sqs:{REGION}:{ACCOUNT}:kinline"),
                "awsRegion": REGION,
            })
        })
        .collect();
    json!({ "Records": records })
}

/// `EventBridge`'s event for a schedule.
#[must_use]
pub fn schedule_event() -> Value {
    json!({
        "version": "0",
        "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": ACCOUNT,
        "time": "2015-10-08T16:53:06Z",
        "region": REGION,
        "resources": [format!("arn:aws:events:{REGION}:{ACCOUNT}:rule/kinline-sweep")],
        "detail": {},
    })
}

/// Headers by lower-case name. Values of one name are joined: cookies with `; `, others with a comma.
fn combined(headers: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut combined = BTreeMap::<String, String>::new();
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        let separator = if name == "cookie" { "; " } else { "," };
        combined
            .entry(name)
            .and_modify(|values| *values = format!("{values}{separator}{value}"))
            .or_insert_with(|| (*value).to_owned());
    }
    combined
}

/// Decoded query parameters; values of one name are joined with a comma.
fn parameters(query: &str) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::<String, String>::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(&value.replace('+', " "));
        parameters
            .entry(decoded(&name.replace('+', " ")))
            .and_modify(|values| *values = format!("{values},{value}"))
            .or_insert(value);
    }
    parameters
}

/// Decodes percent-encoding, and keeps what is not valid.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = match after {
            [high, low, ..] if first == b'%' => hex_digit(*high).zip(hex_digit(*low)),
            _ => None,
        };
        bytes.push(code.map_or(first, |(high, low)| high << 4 | low));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| digit.try_into().ok())
}

/// Whether an HTTP API passes a body of this content type unchanged. Others are base64: forms too, and
/// bodies without a type.
fn is_text(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.starts_with("text/")
        || ["application/json", "application/javascript", "application/xml"]
            .contains(&kind.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_apart() {
        let event = http_event(
            "POST",
            "/threads/a%20b?limit=5&x=1&x=a%2Cb+c&flag",
            &[
                ("X-One", "1"),
                ("x-one", "2"),
                ("Cookie", "a=1; b=2"),
                ("Content-Type", "application/json"),
            ],
            Some(b"{}"),
        );
        assert_eq!(event["rawPath"], "/threads/a b");
        assert_eq!(event["rawQueryString"], "limit=5&x=1&x=a%2Cb+c&flag");
        let parameters = json!({ "limit": "5", "x": "1,a,b c", "flag": "" });
        assert_eq!(event["queryStringParameters"], parameters);
        assert_eq!(event["headers"]["x-one"], "1,2");
        assert_eq!(event["headers"]["content-length"], "2");
        assert!(event["headers"].get("cookie").is_none());
        assert_eq!(event["cookies"], json!(["a=1", "b=2"]));
        assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!("{}"), &json!(false)));
        assert_eq!(event["requestContext"]["http"]["method"], "POST");
    }

    #[test]
    fn the_content_type_decides_about_base64() {
        for (kind, body, base64) in [
            ("text/plain; charset=utf-8", b"hi".as_slice(), false),
            ("Application/JSON", b"{}", false),
            ("application/json", b"\xff", true),
            ("application/x-www-form-urlencoded", b"a=1", true),
        ] {
            let event = http_event("POST", "/", &[("content-type", kind)], Some(body));
            assert_eq!(event["isBase64Encoded"], base64, "{kind}");
        }
        assert_eq!(http_event("POST", "/", &[], Some(b"\0\xff"))["body"], "AP8=");
        assert!(http_event("GET", "/", &[], None).get("body").is_none());
    }

    #[test]
    fn invalid_percent_encoding_is_kept() {
        assert_eq!(decoded("%41%zz%4%+%"), "A%zz%4%+%");
        assert_eq!(decoded("%+1"), "%+1");
    }
}
