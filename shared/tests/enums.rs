//! Enum strings must be those that the schema allows and the statements write.

use std::collections::BTreeSet;

use shared::{
    access::Role,
    delivery::{DeliveryState, Reason},
    members::MemberStatus,
    threads::Kind,
};

const CORE: &str = include_str!("../migrations/20261120000001_core.sql");
const REACH: &str = include_str!("../migrations/20261126000003_reach.sql");
const STATEMENTS: &str = concat!(
    include_str!("../src/delivery/policy.rs"),
    include_str!("../src/delivery/store/claim.rs"),
    include_str!("../src/delivery/store/ledger.rs"),
    include_str!("../src/delivery/store/record.rs"),
);

/// The strings that a schema allows in a column.
fn allowed(schema: &'static str, column: &str) -> BTreeSet<&'static str> {
    let list = schema.split(&format!("({column} IN (")).nth(1);
    let list = list.and_then(|rest| rest.split(')').next()).unwrap_or_default();
    list.split('\'').skip(1).step_by(2).collect()
}

#[test]
fn the_schema_allows_these_and_no_others() {
    assert_eq!(allowed(CORE, "kind"), Kind::ALL.iter().map(|kind| kind.as_str()).collect());
    assert_eq!(allowed(CORE, "role"), Role::ALL.iter().map(|role| role.as_str()).collect());
    assert_eq!(allowed(CORE, "status"), MemberStatus::ALL.iter().map(|s| s.as_str()).collect());
    assert_eq!(allowed(REACH, "state"), DeliveryState::ALL.iter().map(|s| s.as_str()).collect());
}

/// The strings in the statements directly after `mark`. There must be some.
fn written(mark: &str) -> BTreeSet<&'static str> {
    let rests = STATEMENTS.split(mark).skip(1);
    let texts: BTreeSet<_> = rests.filter_map(|rest| rest.split('\'').next()).collect();
    assert!(!texts.is_empty(), "{mark}");
    texts
}

fn is_reason(text: &str) -> bool {
    Reason::of(text).is_some_and(|reason| reason != Reason::Other)
}

#[test]
fn statements_write_known_states_and_reasons() {
    for state in written("state = '") {
        assert!(DeliveryState::of(state).is_some(), "{state}");
    }
    for reason in written("reason = '") {
        assert!(is_reason(reason), "{reason}");
    }
    for either in written("THEN '") {
        assert!(DeliveryState::of(either).is_some() || is_reason(either), "{either}");
    }
    // The claim uses a membership's status, if not active, as the reason.
    for status in MemberStatus::ALL.iter().filter(|&&status| status != MemberStatus::Active) {
        assert!(is_reason(status.as_str()), "{status:?}");
    }
}

#[test]
fn json_uses_the_same_strings() {
    for &role in Role::ALL {
        assert_eq!(serde_json::to_value(role).expect("JSON"), role.as_str());
        assert_eq!(Role::of(role.as_str()), Some(role));
    }
    assert_eq!(Role::of("owner"), None);
}

#[test]
fn a_reason_of_another_release_is_read() {
    assert_eq!(Reason::of("quiet"), Some(Reason::Other));
    assert_eq!(DeliveryState::of("quiet"), None);
}
