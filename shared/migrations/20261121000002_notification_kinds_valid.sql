-- Checks the rows that were there before; reads and writes go on meanwhile.

ALTER TABLE notifications VALIDATE CONSTRAINT notifications_kind;
