//! The AWS SDK's clients, pointed at loopback.

use std::time::Duration;

use aws_sdk_sns::config::{AsyncSleep, Sleep};
use aws_sdk_sqs::config::{Credentials, Region};
use platform::{aws::behavior_version, http_client};

/// The region of everything local.
pub const REGION: &str = "us-east-1";
/// Access key id and secret access key: the local engines check neither.
pub const KEY: &str = "local";

fn credentials() -> Credentials {
    Credentials::new(KEY, KEY, None, None, "local")
}

/// Configuration of an SQS client of the engine at `endpoint`.
#[must_use]
pub fn sqs(endpoint: &str) -> aws_sdk_sqs::config::Builder {
    aws_sdk_sqs::Config::builder()
        .behavior_version(behavior_version())
        .region(Region::from_static(REGION))
        .credentials_provider(credentials())
        .http_client(http_client::sdk(Duration::from_secs(90)))
        .endpoint_url(endpoint)
}

/// Configuration of an SNS client of the carrier at `endpoint`.
#[must_use]
pub fn sns(endpoint: &str) -> aws_sdk_sns::config::Builder {
    aws_sdk_sns::Config::builder()
        .behavior_version(behavior_version())
        .region(Region::from_static(REGION))
        .credentials_provider(credentials())
        .endpoint_url(endpoint)
}

/// The SDK's timers for a carrier whose slowness means nothing: another implementation, on a machine that may
/// be busy. A call that times out would leave its SMS `unknown` for good.
#[derive(Debug)]
pub struct Patient;

impl AsyncSleep for Patient {
    fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::new(tokio::time::sleep(duration * 60))
    }
}
