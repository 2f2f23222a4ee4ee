-- New threads are limited: their pace by member, their number by family. Both lie apart from `users` and
-- `families`: concurrent callers that create threads share the locks of their members, and an erasure locks
-- the family before its users. A row of either would make such transactions wait for each other in a circle.

SET LOCAL lock_timeout = '5s';

CREATE TABLE thread_paces (
    family_id text NOT NULL,
    -- The member that creates.
    user_id text NOT NULL,
    -- When the next new thread would be due at an even pace (generic cell rate algorithm).
    due_at timestamptz NOT NULL,
    PRIMARY KEY (family_id, user_id),
    FOREIGN KEY (family_id, user_id) REFERENCES users
);

CREATE TABLE thread_counts (
    family_id text PRIMARY KEY REFERENCES families,
    threads integer NOT NULL CHECK (threads > 0)
);

-- The owner has no policy, so the threads are shown to it for this count alone. Threads that the version
-- before creates from now on are not counted.
ALTER TABLE threads NO FORCE ROW LEVEL SECURITY;
INSERT INTO thread_counts SELECT family_id, count(*) FROM threads GROUP BY family_id;
ALTER TABLE threads FORCE ROW LEVEL SECURITY;

ALTER TABLE thread_paces ENABLE ROW LEVEL SECURITY;
ALTER TABLE thread_paces FORCE ROW LEVEL SECURITY;
ALTER TABLE thread_counts ENABLE ROW LEVEL SECURITY;
ALTER TABLE thread_counts FORCE ROW LEVEL SECURITY;
CREATE POLICY own_family ON thread_paces TO kinline_app
    USING (family_id = current_family()) WITH CHECK (family_id = current_family());
CREATE POLICY own_family ON thread_counts TO kinline_app
    USING (family_id = current_family()) WITH CHECK (family_id = current_family());
GRANT SELECT, INSERT, UPDATE, DELETE ON thread_paces TO kinline_app;
GRANT SELECT, INSERT, UPDATE ON thread_counts TO kinline_app;

-- A new thread is one event with its members. Events of before have none: each member has a `member.joined`.
ALTER TABLE audit_events ADD COLUMN member_ids text[];
