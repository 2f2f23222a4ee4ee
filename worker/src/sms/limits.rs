//! Maximum segments of SMS, and the longest public URL that leaves room for other content.

use platform::config::{ConfigError, Variable};
use shared::{
    config::{SMS_MAX_SEGMENTS as GSM7, SMS_MAX_SEGMENTS_UCS2 as UCS2},
    links::TOKEN_LEN,
};

use super::{
    alphabet::Encoding,
    compose::{AROUND_LINK, AROUND_LINK_AND_NOTICE},
};

/// The part of a link between the public URL and the token.
const LINK_PATH: &str = "/l#";

/// Maximum segments of an SMS, 1 to 4, by encoding. No SMS exceeds the limit of its encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum segments in the 7-bit default alphabet.
    pub(super) gsm7: usize,
    /// Maximum segments in UCS-2. With 1 UCS-2 is never used, since a link needs more.
    pub(super) ucs2: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { gsm7: 1, ucs2: 2 }
    }
}

impl Limits {
    /// Reads `KINLINE_SMS_MAX_SEGMENTS` (1 by default) and, for UCS-2, `KINLINE_SMS_MAX_SEGMENTS_UCS2` (by
    /// default the greater of 2 and the first).
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable that is not from 1 to 4.
    pub fn from_env() -> Result<Self, ConfigError> {
        let gsm7 = GSM7.parsed(1)?;
        Self::new(gsm7, UCS2.parsed(gsm7.max(2))?)
    }

    /// Limits of `gsm7` segments in the default alphabet and `ucs2` in UCS-2.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable that is not from 1 to 4.
    pub fn new(gsm7: usize, ucs2: usize) -> Result<Self, ConfigError> {
        Ok(Self { gsm7: checked(GSM7, gsm7)?, ucs2: checked(UCS2, ucs2)? })
    }

    /// Checks that links with the public URL `url` leave room for a sender with a short preview or, with
    /// `notices`, an opt-out notice, within the limits.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] naming `variable` and the maximum length.
    pub fn check_url(
        self,
        variable: Variable,
        url: &str,
        notices: bool,
    ) -> Result<(), ConfigError> {
        let encoding = Encoding::of(url);
        let around = if notices { AROUND_LINK_AND_NOTICE } else { AROUND_LINK };
        let longest = Encoding::Gsm7.capacity(self.gsm7) - around - LINK_PATH.len() - TOKEN_LEN;
        if encoding == Encoding::Gsm7 && encoding.length(url) <= longest {
            return Ok(());
        }
        let why = format!(
            "may have at most {longest} characters, all of them of the GSM 7-bit alphabet, for an \
             SMS to fit {} of {}",
            GSM7.name, self.gsm7
        );
        Err(variable.invalid(&why))
    }
}

fn checked(variable: Variable, segments: usize) -> Result<usize, ConfigError> {
    if (1..=4).contains(&segments) { Ok(segments) } else { Err(variable.invalid("must be 1 to 4")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: Variable = Variable { name: "URL", what: "a test" };

    #[test]
    fn a_url_must_leave_room() {
        let one = Limits::default();
        let of_length = |length: usize| format!("{:a<length$}", "https://kin.");
        for (notices, longest) in [(true, 45), (false, 58)] {
            assert_eq!(one.check_url(URL, &of_length(longest), notices), Ok(()));
            let error = one.check_url(URL, &of_length(longest + 1), notices);
            let error = error.expect_err("too long").to_string();
            assert!(error.contains("URL") && error.contains(&format!("most {longest}")), "{error}");
        }
        // The address of an API in API Gateway without a custom domain.
        let gateway = "https://a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com";
        assert_eq!(one.check_url(URL, gateway, false), Ok(()));
        assert_eq!(Limits { gsm7: 2, ucs2: 2 }.check_url(URL, &of_length(183), true), Ok(()));
        // Two units each, then a character outside the alphabet.
        let tildes = format!("https://kin.example/{}", "~".repeat(20));
        assert!(one.check_url(URL, &tildes, false).is_err());
        assert!(one.check_url(URL, "https://kin.example/`", false).is_err());
    }

    #[test]
    fn segments_are_1_to_4() {
        for (segments, valid) in [(0, false), (1, true), (4, true), (5, false)] {
            assert_eq!(checked(GSM7, segments).is_ok(), valid);
        }
    }
}
