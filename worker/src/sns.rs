//! The way to the carrier: Amazon SNS, asked once and never twice.

use std::{error::Error as StdError, time::Duration};

use aws_sdk_sns::{
    Client,
    config::{BehaviorVersion, http::HttpResponse, retry::RetryConfig, timeout::TimeoutConfig},
    error::{ProvideErrorMetadata, SdkError},
    operation::publish::PublishError,
    types::MessageAttributeValue,
};
use hyper_util::client::legacy;
use shared::{notifications::Outcome, phone::PhoneNumber};

use crate::sms::{self, Text};

/// The SNS client. Its own retries are off: a retried time-out is a second text.
#[derive(Debug, Clone)]
pub struct Sns {
    client: Client,
}

impl Sns {
    /// SNS as the AWS SDK's own variables say.
    pub async fn from_env() -> Self {
        // Boxed: its future is of 20 KB, in whatever awaits it.
        let sdk = Box::pin(aws_config::load_defaults(BehaviorVersion::latest())).await;
        Self::new(aws_sdk_sns::config::Builder::from(&sdk))
    }

    /// SNS with this configuration, but for its retries and time-outs, which are ours.
    #[must_use]
    pub fn new(config: aws_sdk_sns::config::Builder) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(1))
            .operation_timeout(Duration::from_secs(5))
            .build();
        let config = config.retry_config(RetryConfig::disabled()).timeout_config(timeouts).build();
        Self { client: Client::from_conf(config) }
    }

    /// Sends one text with one call, and says what is known of it afterwards.
    pub async fn publish(&self, to: &PhoneNumber, text: &Text) -> Outcome {
        // Both a type and a value are there, so this can't fail to be made.
        let Ok(transactional) = MessageAttributeValue::builder()
            .data_type("String")
            .string_value("Transactional")
            .build()
        else {
            return Outcome::Retry { reason: "request" };
        };
        let sent = self
            .client
            .publish()
            .phone_number(to.e164())
            .message(text.as_str())
            .message_attributes("AWS.SNS.SMS.SMSType", transactional)
            .send()
            .await;
        match sent {
            Ok(done) => Outcome::Sent {
                carrier_message_id: done.message_id.unwrap_or_default(),
                segments: sms::measure(text.as_str()).segments,
            },
            Err(error) => {
                // The code alone: the message may repeat the number.
                tracing::warn!(code = error.code(), "carrier's answer");
                classify(&error)
            }
        }
    }
}

/// What an error says of whether the text went out. Only what is certainly a no is one.
fn classify(error: &SdkError<PublishError, HttpResponse>) -> Outcome {
    match error {
        SdkError::ConstructionFailure(_) => Outcome::Retry { reason: "request" },
        SdkError::DispatchFailure(failure) => {
            if failure.as_connector_error().is_some_and(|error| before_connected(error)) {
                Outcome::Retry { reason: "unreachable" }
            } else if failure.is_timeout() {
                Outcome::Unknown { reason: "timeout" }
            } else {
                Outcome::Unknown { reason: "connection_lost" }
            }
        }
        SdkError::TimeoutError(_) => Outcome::Unknown { reason: "timeout" },
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            refusal(status, service.err().code(), service.err().message())
        }
        // An answer that can't be read, and whatever the SDK may add.
        _ => Outcome::Unknown { reason: "unreadable_answer" },
    }
}

/// Whether the connection never stood, so that no request can have gone out.
fn before_connected(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect) {
            return true;
        }
        next = error.source();
    }
    false
}

/// What an error answer of SNS says (Amazon SNS API Reference, Publish: Errors).
fn refusal(status: u16, code: Option<&str>, message: Option<&str>) -> Outcome {
    let code = code.unwrap_or_default();
    let opted_out = message.is_some_and(|text| text.to_ascii_lowercase().contains("opted out"));
    match (status, code) {
        (_, "OptedOut" | "OptedOutException") => Outcome::OptedOut,
        (400, "InvalidParameter" | "InvalidParameterException") if opted_out => Outcome::OptedOut,
        (
            400,
            "InvalidParameter"
            | "InvalidParameterException"
            | "InvalidParameterValue"
            | "ParameterValueInvalid",
        ) => Outcome::Failed { reason: "invalid_number" },
        (429, _)
        | (
            _,
            "Throttled"
            | "ThrottledException"
            | "Throttling"
            | "ThrottlingException"
            | "TooManyRequestsException",
        ) => Outcome::Retry { reason: "throttled" },
        // Access, sandbox, spending limit: a no that somebody may mend within the day.
        (400..=499, _) => Outcome::Retry { reason: "refused" },
        _ => Outcome::Unknown { reason: "carrier_error" },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_definite_no_is_tried_again() {
        let unknown = Outcome::Unknown { reason: "carrier_error" };
        assert_eq!(refusal(500, Some("InternalFailure"), None), unknown);
        assert_eq!(refusal(503, Some("ServiceUnavailable"), None), unknown);
        assert_eq!(refusal(400, Some("Throttling"), None), Outcome::Retry { reason: "throttled" });
        assert_eq!(refusal(429, None, None), Outcome::Retry { reason: "throttled" });
        assert_eq!(
            refusal(403, Some("AuthorizationError"), None),
            Outcome::Retry { reason: "refused" }
        );
        assert_eq!(
            refusal(400, Some("InvalidParameter"), Some("Invalid parameter: PhoneNumber")),
            Outcome::Failed { reason: "invalid_number" }
        );
        for code in ["InvalidParameter", "OptedOut"] {
            let message = Some("Phone number is opted out");
            assert_eq!(refusal(400, Some(code), message), Outcome::OptedOut);
        }
    }
}
