-- Checks the rows that were there before; reads and writes go on meanwhile.

SET LOCAL lock_timeout = '5s';

ALTER TABLE notifications VALIDATE CONSTRAINT notifications_kind;
