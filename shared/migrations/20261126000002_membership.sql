-- A membership is found by its whole key. Generic plans of posting and reading took the index of a user's
-- threads, which did not have the thread: every request read all memberships of its caller.

SET LOCAL lock_timeout = '5s';

CREATE INDEX thread_members_of_user ON thread_members (family_id, user_id, thread_id)
    WHERE status = 'active';
DROP INDEX thread_members_user;
