//! Reading environment variables at the start, with errors that name the variable.

use std::{env, fmt, str::FromStr};

pub use secrecy::{ExposeSecret, SecretString};

/// A missing or invalid variable. Never holds the value, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not set, or empty.
    #[error("{name} is not set: {what}")]
    Missing {
        /// The variable.
        name: &'static str,
        /// Its purpose.
        what: &'static str,
    },
    /// Set to an invalid value.
    #[error("{name} is not valid: {why}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// The fault.
        why: String,
    },
}

/// An environment variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Its purpose.
    pub what: &'static str,
}

impl Variable {
    /// Minimum length of a signing secret: 32 bytes, the size of an HS256 digest (RFC 7518, 3.2).
    pub const SECRET_MIN: usize = 32;

    /// Returns the value, if it is set and not empty.
    #[must_use]
    pub fn optional(self) -> Option<String> {
        env::var(self.name).ok().filter(|value| !value.is_empty())
    }

    /// Returns the value, which must be set and not empty.
    ///
    /// # Errors
    /// [`ConfigError::Missing`].
    pub fn required(self) -> Result<String, ConfigError> {
        self.optional().ok_or(self.missing())
    }

    /// Returns the value, which must be an `http` or `https` URL.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn url(self) -> Result<String, ConfigError> {
        self.address(self.required()?)
    }

    /// Returns `value`, if it is an `http` or `https` URL that a path can be appended to.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub fn address(self, value: String) -> Result<String, ConfigError> {
        let host = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://"));
        let whole = host.is_some_and(|host| {
            !host.is_empty() && !host.starts_with('/') && host.bytes().all(|b| b.is_ascii_graphic())
        });
        if whole && !value.contains(['#', '?']) {
            Ok(value)
        } else {
            Err(self.invalid("not an address, as https://host"))
        }
    }

    /// Returns the value parsed as a `T`, or `default` when it is not set.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] when it can't be parsed.
    pub fn parsed<T>(self, default: T) -> Result<T, ConfigError>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let parse =
            |value: String| value.parse().map_err(|error: T::Err| self.invalid(&error.to_string()));
        self.optional().map_or(Ok(default), parse)
    }

    /// Returns `value`, if it has at least [`Self::SECRET_MIN`] bytes.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub fn secret(self, value: impl Into<SecretString>) -> Result<SecretString, ConfigError> {
        let secret = value.into();
        if secret.expose_secret().len() < Self::SECRET_MIN {
            return Err(
                self.invalid(&format!("a secret needs at least {} bytes", Self::SECRET_MIN))
            );
        }
        Ok(secret)
    }

    /// Makes the error that the variable is not set.
    #[must_use]
    pub const fn missing(self) -> ConfigError {
        ConfigError::Missing { name: self.name, what: self.what }
    }

    /// Makes the error that the value is invalid. `why` must not repeat the value.
    #[must_use]
    pub fn invalid(self, why: &str) -> ConfigError {
        ConfigError::Invalid { name: self.name, why: why.to_owned() }
    }
}

/// Declares constants of type [`Variable`], and `ALL`, which lists them.
#[macro_export]
macro_rules! variables {
    ($($constant:ident = $name:literal, $what:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`: ", $what, ".")]
            pub const $constant: $crate::config::Variable =
                $crate::config::Variable { name: $name, what: $what };
        )*

        /// All variables declared here.
        pub const ALL: &[$crate::config::Variable] = &[$($constant),*];
    };
}

variables! {
    ACCESS_KEY_ID = "AWS_ACCESS_KEY_ID", "credentials, which Lambda sets for its functions";
    SECRET_ACCESS_KEY = "AWS_SECRET_ACCESS_KEY", "credentials, which Lambda sets for its functions";
    SESSION_TOKEN = "AWS_SESSION_TOKEN", "credentials, which Lambda sets for its functions";
    REGION = "AWS_REGION", "the region of the services, which Lambda sets for its functions";
    DEFAULT_REGION = "AWS_DEFAULT_REGION", "the region of the services; AWS_REGION takes precedence";
    ENDPOINT_URL = "AWS_ENDPOINT_URL", "an endpoint in place of the default ones";
    SECRETS_MANAGER_URL = "AWS_ENDPOINT_URL_SECRETS_MANAGER", "an endpoint in place of the default one of Secrets Manager";
    SNS_URL = "AWS_ENDPOINT_URL_SNS", "an endpoint in place of the default one of SNS";
    SQS_URL = "AWS_ENDPOINT_URL_SQS", "an endpoint in place of the default one of SQS";
    USE_FIPS = "AWS_USE_FIPS_ENDPOINT", "whether endpoints must be validated by FIPS 140";
    USE_DUAL_STACK = "AWS_USE_DUALSTACK_ENDPOINT", "whether endpoints must have IPv6 addresses too";
    TRACE = "_X_AMZN_TRACE_ID", "the trace header of an invocation, which Lambda's runtime sets";
    METRICS_NAMESPACE = "KINLINE_METRICS_NAMESPACE", "the namespace of the metrics; without it there are none";
    CERT_FILE = "SSL_CERT_FILE", "certificates to trust in place of the system's";
    CERT_DIR = "SSL_CERT_DIR", "a folder of certificates to trust in place of the system's";
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Variable = Variable { name: "KINLINE_TEST_NOT_SET", what: "what for" };

    #[test]
    fn a_missing_variable_names_itself_and_its_purpose() {
        let error = KEY.required().expect_err("not set");
        assert_eq!(error.to_string(), "KINLINE_TEST_NOT_SET is not set: what for");
    }

    #[test]
    fn a_secret_is_long_enough_and_never_shown() {
        let error = KEY.secret("short-secret").expect_err("too short");
        assert!(!error.to_string().contains("short-secret"));
        let secret = KEY.secret("0123456789abcdef0123456789abcdef").expect("long enough");
        assert!(!format!("{secret:?}").contains("0123"));
    }
}
