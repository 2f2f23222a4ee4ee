-- What people asked to be forgotten: which messages still hold a text that is to go, and what was
-- asked for under a phone number.

SET LOCAL lock_timeout = '5s';

-- A stretch of a thread whose messages are still to lose what somebody wrote. Gone when it is done.
CREATE TABLE erasures (
    erasure_id uuid PRIMARY KEY DEFAULT uuid_v7(),
    family_id text NOT NULL,
    thread_id uuid NOT NULL,
    -- Whose messages; null: everybody's.
    user_id text,
    -- Up to which number it is done, and up to which it goes: what is posted later is not meant.
    done_seq bigint NOT NULL DEFAULT 0,
    up_to_seq bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT erasures_stretch UNIQUE NULLS NOT DISTINCT (family_id, thread_id, user_id),
    FOREIGN KEY (family_id, thread_id) REFERENCES threads (family_id, thread_id)
);

ALTER TABLE erasures ENABLE ROW LEVEL SECURITY;
ALTER TABLE erasures FORCE ROW LEVEL SECURITY;
CREATE POLICY own_family ON erasures TO kinline_app
    USING (family_id = current_family()) WITH CHECK (family_id = current_family());
CREATE POLICY every_family ON erasures TO kinline_worker USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON erasures TO kinline_app;
GRANT SELECT, UPDATE, DELETE ON erasures TO kinline_worker;
GRANT UPDATE (body, file_ids, idempotency_key, request_hash, deleted_at) ON messages
    TO kinline_worker;
GRANT DELETE ON magic_links TO kinline_app;
GRANT DELETE ON rate_limits TO kinline_app;

-- The numbers that this transaction forgets. Who names a number may drop what was asked for it, and
-- can still not read whether there was anything.
CREATE FUNCTION current_phones() RETURNS text[]
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN string_to_array(nullif(current_setting('app.phones', true), ''), ',');

CREATE POLICY forgetting ON link_requests FOR DELETE TO kinline_app
    USING (phone = ANY(current_phones()));
GRANT DELETE ON link_requests TO kinline_app;

-- From where somebody asked for a link: the trail is told once it is known whose number it was.
ALTER TABLE link_requests ADD COLUMN source inet;

-- A member's links, those of an earlier deactivation included.
CREATE INDEX magic_links_of_member ON magic_links (family_id, user_id);
DROP INDEX magic_links_member;
