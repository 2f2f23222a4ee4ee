//! Secrets of AWS Secrets Manager, by their ARNs: what a deployed function's environment names in
//! place of a secret.

use std::time::Duration;

use aws_config::{BehaviorVersion, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;

use crate::config::{self, ConfigError};

/// A secret's ARN begins with `arn:` and says whose it is.
#[must_use]
pub fn is_arn(text: &str) -> bool {
    text.starts_with("arn:") && text.contains(":secretsmanager:")
}

/// Why there is no secret. Says nothing of the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("can't be read from Secrets Manager: {0}")]
pub struct NoSecret(String);

/// The text of the secret at `arn`, as the AWS SDK's own variables say; within six seconds, since an
/// environment has ten to start.
///
/// # Errors
/// [`NoSecret`], after three tries.
pub async fn read(arn: &str) -> Result<String, NoSecret> {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(1))
        .operation_attempt_timeout(Duration::from_secs(2))
        .operation_timeout(Duration::from_secs(6))
        .build();
    // Read anew each time: this happens at a start, and every few minutes at most.
    let sdk = aws_config::defaults(BehaviorVersion::latest())
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .load();
    // Boxed: their futures are of 20 KB, in whatever awaits them.
    let sdk = Box::pin(sdk).await;
    let asked = Client::new(&sdk).get_secret_value().secret_id(arn).send();
    let answer = Box::pin(asked).await.map_err(|error| {
        // The code where there is one: a message may repeat what was asked for.
        NoSecret(error.code().map_or_else(|| "no answer".to_owned(), str::to_owned))
    })?;
    answer.secret_string.ok_or_else(|| NoSecret("it holds no text".to_owned()))
}

/// The value of the variable `name`, or of the secret whose ARN is in the variable `arn`; one of
/// the two must be set. `what` says what it is for.
///
/// # Errors
/// [`ConfigError`].
pub async fn required(
    name: &'static str,
    arn: &'static str,
    what: &'static str,
) -> Result<String, ConfigError> {
    match (config::optional(name), config::optional(arn)) {
        (Some(value), None) => Ok(value),
        (None, Some(_)) => at(arn).await,
        (None, None) => Err(ConfigError::Missing { name, what }),
        (Some(_), Some(_)) => {
            let why = format!("{name} is set too; a secret comes from one place");
            Err(ConfigError::Invalid { name: arn, why })
        }
    }
}

/// The text of the secret whose ARN is in the variable `name`, which is set.
///
/// # Errors
/// [`ConfigError`].
pub async fn at(name: &'static str) -> Result<String, ConfigError> {
    let arn = config::required(name, "the ARN of a secret in AWS Secrets Manager")?;
    let invalid = |why: String| ConfigError::Invalid { name, why };
    if !is_arn(&arn) {
        return Err(invalid("not the ARN of a secret in AWS Secrets Manager".to_owned()));
    }
    read(&arn).await.map_err(|error| invalid(format!("the secret {error}")))
}
