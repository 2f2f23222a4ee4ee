//! The way to the carrier: Amazon SNS, asked once and never twice.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aws_sdk_sns::{
    Client,
    config::{
        ConfigBag, Intercept, RuntimeComponents, StalledStreamProtectionConfig, http::HttpResponse,
        interceptors::BeforeTransmitInterceptorContextRef, retry::RetryConfig,
        timeout::TimeoutConfig,
    },
    error::{BoxError, ProvideErrorMetadata, SdkError},
    operation::publish::PublishError,
    types::MessageAttributeValue,
};
use platform::{
    aws::{self, Service},
    config::ConfigError,
    http_client,
};
use shared::{
    delivery::{Outcome, Reason},
    phone::PhoneNumber,
};

use crate::sms::{self, Sms};

/// What a connection may take to stand.
const CONNECT: Duration = Duration::from_secs(1);
/// How long a connection is kept for the next call: one that was idle may be dead by now, above all in
/// an environment that was frozen meanwhile, and a text lost to one would be `unknown`.
const IDLE: Duration = Duration::from_secs(1);

/// The SNS client. Its own retries are off: a retried time-out is a second text.
#[derive(Debug, Clone)]
pub struct Sns {
    client: Client,
}

impl Sns {
    /// SNS as the AWS SDK's own variables say.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self::new(aws_sdk_sns::config::Builder::from(&aws::config(Service::Sns)?)))
    }

    /// SNS with this configuration, but for its retries and time-outs, which are ours.
    #[must_use]
    pub fn new(config: aws_sdk_sns::config::Builder) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_timeout(Duration::from_secs(5))
            .build();
        let config = config
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            // For bodies of unknown length; these are short, and have a time-out of their own.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .http_client(http_client::sdk(IDLE))
            .build();
        Self { client: Client::from_conf(config) }
    }

    /// Sends one SMS with one call, and says what is known of it afterwards.
    pub async fn publish(&self, to: &PhoneNumber, sms: &Sms) -> Outcome {
        // Both a type and a value are there, so this can't fail to be made.
        let Ok(transactional) = MessageAttributeValue::builder()
            .data_type("String")
            .string_value("Transactional")
            .build()
        else {
            return Outcome::Retry { reason: Reason::Request };
        };
        let departure = Departure::default();
        let sent = self
            .client
            .publish()
            .phone_number(to.e164())
            .message(sms.as_str())
            .message_attributes("AWS.SNS.SMS.SMSType", transactional)
            .customize()
            .interceptor(departure.clone())
            .send()
            .await;
        match sent {
            Ok(done) => Outcome::Sent {
                carrier_message_id: done.message_id.unwrap_or_default(),
                segments: sms::measure(sms.as_str()).segments,
                stop_notice: false,
            },
            Err(error) => {
                // The code alone: the message may repeat the number.
                tracing::warn!(code = error.code(), "carrier's answer");
                if departure.has_left() {
                    classify(&error)
                } else {
                    Outcome::Retry { reason: Reason::NotSent }
                }
            }
        }
    }
}

/// Whether a request has got as far as the network: what fails before (credentials, endpoint,
/// signature), in whatever shape the SDK reports it, is a definite no.
#[derive(Debug, Clone, Default)]
struct Departure(Arc<AtomicBool>);

impl Departure {
    fn has_left(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Intercept for Departure {
    fn name(&self) -> &'static str {
        "Departure"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.store(true, Ordering::SeqCst);
        Ok(())
    }
}

/// What an error says of whether the text went out. Only what is certainly a no is one.
fn classify(error: &SdkError<PublishError, HttpResponse>) -> Outcome {
    match error {
        SdkError::ConstructionFailure(_) => Outcome::Retry { reason: Reason::Request },
        SdkError::DispatchFailure(failure) => {
            if failure.as_connector_error().is_some_and(|error| http_client::never_connected(error))
            {
                Outcome::Retry { reason: Reason::Unreachable }
            } else if failure.is_timeout() {
                Outcome::Unknown { reason: Reason::Timeout }
            } else {
                Outcome::Unknown { reason: Reason::ConnectionLost }
            }
        }
        SdkError::TimeoutError(_) => Outcome::Unknown { reason: Reason::Timeout },
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            refusal(status, service.err().code(), service.err().message())
        }
        // An answer that can't be read, and whatever the SDK may add.
        _ => Outcome::Unknown { reason: Reason::UnreadableAnswer },
    }
}

/// What an error answer of SNS says (Amazon SNS API Reference, Publish: Errors).
fn refusal(status: u16, code: Option<&str>, message: Option<&str>) -> Outcome {
    let code = code.unwrap_or_default();
    let message = message.unwrap_or_default().to_ascii_lowercase();
    let opted_out = message.contains("opted out");
    let reason =
        if message.contains("phonenumber") { Reason::InvalidNumber } else { Reason::InvalidText };
    match (status, code) {
        (_, "OptedOut" | "OptedOutException") => Outcome::OptedOut,
        (400, "InvalidParameter" | "InvalidParameterException") if opted_out => Outcome::OptedOut,
        (
            400,
            "InvalidParameter"
            | "InvalidParameterException"
            | "InvalidParameterValue"
            | "ParameterValueInvalid",
        ) => Outcome::Failed { reason },
        (429, _)
        | (
            _,
            "Throttled"
            | "ThrottledException"
            | "Throttling"
            | "ThrottlingException"
            | "TooManyRequestsException",
        ) => Outcome::Retry { reason: Reason::Throttled },
        // Access, sandbox, spending limit: a no that somebody may mend within the day.
        (400..=499, _) => Outcome::Retry { reason: Reason::Refused },
        _ => Outcome::Unknown { reason: Reason::CarrierError },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use aws_sdk_sns::config::{Builder, Credentials, Region};
    use shared::i18n::Language;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    fn config(endpoint: &str) -> Builder {
        aws_sdk_sns::Config::builder()
            .behavior_version(aws::behavior_version())
            .region(Region::from_static("us-east-1"))
            .endpoint_url(endpoint)
    }

    async fn outcome(config: Builder) -> Outcome {
        let to = PhoneNumber::parse("+15550100001", None).expect("possible");
        let content = sms::Content {
            subject: sms::Subject::FreshLink,
            thread: "Sunday",
            language: Language::English,
            stop_notice: false,
            link: "https://kin.example/l#t",
            limits: sms::Limits::default(),
        };
        Sns::new(config).publish(&to, &sms::compose(&content)).await
    }

    /// A carrier that reads a request and answers it with `answer`, or hangs up without one.
    async fn carrier(answer: &'static str) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 64 * 1024];
                let _read = stream.read(&mut request).await;
                let _written = stream.write_all(answer.as_bytes()).await;
            }
        });
        endpoint
    }

    #[tokio::test]
    async fn a_call_is_made_once_whatever_comes_of_it() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 64 * 1024];
                let _read = stream.read(&mut request).await;
                counted.fetch_add(1, Ordering::SeqCst);
                let answer = b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n";
                let _written = stream.write_all(answer).await;
            }
        });
        let keys = Credentials::new("key", "secret", None, None, "test");
        let unknown = Outcome::Unknown { reason: Reason::CarrierError };
        assert_eq!(outcome(config(&endpoint).credentials_provider(keys)).await, unknown);
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_never_left_is_tried_again_and_what_may_have_is_not() {
        let keys = || Credentials::new("key", "secret", None, None, "test");
        let silent = carrier("").await;
        let never_left = Outcome::Retry { reason: Reason::NotSent };
        assert_eq!(outcome(config(&silent)).await, never_left, "no credentials");

        let nobody = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = nobody.local_addr().expect("an address");
        drop(nobody);
        let refused = config(&format!("http://{address}")).credentials_provider(keys());
        assert_eq!(outcome(refused).await, Outcome::Retry { reason: Reason::Unreachable });

        let hung_up = config(&silent).credentials_provider(keys());
        assert_eq!(outcome(hung_up).await, Outcome::Unknown { reason: Reason::ConnectionLost });
        let garbage = carrier("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n???").await;
        let garbage = config(&garbage).credentials_provider(keys());
        assert_eq!(outcome(garbage).await, Outcome::Unknown { reason: Reason::CarrierError });
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_has_left_on_a_connection_whose_tls_never_stood() {
        // The kernel takes the connection, and nobody says hello.
        let silent = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = silent.local_addr().expect("an address");
        let keys = Credentials::new("key", "secret", None, None, "test");
        let stalled = config(&format!("https://{address}")).credentials_provider(keys);
        assert_eq!(outcome(stalled).await, Outcome::Retry { reason: Reason::Unreachable });
    }

    #[test]
    fn only_a_definite_no_is_tried_again() {
        let unknown = Outcome::Unknown { reason: Reason::CarrierError };
        assert_eq!(refusal(500, Some("InternalFailure"), None), unknown);
        assert_eq!(refusal(503, Some("ServiceUnavailable"), None), unknown);
        assert_eq!(
            refusal(400, Some("Throttling"), None),
            Outcome::Retry { reason: Reason::Throttled }
        );
        assert_eq!(refusal(429, None, None), Outcome::Retry { reason: Reason::Throttled });
        assert_eq!(
            refusal(403, Some("AuthorizationError"), None),
            Outcome::Retry { reason: Reason::Refused }
        );
        assert_eq!(
            refusal(400, Some("InvalidParameter"), Some("Invalid parameter: PhoneNumber")),
            Outcome::Failed { reason: Reason::InvalidNumber }
        );
        for code in ["InvalidParameter", "OptedOut"] {
            let message = Some("Phone number is opted out");
            assert_eq!(refusal(400, Some(code), message), Outcome::OptedOut);
        }
    }
}
