//! SQL statements on the audit trail.

use sqlx::{FromRow, PgConnection, Row};

use super::{AuditCursor, AuditEvent, Event, Principal};
use crate::{
    Result,
    access::Role,
    ids::{AuditEventId, FamilyId, ThreadId},
};

/// Inserts the event `$12` with the action `$13` for the thread `created.thread_id` of the family `$2`: the
/// member `$8` created it with the members `$3`, from the address `$14`. In the statement that creates the
/// thread, since a statement of its own is a round trip more.
macro_rules! note_thread {
    () => {
        "INSERT INTO audit_events (family_id, audit_event_id, actor, actor_id, action, thread_id,
                                   member_ids, source)
         SELECT $2, $12, 'member', $8, $13, created.thread_id, $3, $14::text::inet FROM created "
    };
}
pub(crate) use note_thread;

/// Inserts `events` in order: ids made by one process are ascending.
pub(super) async fn insert(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    principal: &Principal,
    events: &[Event],
) -> Result<()> {
    let mut ids = Vec::with_capacity(events.len());
    let mut actors = Vec::with_capacity(events.len());
    let mut actions = Vec::with_capacity(events.len());
    let mut users = Vec::with_capacity(events.len());
    let mut threads: Vec<Option<ThreadId>> = Vec::with_capacity(events.len());
    let mut roles = Vec::with_capacity(events.len());
    for event in events {
        ids.push(AuditEventId::new());
        actors.push(principal.member_in(event).map(|id| id.as_str().to_owned()));
        actions.push(event.action.as_str());
        users.push(event.user_id.as_ref().map(|id| id.as_str().to_owned()));
        threads.push(event.thread_id);
        roles.push(event.role.map(Role::as_str));
    }
    sqlx::query(
        "INSERT INTO audit_events (family_id, audit_event_id, actor, actor_id, action, user_id,
                                   thread_id, role, source)
         SELECT $1, e.id, $2, e.actor_id, e.action, e.user_id, e.thread_id, e.role, $3::text::inet
         FROM unnest($4::uuid[], $5::text[], $6::text[], $7::text[], $8::uuid[], $9::text[])
                  AS e (id, actor_id, action, user_id, thread_id, role)",
    )
    .bind(family_id)
    .bind(principal.as_str())
    .bind(principal.source.map(|source| source.to_string()))
    .bind(ids)
    .bind(actors)
    .bind(actions)
    .bind(users)
    .bind(threads)
    .bind(roles)
    .execute(tx)
    .await?;
    Ok(())
}

/// Returns the events before `before`; `None` if the family does not exist. A family without events gives a
/// row of nulls.
pub(super) async fn list(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    before: Option<AuditCursor>,
    limit: usize,
) -> Result<Option<Vec<AuditEvent>>> {
    let rows = sqlx::query(
        "SELECT e.*
         FROM families f
         LEFT JOIN LATERAL (
             SELECT audit_event_id, at, actor, actor_id, action, user_id, thread_id, role,
                    member_ids, host(source) AS source
             FROM audit_events
             WHERE family_id = $1 AND audit_event_id < $2
             ORDER BY audit_event_id DESC LIMIT $3
         ) e ON true
         WHERE f.family_id = $1
         ORDER BY e.audit_event_id DESC",
    )
    .bind(family_id)
    // A greatest id in place of `$2 IS NULL OR …`: the generic plan would read all newer events.
    .bind(before.map_or(AuditEventId::from_bytes([u8::MAX; 16]), |cursor| cursor.event))
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(tx)
    .await?;
    let Some(first) = rows.first() else { return Ok(None) };
    if first.try_get::<Option<AuditEventId>, _>("audit_event_id")?.is_none() {
        return Ok(Some(Vec::new()));
    }
    Ok(Some(rows.iter().map(AuditEvent::from_row).collect::<Result<_, _>>()?))
}
