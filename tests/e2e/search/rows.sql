-- Sets the rows of the one thread to a state of the search, and reads them back. Message `n` was posted `n`
-- minutes after an hour ago: long enough ago for a sweep to clear `wake_at`.

CREATE FUNCTION posted_at(seq int) RETURNS timestamptz LANGUAGE sql STABLE AS
    $$ SELECT now() - interval '1 hour' + make_interval(mins => seq) $$;

-- Just after a message; null before the first.
CREATE FUNCTION just_after(seq int) RETURNS timestamptz LANGUAGE sql STABLE AS
    $$ SELECT CASE WHEN seq > 0 THEN posted_at(seq) + interval '1 second' END $$;

CREATE FUNCTION write_rows(
    posted int, deleted int, wake_in float8, read int, covered int, joined int, floor int, mute int,
    opted_out boolean, active boolean, states text[], waits int[], tokens uuid[], leases_over boolean[],
    expired boolean[], covers int[]
) RETURNS void LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    thread uuid := (SELECT thread_id FROM threads);
    family text := (SELECT family_id FROM threads);
BEGIN
    DELETE FROM sms_covers;
    DELETE FROM magic_links;
    DELETE FROM sms;
    DELETE FROM messages;
    DELETE FROM reach;
    UPDATE threads SET last_seq = posted, last_loud_seq = posted,
        last_message_at = CASE WHEN posted > 0 THEN posted_at(posted) END,
        last_loud_at = CASE WHEN posted > 0 THEN posted_at(posted) END,
        wake_at = now() + make_interval(secs => wake_in);
    INSERT INTO messages (family_id, thread_id, seq, message_id, author_id, body, queued_count, created_at,
                          deleted_at)
    SELECT family, thread, s, uuid_v7(), 'u0', 'm', 1, posted_at(s),
           CASE WHEN deleted & (1 << (s - 1)) <> 0 THEN now() END
    FROM generate_series(1, posted) s;
    UPDATE users u SET texts_from = just_after(floor),
        opted_out_at = CASE WHEN opted_out THEN now() END,
        deactivated_at = CASE WHEN NOT active THEN now() END
    WHERE u.user_id = 'u1';
    UPDATE thread_members tm SET status = CASE WHEN active THEN 'active' ELSE 'left' END,
        texts_from = NULL, joined_seq = joined,
        muted_until = CASE WHEN mute < 0 THEN now() + interval '8 hours' ELSE just_after(mute) END
    WHERE tm.user_id = 'u1';
    -- Without a row: nothing read, nothing covered.
    INSERT INTO reach (family_id, thread_id, user_id, last_read_seq, covered_seq)
    SELECT family, thread, u, r, c
    FROM (VALUES ('u0', posted, 0), ('u1', read, covered)) AS w (u, r, c)
    WHERE r > 0 OR c > 0;
    INSERT INTO sms (sms_id, family_id, thread_id, user_id, kind, state, attempts, next_attempt_at,
                     wake_at, lease_token, lease_until, expires_at)
    SELECT lpad(to_hex(i - 1), 32, '0')::uuid, family, thread, 'u1', 'message', states[i], 1,
           now() + make_interval(secs => CASE waits[i] WHEN 0 THEN 3600 ELSE -1 END),
           now() + make_interval(secs => CASE waits[i] WHEN 1 THEN -1 ELSE 3600 END),
           tokens[i],
           CASE WHEN states[i] = 'sending'
               THEN now() + make_interval(secs => CASE WHEN leases_over[i] THEN -1 ELSE 40 END) END,
           now() + make_interval(secs => CASE WHEN expired[i] THEN -1 ELSE 3600 END)
    FROM generate_series(1, cardinality(states)) i;
    INSERT INTO sms_covers (family_id, thread_id, user_id, from_seq, to_seq, sms_id, reason)
    SELECT family, thread, 'u1', s, s, CASE WHEN c >= 0 THEN lpad(to_hex(c), 32, '0')::uuid END,
           CASE WHEN c < 0 THEN 'read' END
    FROM unnest(covers) WITH ORDINALITY AS w (c, s) WHERE c IS NOT NULL;
END
$$;

CREATE FUNCTION read_rows() RETURNS TABLE (
    posted bigint, deleted bigint, wake_due boolean, read bigint, covered bigint, joined bigint, floor bigint,
    muted boolean, mute_after bigint, opted_out boolean, active boolean, states text[], retry_due boolean[],
    call_due boolean[], tokens uuid[], lease_over boolean[], expired boolean[], cover_from bigint[],
    cover_to bigint[], cover_by bigint[]
) LANGUAGE sql AS $$
    SELECT t.last_seq,
           (SELECT coalesce(sum(1 << (m.seq::int - 1)), 0) FROM messages m WHERE m.deleted_at IS NOT NULL),
           t.wake_at <= now(), coalesce(r.last_read_seq, 0), coalesce(r.covered_seq, 0), tm.joined_seq,
           (SELECT count(*) FROM messages m WHERE m.created_at <= greatest(u.texts_from, tm.texts_from)),
           tm.muted_until > now(),
           (SELECT count(*) FROM messages m WHERE m.created_at <= tm.muted_until),
           u.opted_out_at IS NOT NULL, tm.status = 'active',
           s.states, s.retry_due, s.call_due, s.tokens, s.lease_over, s.expired,
           c.cover_from, c.cover_to, c.cover_by
    FROM threads t, thread_members tm
    JOIN users u ON u.user_id = tm.user_id
    LEFT JOIN reach r ON r.user_id = tm.user_id
    CROSS JOIN LATERAL (
        SELECT coalesce(array_agg(state ORDER BY sms_id), '{}') AS states,
               coalesce(array_agg(next_attempt_at <= now() ORDER BY sms_id), '{}') AS retry_due,
               coalesce(array_agg(s.wake_at <= now() ORDER BY sms_id), '{}') AS call_due,
               coalesce(array_agg(lease_token ORDER BY sms_id), '{}') AS tokens,
               coalesce(array_agg(coalesce(lease_until < now(), false) ORDER BY sms_id), '{}') AS lease_over,
               coalesce(array_agg(expires_at <= now() ORDER BY sms_id), '{}') AS expired
        FROM sms s
    ) s
    CROSS JOIN LATERAL (
        SELECT coalesce(array_agg(from_seq ORDER BY to_seq), '{}') AS cover_from,
               coalesce(array_agg(to_seq ORDER BY to_seq), '{}') AS cover_to,
               coalesce(array_agg((SELECT count(*) - 1 FROM sms b WHERE c.sms_id >= b.sms_id AND c.sms_id IS NOT NULL)
                                  * CASE WHEN c.sms_id IS NOT NULL THEN 1 END
                                  ORDER BY to_seq), '{}') AS cover_by
        FROM sms_covers c
    ) c
    WHERE tm.user_id = 'u1'
$$;
