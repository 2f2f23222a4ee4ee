//! Phone numbers: refused, or in E.164, parsed to the same again, and masked in `Debug`.

use shared::phone::PhoneNumber;

use crate::input::parts;

/// Input: a number, and perhaps a region.
pub(crate) fn harness(bytes: &[u8]) {
    let [written, region] = parts(bytes).map(String::from_utf8_lossy);
    let region = (!region.is_empty()).then_some(&*region);
    let Ok(number) = PhoneNumber::parse(&written, region) else { return };
    let digits = number.e164().strip_prefix('+').expect("a plus");
    assert!((2..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()));
    assert!(!digits.starts_with('0'));
    assert_eq!(PhoneNumber::parse(number.e164(), None).as_ref(), Ok(&number), "not read again");
    assert_eq!(PhoneNumber::parse(number.e164(), region).as_ref(), Ok(&number), "not read again");
    let region = number.region();
    assert!((2..=3).contains(&region.as_str().len()), "of no country, not even the world");
    assert!(format!("{number:?}").bytes().filter(u8::is_ascii_digit).count() <= 2, "not masked");
}
