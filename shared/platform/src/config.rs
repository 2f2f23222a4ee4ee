//! Reading configuration: once, at the start; a missing or bad variable names itself.

use std::{env, fmt, str::FromStr};

/// A variable that is missing or can't be used. Never carries the value, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not set, or empty.
    #[error("{name} is not set: {what}")]
    Missing {
        /// The variable.
        name: &'static str,
        /// What it is for.
        what: &'static str,
    },
    /// Set, but of no use.
    #[error("{name} is not valid: {why}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// The value of `name`, which must be set and not empty; `what` says what it is for.
///
/// # Errors
/// [`ConfigError::Missing`].
pub fn required(name: &'static str, what: &'static str) -> Result<String, ConfigError> {
    optional(name).ok_or(ConfigError::Missing { name, what })
}

/// The value of `name`, if it is set and not empty.
#[must_use]
pub fn optional(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The value of `name`, which must be an `http` or `https` address; `what` says what it is for.
///
/// # Errors
/// [`ConfigError`].
pub fn url(name: &'static str, what: &'static str) -> Result<String, ConfigError> {
    address(name, required(name, what)?)
}

/// `value`, if it is an `http` or `https` address that a path can be put after.
///
/// # Errors
/// [`ConfigError::Invalid`] naming `name`.
pub fn address(name: &'static str, value: String) -> Result<String, ConfigError> {
    let host = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://"));
    let whole = host.is_some_and(|host| {
        !host.is_empty() && !host.starts_with('/') && host.bytes().all(|b| b.is_ascii_graphic())
    });
    if whole && !value.contains(['#', '?']) {
        Ok(value)
    } else {
        Err(ConfigError::Invalid { name, why: "not an address, as https://host".to_owned() })
    }
}

/// The value of `name` as a `T`, or `default` when it is not set.
///
/// # Errors
/// [`ConfigError::Invalid`] when it is set to something that is no `T`.
pub fn parsed<T>(name: &'static str, default: T) -> Result<T, ConfigError>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    match optional(name) {
        None => Ok(default),
        Some(value) => value
            .parse()
            .map_err(|error: T::Err| ConfigError::Invalid { name, why: error.to_string() }),
    }
}

/// A secret: readable by who asks for it by name, invisible to `Debug`.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Least length of a secret that signs: 32 bytes, as long as an HS256 digest (RFC 7518, 3.2).
    pub const MIN_LEN: usize = 32;

    /// Takes a secret that signs.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] naming `name` when it is too short.
    pub fn new(name: &'static str, value: String) -> Result<Self, ConfigError> {
        if value.len() < Self::MIN_LEN {
            let why = format!("a secret needs at least {} bytes", Self::MIN_LEN);
            return Err(ConfigError::Invalid { name, why });
        }
        Ok(Self(value))
    }

    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_variable_names_itself_and_its_purpose() {
        let error = required("KINLINE_TEST_NOT_SET", "what for").expect_err("not set");
        assert_eq!(error.to_string(), "KINLINE_TEST_NOT_SET is not set: what for");
    }

    #[test]
    fn a_secret_is_long_and_stays_one() {
        let error = Secret::new("KEY", "short-secret".to_owned()).expect_err("too short");
        assert!(!error.to_string().contains("short-secret"));
        let secret = Secret::new("KEY", "0123456789abcdef0123456789abcdef".to_owned());
        assert_eq!(format!("{:?}", secret.expect("long enough")), "Secret(…)");
    }
}
