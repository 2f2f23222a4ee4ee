//! Amazon SNS's interface for SMS (the AWS Query protocol).

use std::{collections::HashMap, time::Duration};

use anyhow::Context;
use axum::{
    Form, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::post,
};
use http::{StatusCode, header};
use shared::phone::PhoneNumber;
use tokio::{net::TcpListener, task::JoinHandle};
use uuid::Uuid;

use super::{Carrier, Direction};
use crate::faults::SmsFault;

/// Most characters of a message (Amazon SNS API Reference, Publish: Message).
const MESSAGE_MAX: usize = 1600;
/// Delay of an answer that must not come: longer than any of our clients waits.
const NEVER: Duration = Duration::from_mins(1);

impl Carrier {
    /// Serves SNS on a free loopback port until the handle is aborted; returns its address.
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
        "Publish" => publish(&carrier, field("PhoneNumber"), field("Message")).await,
        "CheckIfPhoneNumberIsOptedOut" => {
            let opted_out = carrier.has_opted_out(field("phoneNumber"));
            answer("CheckIfPhoneNumberIsOptedOut", &format!("<isOptedOut>{opted_out}</isOptedOut>"))
        }
        "OptInPhoneNumber" => {
            carrier.set_opted_out(field("phoneNumber"), false);
            answer("OptInPhoneNumber", "")
        }
        _ => refuse("InvalidAction", "This carrier only sends SMS."),
    }
}

async fn publish(carrier: &Carrier, number: &str, message: &str) -> Response {
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
    if carrier.has_opted_out(phone.e164()) {
        return refuse("OptedOut", "Phone number is opted out");
    }
    let fault = carrier.faults.next_sms();
    match fault {
        Some(SmsFault::Throttle) => return refuse("Throttling", "Rate exceeded"),
        Some(SmsFault::Refuse) => {
            let body = error_body("Sender", "AuthorizationError", "Not authorized to send SMS");
            return xml(StatusCode::FORBIDDEN, body);
        }
        Some(SmsFault::OptedOut) => {
            carrier.set_opted_out(phone.e164(), true);
            return refuse("OptedOut", "Phone number is opted out");
        }
        Some(SmsFault::Http500) => {
            let body = error_body("Receiver", "InternalError", "Internal error");
            return xml(StatusCode::INTERNAL_SERVER_ERROR, body);
        }
        Some(SmsFault::TimeoutAfterSend) | None => {}
    }
    match carrier.take(Direction::Received, &phone, message) {
        Ok(_) if fault.is_some() => {
            tokio::time::sleep(NEVER).await;
            xml(StatusCode::GATEWAY_TIMEOUT, String::new())
        }
        Ok(sms) => answer("Publish", &format!("<MessageId>{}</MessageId>", sms.message_id)),
        Err(error) => {
            tracing::error!(%error, "carrier can't store an SMS");
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
