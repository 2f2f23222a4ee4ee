-- Inserts a message with its number, and reads the other members: what a post can't do without.
-- The benchmark runs it by pgbench beside posts. Change it with the schema.
WITH numbered AS (
    UPDATE threads SET last_seq = last_seq + 1, last_message_at = now()
    WHERE family_id = :family AND thread_id = :thread
    RETURNING last_seq
), posted AS (
    INSERT INTO messages (family_id, thread_id, seq, message_id, author_id, body, queued_count, created_at)
    SELECT :family, :thread, last_seq, gen_random_uuid(), :author,
           'Bring the albums on Sunday, will you?', 1, now()
    FROM numbered
    RETURNING message_id
)
SELECT message_id, tm.user_id
FROM posted, thread_members tm
WHERE tm.family_id = :family AND tm.thread_id = :thread AND tm.user_id <> :author
  AND tm.status = 'active'
