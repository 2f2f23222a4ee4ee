-- Reach is a state, an SMS is an event. A post writes nothing for each recipient: how far a member of a
-- thread has been reached stands in `reach`, an SMS is a row when one is about to be sent, and
-- `threads.wake_at` finds what was never enqueued. `notifications` goes, with its rows carried over.
--
-- An exception to expand and contract, since nothing is deployed yet: the version before writes the table
-- that goes. Where it does run, stop the API, the worker and the sweeper first, and don't go back past this
-- migration.

SET LOCAL lock_timeout = '5s';

ALTER TABLE threads
    -- The newest message that may text people.
    ADD COLUMN last_loud_seq bigint NOT NULL DEFAULT 0,
    ADD COLUMN last_loud_at timestamptz,
    -- When the sweeper looks at the thread next; null: nothing is owed, and no SMS is open.
    ADD COLUMN wake_at timestamptz;

-- Each post updates a row of both. Room on the page keeps their indexes as they are.
ALTER TABLE threads SET (fillfactor = 80);
ALTER TABLE users SET (fillfactor = 80);

-- A family's own rate of SMS; null: the system's.
ALTER TABLE families ADD COLUMN sms_per_minute integer CHECK (sms_per_minute >= 0);

-- Nothing posted before is owed: a new number, an opt-out that ended, a reactivation sets it.
ALTER TABLE users ADD COLUMN texts_from timestamptz;

ALTER TABLE thread_members
    -- The same in one thread: the end of a mute, rejoining sets it.
    ADD COLUMN texts_from timestamptz,
    -- The thread's newest message when they joined and when they left.
    ADD COLUMN joined_seq bigint NOT NULL DEFAULT 0,
    ADD COLUMN left_seq bigint,
    -- Until when no SMS about the thread follows the one before, and the step of the pauses' growth.
    ADD COLUMN paused_until timestamptz,
    ADD COLUMN pause_step smallint NOT NULL DEFAULT 0;

-- How far a member of a thread has been reached. Apart from `thread_members`, which each post reads for all
-- members: this changes with each text, each reading and each post. No row: nothing read, nothing covered.
CREATE TABLE reach (
    family_id text NOT NULL,
    thread_id uuid NOT NULL,
    user_id text NOT NULL,
    last_read_seq bigint NOT NULL DEFAULT 0,
    -- When that last moved by reading.
    read_at timestamptz,
    -- The newest message that a row of `sms_covers` decides. Only a claim moves it, only forward.
    covered_seq bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (family_id, thread_id, user_id),
    FOREIGN KEY (family_id, thread_id, user_id) REFERENCES thread_members
)
WITH (fillfactor = 70);

CREATE TABLE sms (
    sms_id uuid NOT NULL,
    family_id text NOT NULL,
    thread_id uuid NOT NULL,
    user_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('message', 'link')),
    state text NOT NULL CHECK (state IN (
        'pending', 'sending', 'sent', 'unknown', 'failed', 'suppressed', 'cancelled'
    )),
    reason text,
    attempts integer NOT NULL DEFAULT 0,
    -- Not to be sent before.
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    -- When the sweeper enqueues it (again), should no worker have taken it by then.
    wake_at timestamptz NOT NULL DEFAULT now() + interval '30 seconds',
    -- Who may record an outcome, and until when they are thought alive.
    lease_token uuid,
    lease_until timestamptz,
    segments integer,
    paid_segments integer,
    paid_month date,
    carrier_message_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,
    opened_at timestamptz,
    expires_at timestamptz NOT NULL,
    -- The id first: it begins with the time, so new rows go to the end, and old ones are found there.
    PRIMARY KEY (sms_id, family_id),
    FOREIGN KEY (family_id, thread_id, user_id) REFERENCES thread_members,
    CHECK ((state = 'sending') <= (lease_token IS NOT NULL AND lease_until IS NOT NULL))
)
-- Each row is updated within seconds of its birth.
WITH (fillfactor = 80);

CREATE INDEX sms_open ON sms (family_id, thread_id, user_id) WHERE state IN ('pending', 'sending');
-- What the sweeper looks for, and nothing else.
CREATE INDEX sms_waiting ON sms (family_id, wake_at) WHERE state = 'pending';
CREATE INDEX sms_leased ON sms (lease_until) WHERE state = 'sending';

-- Which messages an SMS stands for, a row for each range. Without an SMS: why there was none.
CREATE TABLE sms_covers (
    family_id text NOT NULL,
    thread_id uuid NOT NULL,
    user_id text NOT NULL,
    to_seq bigint NOT NULL,
    from_seq bigint NOT NULL,
    sms_id uuid,
    reason text,
    created_at timestamptz NOT NULL DEFAULT now(),
    read_at timestamptz,
    PRIMARY KEY (family_id, thread_id, user_id, to_seq),
    FOREIGN KEY (family_id, thread_id, user_id) REFERENCES thread_members,
    FOREIGN KEY (family_id, sms_id) REFERENCES sms (family_id, sms_id),
    CHECK (from_seq <= to_seq),
    CHECK (sms_id IS NOT NULL OR reason IS NOT NULL)
);

CREATE INDEX sms_covers_of_sms ON sms_covers (sms_id, family_id) WHERE sms_id IS NOT NULL;
CREATE INDEX sms_covers_without_sms ON sms_covers (created_at) WHERE sms_id IS NULL;

-- A family's pace of SMS (generic cell rate algorithm).
CREATE TABLE sms_pace (
    family_id text PRIMARY KEY REFERENCES families,
    -- When the next SMS would be due if they were sent evenly.
    due_at timestamptz NOT NULL,
    -- From when on there is a slot.
    open_at timestamptz NOT NULL,
    -- Seconds between two SMS, and how many the last claim was granted.
    every double precision NOT NULL,
    granted integer NOT NULL
)
WITH (fillfactor = 50);

-- The owner has no policy: its rows are shown to it while they are carried over.
DO $$
DECLARE
    old_table text;
BEGIN
    FOREACH old_table IN ARRAY ARRAY[
        'notifications', 'messages', 'threads', 'thread_members', 'magic_links', 'users'
    ] LOOP
        EXECUTE format('ALTER TABLE %I NO FORCE ROW LEVEL SECURITY', old_table);
    END LOOP;
END
$$;

INSERT INTO sms (sms_id, family_id, thread_id, user_id, kind, state, reason, attempts, next_attempt_at,
                 wake_at, lease_token, lease_until, segments, paid_segments, paid_month,
                 carrier_message_id, created_at, sent_at, opened_at, expires_at)
SELECT notification_id, family_id, thread_id, recipient_id, kind,
       CASE state WHEN 'held' THEN 'pending' WHEN 'merged' THEN 'cancelled' ELSE state END, reason,
       attempts, next_attempt_at, wake_at, lease_token, lease_until, segments, paid_segments, paid_month,
       carrier_message_id, created_at, sent_at, opened_at, expires_at
FROM notifications;

INSERT INTO sms_covers (family_id, thread_id, user_id, to_seq, from_seq, sms_id, created_at, read_at)
SELECT n.family_id, n.thread_id, n.recipient_id, m.seq, m.seq, n.notification_id, n.created_at, n.read_at
FROM notifications n
JOIN messages m ON m.family_id = n.family_id AND m.thread_id = n.thread_id AND m.message_id = n.message_id;

INSERT INTO reach (family_id, thread_id, user_id, last_read_seq, covered_seq)
SELECT tm.family_id, tm.thread_id, tm.user_id, tm.last_read_seq, t.last_seq
FROM thread_members tm
JOIN threads t ON t.family_id = tm.family_id AND t.thread_id = tm.thread_id
WHERE t.last_seq > 0;

UPDATE threads SET last_loud_seq = last_seq, last_loud_at = last_message_at WHERE last_seq > 0;
-- The sweeper looks at a thread as long as one of its SMS is open.
UPDATE threads t SET wake_at = now()
WHERE EXISTS (SELECT FROM sms s WHERE s.family_id = t.family_id AND s.thread_id = t.thread_id
                AND s.state IN ('pending', 'sending'));
UPDATE thread_members tm SET left_seq = t.last_seq
FROM threads t
WHERE t.family_id = tm.family_id AND t.thread_id = tm.thread_id AND tm.status <> 'active';

ALTER TABLE magic_links DROP CONSTRAINT magic_links_notification_id_fkey;
ALTER TABLE magic_links RENAME notification_id TO sms_id;
ALTER TABLE magic_links RENAME CONSTRAINT magic_links_notification_id_key TO magic_links_sms_id_key;
ALTER TABLE magic_links ADD CONSTRAINT magic_links_sms
    FOREIGN KEY (family_id, sms_id) REFERENCES sms (family_id, sms_id);

DROP TABLE notifications;
ALTER TABLE thread_members DROP COLUMN last_read_seq;

DO $$
DECLARE
    tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY['messages', 'threads', 'thread_members', 'magic_links', 'users'] LOOP
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', tenant_table);
    END LOOP;
    FOREACH tenant_table IN ARRAY ARRAY['reach', 'sms', 'sms_covers', 'sms_pace'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format(
            'CREATE POLICY own_family ON %I TO kinline_app
             USING (family_id = (SELECT current_family())) WITH CHECK (family_id = current_family())',
            tenant_table
        );
        EXECUTE format(
            'CREATE POLICY every_family ON %I TO kinline_worker USING (true) WITH CHECK (true)',
            tenant_table
        );
    END LOOP;
END
$$;

-- Sweeps go round by families.
CREATE INDEX threads_waking ON threads (family_id, wake_at) WHERE wake_at IS NOT NULL;

GRANT SELECT, INSERT, UPDATE ON reach TO kinline_app, kinline_worker;
GRANT SELECT ON sms, sms_covers, sms_pace TO kinline_app;
-- A requested link, and that one was opened.
GRANT INSERT ON sms TO kinline_app;
GRANT UPDATE (opened_at, next_attempt_at, wake_at) ON sms TO kinline_app;
GRANT UPDATE (read_at) ON sms_covers TO kinline_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON sms, sms_covers TO kinline_worker;
GRANT SELECT, INSERT, UPDATE ON sms_pace TO kinline_worker;
GRANT UPDATE (wake_at) ON threads TO kinline_worker;
-- Also what lets a claim lock a member.
GRANT UPDATE (paused_until, pause_step) ON thread_members TO kinline_worker;
