-- Whose number it is, for who asks for a link. Of its own, so that nothing but changes to people
-- waits while it is built: a second for a million of them.

SET LOCAL lock_timeout = '5s';

CREATE INDEX users_phone ON users (phone) WHERE deactivated_at IS NULL;
