-- Who did what, when, and from where. Written in the transaction of what it tells of, and never
-- changed: no role may, and a trigger refuses it even to the owner.

SET LOCAL lock_timeout = '5s';

CREATE TABLE audit_events (
    family_id text NOT NULL REFERENCES families,
    audit_event_id uuid NOT NULL DEFAULT uuid_v7(),
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL CHECK (actor IN ('host', 'member', 'browser', 'worker')),
    -- The member who acted: by a token, or by the link or session that a browser had.
    actor_id text,
    action text NOT NULL CHECK (action ~ '^[a-z]+\.[a-z]+$'),
    -- Whom and what it was about. Ids alone: no name, number, title or text ever stands here.
    user_id text,
    thread_id uuid,
    role text,
    source inet,
    PRIMARY KEY (family_id, audit_event_id)
);

ALTER TABLE audit_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_events FORCE ROW LEVEL SECURITY;
CREATE POLICY own_family ON audit_events FOR SELECT TO kinline_app
    USING (family_id = current_family());
CREATE POLICY note_own_family ON audit_events FOR INSERT TO kinline_app
    WITH CHECK (family_id = current_family());
CREATE POLICY note_every_family ON audit_events FOR INSERT TO kinline_worker WITH CHECK (true);
GRANT SELECT, INSERT ON audit_events TO kinline_app;
GRANT INSERT ON audit_events TO kinline_worker;

CREATE FUNCTION refuse_audit_change() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_events is append-only' USING ERRCODE = 'insufficient_privilege',
        HINT = 'Who has to by law: as its owner, and in one transaction, DISABLE TRIGGER append_only, '
               'change, ENABLE ALWAYS TRIGGER append_only; and write down elsewhere why.';
END
$$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
-- Also in a session that replays changes, where triggers sleep as a rule.
ALTER TABLE audit_events ENABLE ALWAYS TRIGGER append_only;
