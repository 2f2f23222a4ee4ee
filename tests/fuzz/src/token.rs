//! A link's token: only signed ones are accepted, in one spelling.

use std::sync::LazyLock;

use shared::links::{LinkId, LinkKeys};

use crate::input::{byte, edited};

static KEYS: LazyLock<LinkKeys> =
    LazyLock::new(|| LinkKeys::parse("a=0123456789abcdef0123456789abcdef").expect("a key"));

/// Input: a byte that selects the kind; then a token, or a link's 8 bytes and edits of its token.
pub(crate) fn harness(bytes: &[u8]) {
    let (which, rest) = byte(bytes);
    if let (0, Ok(token)) = (which % 2, std::str::from_utf8(rest)) {
        if let Ok(link) = KEYS.verify(token) {
            assert_eq!(KEYS.sign(link).as_deref(), Ok(token), "another spelling");
        }
    } else if let Some((link, edits)) = rest.split_at_checked(8) {
        let link = LinkId::try_from(link.to_vec()).expect("8 bytes");
        let token = KEYS.sign(link).expect("signed");
        assert_eq!(KEYS.verify(&token), Ok(link));
        let changed = edited(token.clone().into_bytes(), edits);
        if changed != token.as_bytes() {
            assert!(KEYS.verify(&String::from_utf8_lossy(&changed)).is_err(), "{changed:?}");
        }
    }
}
