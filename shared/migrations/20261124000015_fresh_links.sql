-- The link that is on its way to a member already, which whoever asks for another one gets in its
-- place: until now all notifications were read to find it, 160 ms on ten million messages. Few rows are
-- ever in this, none for long. Built in one reading of the table, for which posts wait.

SET LOCAL lock_timeout = '5s';

CREATE INDEX notifications_fresh_links ON notifications (family_id, recipient_id)
    WHERE kind = 'link' AND state IN ('pending', 'sending');
