//! Phone numbers: parsed once, stored in E.164, masked in `Debug`.

use std::{fmt, str::FromStr};

use phonenumber::{
    Mode, country,
    metadata::{DATABASE, Descriptor},
};
use serde::{Serialize, Serializer};

use crate::config;
use platform::config::ConfigError;

/// A phone number in E.164 (`+` and up to 15 digits, ITU-T E.164). `Debug` shows its last two digits.
#[derive(Clone, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct PhoneNumber(String);

/// A string that is not a possible phone number. Never holds the string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a possible phone number")]
pub struct InvalidPhone;

impl PhoneNumber {
    /// Parses a number in international form, or in the national form of `region` (ISO 3166-1, as `US`).
    ///
    /// Accepts what libphonenumber calls possible: a length that fits the country. Only the carrier knows
    /// whether the number is in use, and test numbers must pass.
    ///
    /// # Errors
    /// [`InvalidPhone`] for an unknown region, a wrong length, an extension, or other invalid input.
    pub fn parse(written: &str, region: Option<&str>) -> Result<Self, InvalidPhone> {
        let number = Self::read(written, region)?;
        // The E.164 form must parse to itself, with the region and without one.
        let same = |region| Self::read(&number.0, region).as_ref() == Ok(&number);
        if same(None) && same(region) { Ok(number) } else { Err(InvalidPhone) }
    }

    fn read(written: &str, region: Option<&str>) -> Result<Self, InvalidPhone> {
        // No formatted number is longer. Other input does not reach the parser.
        let usual = |c: char| c.is_ascii_digit() || "+-. ()/\u{a0}\u{2011}".contains(c);
        if written.len() > 40 || !written.chars().all(usual) {
            return Err(InvalidPhone);
        }
        let region = region.map(|region| region.to_ascii_uppercase().parse::<country::Id>());
        let region = region.transpose().map_err(|_| InvalidPhone)?;
        let number = phonenumber::parse(region, written).map_err(|_| InvalidPhone)?;
        let e164 = number.format().mode(Mode::E164).to_string();
        let code = number.country().code();
        let digits = e164.strip_prefix('+').ok_or(InvalidPhone)?;
        let national_len = digits.len().saturating_sub(code.to_string().len());
        let fits = DATABASE.by_code(&code).is_some_and(|regions| {
            regions.iter().any(|region| {
                // The metadata has lengths for each kind of number, not for all kinds together.
                [
                    region.descriptors().fixed_line(),
                    region.descriptors().mobile(),
                    region.descriptors().voip(),
                ]
                .into_iter()
                .flatten()
                .flat_map(Descriptor::possible_length)
                .any(|&length| usize::from(length) == national_len)
            })
        });
        let plain = digits.len() <= 15
            && !digits.starts_with('0')
            && digits.bytes().all(|b| b.is_ascii_digit());
        if fits && plain && number.extension().is_none() {
            Ok(Self(e164))
        } else {
            Err(InvalidPhone)
        }
    }

    /// Returns the number's country. A number that is possible but not assigned counts to the main country
    /// of its calling code.
    #[must_use]
    pub fn region(&self) -> Region {
        let number = phonenumber::parse(None, &self.0).ok();
        let found = number.as_ref().and_then(|number| {
            let named = number.metadata(&DATABASE).map(phonenumber::Metadata::id);
            named.or_else(|| DATABASE.region(&number.country().code())?.first().copied())
        });
        // Numbers without a country have the code of the world (UN M49).
        Region(found.unwrap_or("001").to_owned())
    }

    /// Returns the whole number, for the carrier and the host application only.
    #[must_use]
    pub fn e164(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.len().saturating_sub(2);
        write!(f, "PhoneNumber(…{})", self.0.get(shown..).unwrap_or_default())
    }
}

impl Serialize for PhoneNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A country's code (ISO 3166-1), as `US`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::Type)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct Region(String);

/// A string that is not the code of a country with phone numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a country's two letters, as US")]
pub struct UnknownRegion;

impl FromStr for Region {
    type Err = UnknownRegion;

    fn from_str(written: &str) -> Result<Self, UnknownRegion> {
        let region = written.to_ascii_uppercase();
        region.parse::<country::Id>().map_err(|_| UnknownRegion)?;
        Ok(Self(region))
    }
}

impl Region {
    /// The two letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads `KINLINE_SMS_REGIONS`: the countries that SMS of families without a country may go to, as
    /// `US,CA`. `None` if it is not set: all countries.
    ///
    /// # Errors
    /// [`ConfigError`] when one of them is not a country's code.
    pub fn list_from_env() -> Result<Option<Vec<Self>>, ConfigError> {
        let Some(list) = config::SMS_REGIONS.optional() else { return Ok(None) };
        let regions: Result<Vec<Self>, _> =
            list.split(',').map(|region| region.trim().parse()).collect();
        let invalid =
            |error: UnknownRegion| config::SMS_REGIONS.invalid(&format!("one of them is {error}"));
        regions.map(Some).map_err(invalid)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn e164(written: &str, region: Option<&str>) -> Result<String, InvalidPhone> {
        PhoneNumber::parse(written, region).map(|number| number.e164().to_owned())
    }

    #[test]
    fn international_and_national_forms() {
        assert_eq!(e164("+15550100001", None).as_deref(), Ok("+15550100001"));
        assert_eq!(e164("+1 (555) 010-0001", None).as_deref(), Ok("+15550100001"));
        assert_eq!(e164("(212) 555-0199", Some("US")).as_deref(), Ok("+12125550199"));
        assert_eq!(e164("212.555.0199", Some("us")).as_deref(), Ok("+12125550199"));
        assert_eq!(e164("020 7946 0958", Some("GB")).as_deref(), Ok("+442079460958"));
        assert_eq!(e164("+39 06 698 12345", None).as_deref(), Ok("+390669812345"));
    }

    #[test]
    fn other_strings_are_refused() {
        for (written, region) in [
            ("", None),
            ("hello", None),
            ("+1555", None),
            ("+1555010000123456", None),
            ("+999123456789", None),
            ("2125550199", None),
            ("2125550199", Some("XX")),
            // The prefix for calls abroad, without a valid country.
            ("00079460958", Some("GB")),
            ("+12125550199 ext. 5", None),
            ("+1212555\u{0}0199", None),
            ("+12125550199\u{0}", None),
            ("+1-800-FLOWERS", None),
            ("tel:+12125550199", None),
        ] {
            assert_eq!(e164(written, region), Err(InvalidPhone), "{written:?}");
        }
        assert_eq!(e164(&"1".repeat(10_000), None), Err(InvalidPhone));
    }

    #[test]
    fn a_number_has_a_country() {
        for (number, region) in [
            ("+12125550199", "US"),
            ("+14165550199", "CA"),
            // A usual target of SMS pumping, with the calling code of the United States.
            ("+18765550199", "JM"),
            ("+15550100001", "US"),
            ("+442079460958", "GB"),
            ("+390669812345", "IT"),
            ("+88213123456", "001"),
        ] {
            let parsed = PhoneNumber::parse(number, None).expect("possible");
            assert_eq!(parsed.region().as_str(), region, "{number}");
        }
        assert_eq!("us".parse::<Region>().expect("a country").as_str(), "US");
        for bad in ["", "U", "USA", "XX", "001", "U1", "É"] {
            assert_eq!(bad.parse::<Region>(), Err(UnknownRegion), "{bad}");
        }
    }

    #[test]
    fn debug_masks_it() {
        let number = PhoneNumber::parse("+15550100042", None).expect("possible");
        assert_eq!(format!("{number:?}"), "PhoneNumber(…42)");
    }

    proptest! {
        #[test]
        fn any_string_is_refused_or_parsed_to_e164(written in ".{0,30}", region in prop::option::of("[A-Z]{2}")) {
            if let Ok(number) = PhoneNumber::parse(&written, region.as_deref()) {
                prop_assert!(matches!(number.region().as_str().len(), 2 | 3));
                let digits = number.e164().strip_prefix('+').expect("a plus");
                prop_assert!((2..=15).contains(&digits.len()));
                prop_assert!(digits.bytes().all(|b| b.is_ascii_digit()));
                prop_assert_eq!(PhoneNumber::parse(number.e164(), None).expect("round trip"), number);
            }
        }
    }
}
