-- The core: families, people, threads, messages, notifications, links.
--
-- Every row belongs to a family, and a composite foreign key on each reference keeps a row from
-- pointing across families. Row-level security says the same once more, for roles that own nothing.

SET LOCAL lock_timeout = '5s';

-- Roles that own nothing. A login of the API or of the worker is a member of one of them.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['kinline_app', 'kinline_worker'] LOOP
        -- Roles belong to the server: another database of it may have made this one, even now.
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = wanted);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END LOOP;
END
$$;

-- UUIDv7 (RFC 9562, 5.7): 48 bits of milliseconds before the random bits, so that new rows go to
-- the end of their index. PostgreSQL has one of its own from version 18.
CREATE FUNCTION uuid_v7() RETURNS uuid
    LANGUAGE sql VOLATILE PARALLEL SAFE
    RETURN encode(
        set_bit(
            set_bit(
                overlay(
                    uuid_send(gen_random_uuid())
                    PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                    FROM 1 FOR 6
                ),
                52, 1
            ),
            53, 1
        ),
        'hex'
    )::uuid;

-- The family that this transaction works for; null, which equals nothing, when none is set.
-- After a commit a local setting reads '', not null.
CREATE FUNCTION current_family() RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('app.family_id', true), '');

CREATE TABLE families (
    family_id text PRIMARY KEY,
    name text NOT NULL,
    -- Null: no cap.
    sms_monthly_cap_segments integer CHECK (sms_monthly_cap_segments >= 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE users (
    family_id text NOT NULL REFERENCES families,
    user_id text NOT NULL,
    name text NOT NULL,
    -- E.164. Not unique: a household may share a phone.
    phone text CHECK (phone ~ '^\+[1-9][0-9]{1,14}$'),
    locale text,
    time_zone text,
    quiet_from time,
    quiet_to time,
    opted_out_at timestamptz,
    deactivated_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (family_id, user_id),
    CHECK ((quiet_from IS NULL) = (quiet_to IS NULL))
);

CREATE TABLE threads (
    thread_id uuid PRIMARY KEY,
    family_id text NOT NULL REFERENCES families,
    kind text NOT NULL CHECK (kind IN ('FAMILY', 'DM', 'GROUP')),
    title text NOT NULL,
    -- Hex SHA-256 of the sorted member ids joined with ','.
    member_key text NOT NULL,
    -- A thread that always was to be a new one is never found by its member key.
    is_distinct boolean NOT NULL,
    -- A thread numbers its messages: the statement that inserts one bumps this.
    last_seq bigint NOT NULL DEFAULT 0,
    last_message_at timestamptz,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (family_id, thread_id),
    FOREIGN KEY (family_id, created_by) REFERENCES users
);

CREATE UNIQUE INDEX threads_member_key ON threads (family_id, kind, member_key) WHERE NOT is_distinct;

CREATE TABLE thread_members (
    family_id text NOT NULL,
    thread_id uuid NOT NULL,
    user_id text NOT NULL,
    role text NOT NULL CHECK (role IN ('OWNER', 'ADMIN', 'MODERATOR', 'MEMBER', 'GUEST')),
    status text NOT NULL DEFAULT 'active'
        CHECK (status IN ('active', 'invited', 'left', 'removed', 'banned')),
    -- 'infinity': until they say otherwise.
    muted_until timestamptz,
    last_read_seq bigint NOT NULL DEFAULT 0,
    -- Carried by links and sessions: bumping it kills all of them at once.
    access_epoch integer NOT NULL DEFAULT 0,
    joined_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    PRIMARY KEY (family_id, thread_id, user_id),
    FOREIGN KEY (family_id, thread_id) REFERENCES threads (family_id, thread_id),
    FOREIGN KEY (family_id, user_id) REFERENCES users
);

CREATE INDEX thread_members_user ON thread_members (family_id, user_id) WHERE status = 'active';

CREATE TABLE messages (
    family_id text NOT NULL,
    thread_id uuid NOT NULL,
    seq bigint NOT NULL,
    message_id uuid NOT NULL,
    author_id text NOT NULL,
    body text,
    file_ids text[] NOT NULL DEFAULT '{}',
    reply_to_id uuid,
    idempotency_key text,
    request_hash bytea,
    -- How many recipients were to be texted: a replay answers what the first answer said.
    queued_count integer NOT NULL,
    created_at timestamptz NOT NULL,
    edited_at timestamptz,
    deleted_at timestamptz,
    PRIMARY KEY (thread_id, seq),
    CONSTRAINT messages_message_id UNIQUE (thread_id, message_id),
    FOREIGN KEY (family_id, thread_id, author_id) REFERENCES thread_members,
    CONSTRAINT messages_reply_to FOREIGN KEY (thread_id, reply_to_id) REFERENCES messages (thread_id, message_id)
);

CREATE UNIQUE INDEX messages_idempotency_key ON messages (thread_id, author_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

-- The outbox: a row commits with its message; the queue is only a wake-up call.
CREATE TABLE notifications (
    notification_id uuid PRIMARY KEY DEFAULT uuid_v7(),
    family_id text NOT NULL,
    thread_id uuid NOT NULL,
    message_id uuid NOT NULL,
    recipient_id text NOT NULL,
    state text NOT NULL CHECK (state IN (
        'pending', 'sending', 'sent', 'unknown', 'failed', 'suppressed', 'merged', 'held', 'cancelled'
    )),
    reason text,
    attempts integer NOT NULL DEFAULT 0,
    segments integer,
    carrier_message_id text,
    -- Who may record an outcome, and until when they are thought alive.
    lease_token uuid,
    lease_until timestamptz,
    -- Not to be sent before.
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    -- When the sweeper enqueues it (again), should no worker have taken it by then.
    wake_at timestamptz NOT NULL DEFAULT now() + interval '30 seconds',
    expires_at timestamptz NOT NULL DEFAULT now() + interval '24 hours',
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,
    opened_at timestamptz,
    read_at timestamptz,
    CONSTRAINT notifications_recipient UNIQUE (message_id, recipient_id),
    FOREIGN KEY (thread_id, message_id) REFERENCES messages (thread_id, message_id),
    FOREIGN KEY (family_id, thread_id, recipient_id) REFERENCES thread_members,
    CHECK ((state = 'sending') <= (lease_token IS NOT NULL AND lease_until IS NOT NULL))
)
-- Each row is updated twice within seconds of its birth.
WITH (fillfactor = 80);

-- What the sweeper looks for, and nothing else: finished rows are not in these.
CREATE INDEX notifications_waiting ON notifications (wake_at) WHERE state IN ('pending', 'held');
CREATE INDEX notifications_leased ON notifications (lease_until) WHERE state = 'sending';
-- What deactivating a member cancels.
CREATE INDEX notifications_open ON notifications (family_id, recipient_id) WHERE state IN ('pending', 'held');

CREATE TABLE magic_links (
    -- The token's jti: 64 random bits.
    jti bytea PRIMARY KEY CHECK (octet_length(jti) = 8),
    family_id text NOT NULL,
    thread_id uuid NOT NULL,
    user_id text NOT NULL,
    -- One link a notification: an attempt after a definite no replaces the one that never left.
    notification_id uuid UNIQUE REFERENCES notifications,
    access_epoch integer NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (family_id, thread_id, user_id) REFERENCES thread_members
);

CREATE INDEX magic_links_member ON magic_links (family_id, user_id) WHERE revoked_at IS NULL;

-- Row-level security, forced, so that it binds the owner as well.
DO $$
DECLARE
    tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY[
        'families', 'users', 'threads', 'thread_members', 'messages', 'notifications', 'magic_links'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format(
            'CREATE POLICY own_family ON %I TO kinline_app
             USING (family_id = current_family()) WITH CHECK (family_id = current_family())',
            tenant_table
        );
        -- The worker and the sweeper serve all families; their grants are narrow instead.
        EXECUTE format(
            'CREATE POLICY every_family ON %I TO kinline_worker USING (true) WITH CHECK (true)',
            tenant_table
        );
    END LOOP;
END
$$;

GRANT USAGE ON SCHEMA public TO kinline_app, kinline_worker;
GRANT SELECT, INSERT, UPDATE ON
    families, users, threads, thread_members, messages, notifications, magic_links
    TO kinline_app;
GRANT SELECT ON families, users, threads, thread_members, messages, notifications, magic_links
    TO kinline_worker;
GRANT UPDATE ON notifications TO kinline_worker;
GRANT INSERT, UPDATE ON magic_links TO kinline_worker;
GRANT UPDATE (opted_out_at, updated_at) ON users TO kinline_worker;
