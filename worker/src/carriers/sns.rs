//! The carrier Amazon SNS, called once for each attempt.

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

/// Time limit for opening a connection.
const CONNECT: Duration = Duration::from_secs(1);
/// How long an idle connection is kept. An older one may be dead, above all after the environment was frozen,
/// and an SMS lost on it would be `unknown`.
const IDLE: Duration = Duration::from_secs(1);

/// The SNS client, without the SDK's retries: a retry after a time-out could send a second SMS.
#[derive(Debug, Clone)]
pub struct Sns {
    client: Client,
}

impl Sns {
    /// SNS, configured by the AWS SDK's environment variables.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self::new(aws_sdk_sns::config::Builder::from(&aws::config(Service::Sns)?)))
    }

    /// SNS with this configuration, except its retries and time-outs, which are set here.
    #[must_use]
    pub fn new(config: aws_sdk_sns::config::Builder) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_timeout(Duration::from_secs(5))
            .build();
        let config = config
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            // Meant for bodies of unknown length. These are short, and have a time-out.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .http_client(http_client::sdk(IDLE))
            .build();
        Self { client: Client::from_conf(config) }
    }

    /// Sends one SMS with one call, and returns the outcome.
    pub async fn publish(&self, to: &PhoneNumber, sms: &Sms) -> Outcome {
        // Can't fail: type and value are set.
        let Ok(transactional) = MessageAttributeValue::builder()
            .data_type("String")
            .string_value("Transactional")
            .build()
        else {
            return Outcome::Retry { reason: Reason::Request };
        };
        let sent_flag = SentFlag::default();
        let sent = self
            .client
            .publish()
            .phone_number(to.e164())
            .message(sms.as_str())
            .message_attributes("AWS.SNS.SMS.SMSType", transactional)
            .customize()
            .interceptor(sent_flag.clone())
            .send()
            .await;
        match sent {
            Ok(done) => Outcome::Sent {
                carrier_message_id: done.message_id.unwrap_or_default(),
                segments: sms::measure(sms.as_str()).segments,
                stop_notice: false,
            },
            Err(error) => {
                // Only the code: the message may repeat the number.
                tracing::warn!(code = error.code(), "carrier returned an error");
                if sent_flag.is_set() {
                    classify(&error)
                } else {
                    Outcome::Retry { reason: Reason::NotSent }
                }
            }
        }
    }
}

/// Records whether a request was sent. An earlier failure (credentials, endpoint, signature), however the SDK
/// reports it, means that nothing was sent.
#[derive(Debug, Clone, Default)]
struct SentFlag(Arc<AtomicBool>);

impl SentFlag {
    fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Intercept for SentFlag {
    fn name(&self) -> &'static str {
        "SentFlag"
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

/// Returns the outcome of an error: `Unknown` unless it is certain that the SMS was not sent.
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
        // A response that can't be read, and future variants.
        _ => Outcome::Unknown { reason: Reason::UnreadableAnswer },
    }
}

/// Returns the outcome of an SNS error response (Amazon SNS API Reference, Publish: Errors).
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
        // Access, sandbox, spending limit: an operator may fix it within the day.
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

    /// Starts a carrier that reads a request and responds with `answer`, or closes the connection.
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
    async fn a_call_is_made_once() {
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
    async fn only_unsent_requests_are_retried() {
        let keys = || Credentials::new("key", "secret", None, None, "test");
        let silent = carrier("").await;
        let not_sent = Outcome::Retry { reason: Reason::NotSent };
        assert_eq!(outcome(config(&silent)).await, not_sent, "no credentials");

        let closed = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = closed.local_addr().expect("an address");
        drop(closed);
        let refused = config(&format!("http://{address}")).credentials_provider(keys());
        assert_eq!(outcome(refused).await, Outcome::Retry { reason: Reason::Unreachable });

        let lost = config(&silent).credentials_provider(keys());
        assert_eq!(outcome(lost).await, Outcome::Unknown { reason: Reason::ConnectionLost });
        let garbage = carrier("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n???").await;
        let garbage = config(&garbage).credentials_provider(keys());
        assert_eq!(outcome(garbage).await, Outcome::Unknown { reason: Reason::CarrierError });
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_tls_handshake_sends_nothing() {
        // The kernel accepts the connection, and no handshake follows.
        let silent = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = silent.local_addr().expect("an address");
        let keys = Credentials::new("key", "secret", None, None, "test");
        let stalled = config(&format!("https://{address}")).credentials_provider(keys);
        assert_eq!(outcome(stalled).await, Outcome::Retry { reason: Reason::Unreachable });
    }

    #[test]
    fn only_definite_refusals_are_retried() {
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
