//! Which SMS are sent, and why the others are not. As SQL, for the statements that decide it: of a
//! user `u`, who is the member `tm` of a thread.

/// The branches of a `CASE` for what stands against an SMS. A post asks them, and the claim asks them
/// again. `$if_muted` is a further condition on a mute.
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

/// The members of the thread `$2` but for the author `$3`, each with the reason why a message brings
/// them no SMS; null when it does.
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

/// Why the notification `n` about a message `m` is not sent when it is claimed; null when it is.
/// `allowed.regions` is where its family's SMS may go.
macro_rules! not_to_be_sent {
    () => {
        concat!(
            "CASE WHEN n.expires_at <= now() THEN 'expired'
                  WHEN tm.status <> 'active' THEN tm.status
                  WHEN m.deleted_at IS NOT NULL THEN 'message_deleted' ",
            // A link that was asked for is wanted, mute or not.
            $crate::delivery::suppressed!(" AND n.kind = 'message'"),
            "     WHEN u.phone_region <> ALL(allowed.regions) THEN 'region_not_allowed'
             END "
        )
    };
}
pub(crate) use not_to_be_sent;

/// Where a claimed notification goes, by the `reason` that stands against sending it.
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

/// Whether a link may be sent to the user: a mute does not count.
macro_rules! may_get_link {
    () => {
        "u.phone IS NOT NULL AND u.opted_out_at IS NULL "
    };
}
pub(crate) use may_get_link;
