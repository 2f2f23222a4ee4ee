//! The rules for which SMS are sent, as parts of SQL statements: `u` is the user, `tm` the user's
//! membership of the thread.

/// The branches of a `CASE` with the reasons against an SMS, used by the post and again by the claim.
/// `$if_muted` is a further condition on a mute.
macro_rules! suppressed {
    ($if_muted:literal) => {
        concat!(
            "WHEN u.phone IS NULL THEN 'no_number'
             WHEN u.opted_out_at IS NOT NULL THEN 'opted_out'
             WHEN tm.muted_until > now()",
            $if_muted,
            " THEN 'muted' "
        )
    };
}
pub(crate) use suppressed;

/// Selects the members of the thread `$2` except the author `$3`, each with the reason against an SMS about
/// a message; null if it is sent.
macro_rules! recipients {
    () => {
        concat!(
            "SELECT tm.user_id, CASE ",
            $crate::delivery::suppressed!(""),
            "END AS reason
             FROM thread_members tm
             JOIN users u ON u.family_id = tm.family_id AND u.user_id = tm.user_id
             WHERE tm.family_id = $1 AND tm.thread_id = $2 AND tm.user_id <> $3 AND tm.status = 'active' "
        )
    };
}
pub(crate) use recipients;

/// The reason why the claim does not send the notification `n` about a message `m`; null if it does.
/// `allowed.regions` are the countries that the family's SMS may go to.
macro_rules! not_to_be_sent {
    () => {
        concat!(
            "CASE WHEN n.expires_at <= now() THEN 'expired'
                  WHEN tm.status <> 'active' THEN tm.status
                  WHEN m.deleted_at IS NOT NULL THEN 'message_deleted' ",
            // A mute does not apply to a requested link.
            $crate::delivery::suppressed!(" AND n.kind = 'message'"),
            "     WHEN u.phone_region <> ALL(allowed.regions) THEN 'region_not_allowed'
             END "
        )
    };
}
pub(crate) use not_to_be_sent;

/// The state of a claimed notification, by the `reason` against sending it.
macro_rules! claimed_state {
    () => {
        "CASE WHEN reason IS NULL THEN 'sending'
              WHEN reason = 'expired' THEN 'failed'
              WHEN reason IN ('message_deleted', 'invited', 'left', 'removed', 'banned')
                  THEN 'cancelled'
              ELSE 'suppressed'
         END "
    };
}
pub(crate) use claimed_state;

/// Whether a link may be sent to the user. Ignores mutes.
macro_rules! may_get_link {
    () => {
        "u.phone IS NOT NULL AND u.opted_out_at IS NULL "
    };
}
pub(crate) use may_get_link;
