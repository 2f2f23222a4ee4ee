//! The rules for who is texted, as parts of SQL statements: `u` is the user, `tm` the user's membership of
//! the thread `t`, and `r` how far it has been reached, which may be null.

/// The branches of a `CASE` with the reasons against any SMS about a message.
macro_rules! suppressed {
    () => {
        "WHEN u.phone IS NULL THEN 'no_number'
         WHEN u.opted_out_at IS NOT NULL THEN 'opted_out'
         WHEN tm.muted_until > now() THEN 'muted' "
    };
}
pub(crate) use suppressed;

/// Selects, of the members of the thread `$2` except the author `$3`: how many are `queued` for an SMS about a
/// message, how many are `suppressed`, and who of the queued is `due` one now. For the others an SMS about the
/// thread is waiting, which covers the message, or being sent (`sending`): then another one follows.
macro_rules! recipients {
    () => {
        concat!(
            "SELECT count(*) FILTER (WHERE reason IS NULL) AS queued,
                    count(*) FILTER (WHERE reason IS NOT NULL) AS suppressed,
                    array_agg(user_id) FILTER (WHERE reason IS NULL AND open IS NULL) AS due,
                    array_agg(user_id) FILTER (WHERE reason IS NULL AND open = 'sending') AS sending
             FROM (
                 SELECT tm.user_id, s.state AS open, CASE ",
            $crate::delivery::suppressed!(),
            "    END AS reason
                 FROM thread_members tm
                 JOIN users u ON u.family_id = tm.family_id AND u.user_id = tm.user_id
                 LEFT JOIN LATERAL (
                     SELECT state FROM sms
                     WHERE family_id = $1 AND thread_id = $2 AND user_id = tm.user_id
                       AND kind = 'message' AND state IN ('pending', 'sending')
                     LIMIT 1
                 ) s ON true
                 WHERE tm.family_id = $1 AND tm.thread_id = $2 AND tm.user_id <> $3
                   AND tm.status = 'active'
             ) member "
        )
    };
}
pub(crate) use recipients;

/// Why a member who is not active gets nothing.
macro_rules! not_active {
    () => {
        "WHEN tm.status <> 'active'
             THEN CASE WHEN u.deactivated_at IS NULL THEN tm.status ELSE 'deactivated' END "
    };
}
pub(crate) use not_active;

/// The newest message that needs no further SMS: the member has read it, an SMS covers it, or it was posted
/// before the member joined.
macro_rules! mark {
    () => {
        "greatest(r.last_read_seq, r.covered_seq, tm.joined_seq)"
    };
}
pub(crate) use mark;

/// Messages posted at this time or before are owed to no one. A mute that ends needs no event.
macro_rules! floor {
    () => {
        "greatest(u.texts_from, tm.texts_from, tm.muted_until, now() - interval '72 hours')"
    };
}
pub(crate) use floor;

/// Whether the member is owed an SMS. Says so too often, for instance about a deleted message, never too
/// seldom; the claim decides.
macro_rules! owed {
    () => {
        concat!(
            "(tm.status = 'active' AND u.phone IS NOT NULL AND u.opted_out_at IS NULL
              AND t.last_loud_seq > ",
            $crate::delivery::mark!(),
            " AND t.last_loud_at > ",
            $crate::delivery::floor!(),
            ")"
        )
    };
}
pub(crate) use owed;

/// Whether a link may be sent to the user. Ignores mutes.
macro_rules! may_get_link {
    () => {
        "u.phone IS NOT NULL AND u.opted_out_at IS NULL "
    };
}
pub(crate) use may_get_link;

/// The countries that the SMS of the family `f` may go to; null for all.
macro_rules! regions {
    () => {
        "coalesce(f.sms_regions, CASE WHEN f.region <> '' THEN ARRAY[f.region] END)"
    };
}
pub(crate) use regions;

/// The state of a claimed SMS, by the `reason` against sending it.
macro_rules! claimed_state {
    () => {
        "CASE WHEN reason IS NULL THEN 'sending'
              WHEN reason = 'expired' THEN 'failed'
              WHEN reason IN ('read', 'message_deleted', 'deactivated', 'invited', 'left', 'removed',
                              'banned') THEN 'cancelled'
              ELSE 'suppressed'
         END"
    };
}
pub(crate) use claimed_state;
