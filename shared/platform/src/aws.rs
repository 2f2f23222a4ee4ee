//! Configuration of AWS clients, from the environment that Lambda gives its functions.
//!
//! Without `aws_config`: it looks for credentials in ten places, of which a function has one, and made up
//! 6 % of a binary's code.

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_types::{SdkConfig, region::Region};

use crate::config::{self, ConfigError, Variable};

/// An AWS service that is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// `SecretsManager`.
    SecretsManager,
    /// Simple Notification Service: SMS.
    Sns,
    /// Simple Queue Service: jobs.
    Sqs,
}

impl Service {
    const fn endpoint_variable(self) -> Variable {
        match self {
            Self::SecretsManager => config::SECRETS_MANAGER_URL,
            Self::Sns => config::SNS_URL,
            Self::Sqs => config::SQS_URL,
        }
    }
}

/// Credentials from `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, if it is set, `AWS_SESSION_TOKEN`.
/// They stay valid for the life of a Lambda environment.
///
/// # Errors
/// [`ConfigError`] naming the variable.
pub fn credentials() -> Result<Credentials, ConfigError> {
    Ok(Credentials::new(
        config::ACCESS_KEY_ID.required()?,
        config::SECRET_ACCESS_KEY.required()?,
        config::SESSION_TOKEN.optional(),
        None,
        "environment",
    ))
}

/// Custom endpoint of `service`: `AWS_ENDPOINT_URL_<service>`, else `AWS_ENDPOINT_URL`. `None` if neither
/// is set.
///
/// # Errors
/// [`ConfigError`] naming the variable.
pub fn endpoint(service: Service) -> Result<Option<String>, ConfigError> {
    let of = |variable: Variable| variable.optional().map(|url| variable.address(url)).transpose();
    Ok(of(service.endpoint_variable())?.or(of(config::ENDPOINT_URL)?))
}

/// Configuration of a client of `service`: region, credentials and endpoint by the variables that every
/// AWS SDK reads, `AWS_USE_FIPS_ENDPOINT` and `AWS_USE_DUALSTACK_ENDPOINT` included.
///
/// # Errors
/// [`ConfigError`] naming the variable.
pub fn config(service: Service) -> Result<SdkConfig, ConfigError> {
    let region = config::REGION.optional().or_else(|| config::DEFAULT_REGION.optional());
    let region = region.ok_or(config::REGION.missing())?;
    let mut config = SdkConfig::builder()
        .behavior_version(behavior_version())
        .region(Region::new(region))
        .credentials_provider(SharedCredentialsProvider::new(credentials()?))
        .use_fips(use_fips())
        .use_dual_stack(use_dual_stack());
    config.set_endpoint_url(endpoint(service)?);
    Ok(config.build())
}

/// Whether endpoints must be validated by FIPS 140: `AWS_USE_FIPS_ENDPOINT`.
#[must_use]
pub fn use_fips() -> bool {
    is_set(config::USE_FIPS)
}

/// Whether endpoints must have IPv6 addresses as well: `AWS_USE_DUALSTACK_ENDPOINT`.
#[must_use]
pub fn use_dual_stack() -> bool {
    is_set(config::USE_DUAL_STACK)
}

/// Defaults of the SDK's clients, pinned by date: an update of the SDK changes none of them.
#[must_use]
pub fn behavior_version() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

fn is_set(variable: Variable) -> bool {
    variable.optional().is_some_and(|value| value.eq_ignore_ascii_case("true"))
}
