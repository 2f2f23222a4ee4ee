//! An event of API Gateway: into a request, through every router, back into JSON.

use base64::{Engine, prelude::BASE64_STANDARD};
use functions::gateway;
use http::{HeaderMap, HeaderName, HeaderValue};
use lambda_http::{Context, LambdaEvent, request::LambdaRequest, tower::ServiceExt};
use serde_json::{Value, json};

use crate::nowhere::{self, Nowhere, check_answer};

/// Input: an event, in which `@member` and `@service` stand for valid tokens.
pub(crate) fn harness(bytes: &[u8]) {
    nowhere::with(|nowhere| {
        let event = String::from_utf8_lossy(bytes)
            .replace("@member", &nowhere.member)
            .replace("@service", &nowhere.service);
        let Ok(mut event) = serde_json::from_str::<Value>(&event) else { return };
        as_the_gateway_writes(&mut event);
        // The runtime refuses other events.
        if let Ok(request) = serde_json::from_value::<LambdaRequest>(event) {
            answer(nowhere, request);
        }
    });
}

/// Sets the fields that no sender of a request controls.
fn as_the_gateway_writes(event: &mut Value) {
    if !event.is_object() {
        return;
    }
    if let Some(context) = event.get_mut("requestContext").and_then(Value::as_object_mut) {
        context.insert("stage".to_owned(), json!("$default"));
        context.insert("domainName".to_owned(), json!("kin.example"));
    }
    let body = event.get("body").and_then(Value::as_str).unwrap_or_default();
    if BASE64_STANDARD.decode(body).is_err() {
        event["isBase64Encoded"] = json!(false);
    }
}

fn answer(nowhere: &Nowhere, request: LambdaRequest) {
    let event = LambdaEvent::new(request, Context::default());
    let service = gateway::service(nowhere.router.clone());
    let Ok(answer) = nowhere.runtime.block_on(service.oneshot(event));
    let answer = serde_json::to_value(answer).expect("what the runtime sends is JSON");
    let mut headers = HeaderMap::new();
    for (name, value) in answer["headers"].as_object().expect("headers") {
        let name: HeaderName = name.parse().expect("a name");
        let value: HeaderValue = value.as_str().unwrap_or_default().parse().expect("a value");
        headers.append(name, value);
    }
    let body = answer["body"].as_str().unwrap_or_default();
    let body = match answer["isBase64Encoded"].as_bool() {
        Some(true) => BASE64_STANDARD.decode(body).expect("base64"),
        _ => body.as_bytes().to_vec(),
    };
    let status = answer["statusCode"].as_u64().and_then(|status| status.try_into().ok());
    check_answer(status.expect("a status"), &headers, &body);
}
