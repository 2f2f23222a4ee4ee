-- What the sweeper drops in time, and how it finds that without an index of its own.

SET LOCAL lock_timeout = '5s';

-- The least UUIDv7 of a moment: ids below it were made before.
CREATE FUNCTION uuid_v7_floor(at timestamptz) RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN encode(
        overlay(
            decode(repeat('00', 16), 'hex')
            PLACING substring(int8send((extract(epoch FROM at) * 1000)::bigint) FROM 3)
            FROM 1 FOR 6
        ),
        'hex'
    )::uuid;

-- Where the sweeper is on its round through the threads that hold idempotency keys.
CREATE TABLE sweeper_rounds (
    name text PRIMARY KEY,
    thread_id uuid NOT NULL
);
INSERT INTO sweeper_rounds VALUES ('idempotency_keys', '00000000-0000-0000-0000-000000000000');

ALTER TABLE sweeper_rounds ENABLE ROW LEVEL SECURITY;
ALTER TABLE sweeper_rounds FORCE ROW LEVEL SECURITY;
CREATE POLICY sweeping ON sweeper_rounds TO kinline_worker USING (true) WITH CHECK (true);
GRANT SELECT, UPDATE ON sweeper_rounds TO kinline_worker;
GRANT DELETE ON notifications, magic_links TO kinline_worker;
