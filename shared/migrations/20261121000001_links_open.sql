-- Links open: sessions, fresh links, sign-in by text, and who was told how to opt out.

SET LOCAL lock_timeout = '5s';

-- What a caller without a token of the host application's presents, and that alone: the link that
-- they tapped, the browser that they came with. Each lets its holder see its own row, which says
-- whose family it is of.
CREATE FUNCTION current_link() RETURNS bytea
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN decode(nullif(current_setting('app.link', true), ''), 'hex');

CREATE FUNCTION current_browser() RETURNS bytea
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN decode(nullif(current_setting('app.browser', true), ''), 'hex');

-- A browser's access to one thread, as one member.
CREATE TABLE sessions (
    -- SHA-256 of what the cookie holds.
    browser bytea NOT NULL CHECK (octet_length(browser) = 32),
    family_id text NOT NULL,
    thread_id uuid NOT NULL,
    user_id text NOT NULL,
    access_epoch integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- When a link last opened it: of two people who share a browser, the one who tapped last.
    opened_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (browser, thread_id, user_id),
    FOREIGN KEY (family_id, thread_id, user_id) REFERENCES thread_members
);

CREATE INDEX sessions_member ON sessions (family_id, user_id);
-- What nobody has used for so long that it is over.
CREATE INDEX sessions_idle ON sessions (last_seen_at);

ALTER TABLE sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE sessions FORCE ROW LEVEL SECURITY;
CREATE POLICY own_family ON sessions TO kinline_app
    USING (family_id = current_family()) WITH CHECK (family_id = current_family());
CREATE POLICY every_family ON sessions TO kinline_worker USING (true) WITH CHECK (true);
CREATE POLICY own_browser ON sessions FOR SELECT TO kinline_app USING (browser = current_browser());
CREATE POLICY end_own_browser ON sessions FOR DELETE TO kinline_app
    USING (browser = current_browser());
CREATE POLICY own_link ON magic_links FOR SELECT TO kinline_app USING (jti = current_link());

-- The browser that a link opened in first; no other one opens it.
ALTER TABLE magic_links ADD COLUMN browser bytea;

-- A text that carries a fresh link is about no message.
ALTER TABLE notifications
    ADD COLUMN kind text NOT NULL DEFAULT 'message',
    ALTER COLUMN message_id DROP NOT NULL,
    -- Not checked for the rows that are there: that would hold the lock for as long as it takes.
    ADD CONSTRAINT notifications_kind CHECK (
        (kind = 'message' AND message_id IS NOT NULL) OR (kind = 'link' AND message_id IS NULL)
    ) NOT VALID;

-- When they were last told how to opt out.
ALTER TABLE users ADD COLUMN stop_notice_at timestamptz;

-- What may be done only so often: the times of what was done, the oldest first.
CREATE TABLE rate_limits (
    -- SHA-256 of what is limited: a number that somebody typed does not stand here in plain text.
    subject bytea PRIMARY KEY CHECK (octet_length(subject) = 32),
    hits timestamptz[] NOT NULL CHECK (cardinality(hits) > 0)
);

-- What no limit looks at any more.
CREATE INDEX rate_limits_latest ON rate_limits ((hits[array_upper(hits, 1)]));

-- Somebody gave a phone number to be sent a link. The API can't look it up, nor read this back: the
-- worker does, so that no answer tells a known number from another.
CREATE TABLE link_requests (
    link_request_id uuid PRIMARY KEY,
    phone text NOT NULL CHECK (phone ~ '^\+[1-9][0-9]{1,14}$'),
    -- When the sweeper enqueues it (again), should no worker have taken it by then.
    wake_at timestamptz NOT NULL DEFAULT now() + interval '30 seconds',
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX link_requests_waiting ON link_requests (wake_at);

-- These two belong to no family: whoever they are about is not known yet.
ALTER TABLE rate_limits ENABLE ROW LEVEL SECURITY;
ALTER TABLE rate_limits FORCE ROW LEVEL SECURITY;
ALTER TABLE link_requests ENABLE ROW LEVEL SECURITY;
ALTER TABLE link_requests FORCE ROW LEVEL SECURITY;
CREATE POLICY counting ON rate_limits TO kinline_app, kinline_worker USING (true) WITH CHECK (true);
CREATE POLICY asking ON link_requests FOR INSERT TO kinline_app WITH CHECK (true);
CREATE POLICY answering ON link_requests TO kinline_worker USING (true) WITH CHECK (true);

GRANT SELECT, INSERT, UPDATE, DELETE ON sessions TO kinline_app;
GRANT SELECT, INSERT, UPDATE ON rate_limits TO kinline_app;
GRANT INSERT ON link_requests TO kinline_app;
GRANT SELECT, UPDATE, DELETE ON sessions TO kinline_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON rate_limits TO kinline_worker;
GRANT SELECT, UPDATE, DELETE ON link_requests TO kinline_worker;
GRANT INSERT ON notifications TO kinline_worker;
GRANT UPDATE (stop_notice_at) ON users TO kinline_worker;
