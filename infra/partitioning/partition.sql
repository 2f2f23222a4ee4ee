-- Splits messages, SMS and their covers into partitions, in one transaction: messages by hash of their
-- thread, SMS and covers by hash of their family, which a job names. docs/operations.md says when, and
-- what it costs. Run it as the owner of the schema, with API, worker and sweeper stopped:
--
--     psql "$DATABASE_URL" -v ON_ERROR_STOP=1 -c "SET kinline.partitions = 64" -f partition.sql
--
-- Columns, keys, indexes, policies and grants are taken from the tables as they are, so it does not
-- matter which migrations have run. A key that lacks its table's partition column gets it.

BEGIN;

SET LOCAL lock_timeout = '5s';
-- A query whose rows row-level security would filter fails instead.
SET LOCAL row_security = off;

-- Forced row-level security binds the owner too, which copies rows and checks references. It is
-- forced again at the end, before any other session sees the tables.
CREATE TEMPORARY TABLE forced ON COMMIT DROP AS
SELECT relname FROM pg_class
WHERE relnamespace = current_schema::regnamespace AND relkind IN ('r', 'p') AND relforcerowsecurity;
DO $$
DECLARE
    tbl name;
BEGIN
    FOR tbl IN SELECT relname FROM forced LOOP
        EXECUTE format('ALTER TABLE %I NO FORCE ROW LEVEL SECURITY', tbl);
    END LOOP;
END
$$;

CREATE FUNCTION pg_temp.partition(tbl text, by text, partitions integer) RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    old_oid oid := tbl::regclass;
    parts text := tbl || '_split';
    statement text;
    after_copy text[];
    storage text;
    copied bigint;
    kept bigint;
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = old_oid) = 'p' THEN
        RAISE EXCEPTION '% is partitioned already', tbl;
    END IF;
    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', tbl);
    SELECT array_to_string(reloptions, ', ') INTO storage FROM pg_class WHERE oid = old_oid;

    -- Created again, in this order: keys, other constraints, indexes, triggers, policies, grants, then
    -- the references of other tables to this one.
    SELECT array_agg(made ORDER BY place, made) INTO after_copy FROM (
        SELECT CASE WHEN contype IN ('p', 'u') THEN 1 ELSE 2 END AS place,
               format('ALTER TABLE %I ADD CONSTRAINT %I %s', tbl, conname,
                   CASE WHEN contype IN ('p', 'u') AND NOT EXISTS (
                            SELECT FROM pg_attribute a
                            WHERE a.attrelid = old_oid AND a.attnum = ANY (conkey) AND a.attname = by)
                        THEN regexp_replace(pg_get_constraintdef(oid), '\(', format('(%I, ', by))
                        ELSE pg_get_constraintdef(oid) END) AS made
        FROM pg_constraint
        WHERE conrelid = old_oid AND contype IN ('p', 'u', 'c', 'f') AND conparentid = 0
        UNION ALL
        SELECT 3, CASE WHEN i.indisunique AND NOT EXISTS (
                           SELECT FROM pg_attribute a
                           WHERE a.attrelid = old_oid AND a.attnum = ANY (i.indkey) AND a.attname = by)
                       THEN regexp_replace(pg_get_indexdef(i.indexrelid), '\(', format('(%I, ', by))
                       ELSE pg_get_indexdef(i.indexrelid) END
        FROM pg_index i
        WHERE i.indrelid = old_oid
          AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.conrelid = old_oid)
        UNION ALL
        SELECT 4, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = old_oid AND NOT tgisinternal
        UNION ALL
        SELECT 5, format('CREATE POLICY %I ON %I AS %s FOR %s TO %s', policyname, tbl, permissive, cmd,
                   array_to_string(ARRAY(SELECT quote_ident(r) FROM unnest(roles) r), ', '))
               || coalesce(' USING (' || qual || ')', '') || coalesce(' WITH CHECK (' || with_check || ')', '')
        FROM pg_policies WHERE schemaname = current_schema AND tablename = tbl
        UNION ALL
        SELECT 6, format('GRANT %s ON %I TO %s', g.privilege_type, tbl, g.grantee::regrole)
        FROM pg_class c, aclexplode(c.relacl) g WHERE c.oid = old_oid AND g.grantee <> c.relowner
        UNION ALL
        SELECT 6, format('GRANT %s (%I) ON %I TO %s', g.privilege_type, a.attname, tbl, g.grantee::regrole)
        FROM pg_attribute a, aclexplode(a.attacl) g WHERE a.attrelid = old_oid AND NOT a.attisdropped
        UNION ALL
        SELECT 7, format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname,
                   CASE WHEN EXISTS (
                            SELECT FROM pg_attribute a
                            WHERE a.attrelid = old_oid AND a.attnum = ANY (confkey) AND a.attname = by)
                        THEN pg_get_constraintdef(oid)
                        ELSE regexp_replace(pg_get_constraintdef(oid),
                            'FOREIGN KEY \((.*)\) REFERENCES ([^(]+)\(',
                            format('FOREIGN KEY (%I, \1) REFERENCES \2(%I, ', by, by)) END)
        FROM pg_constraint
        WHERE confrelid = old_oid AND contype = 'f' AND conrelid <> old_oid AND conparentid = 0
    ) everything;

    FOR statement IN
        SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname)
        FROM pg_constraint
        WHERE confrelid = old_oid AND contype = 'f' AND conrelid <> old_oid AND conparentid = 0
    LOOP
        EXECUTE statement;
    END LOOP;

    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING STORAGE '
        'INCLUDING COMMENTS) PARTITION BY HASH (%I)', parts, tbl, by);
    FOR remainder IN 0 .. partitions - 1 LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES WITH (MODULUS %s, REMAINDER %s)%s',
            format('%s_p%s', tbl, lpad(remainder::text, 3, '0')), parts, partitions, remainder,
            ' WITH (' || storage || ')');
    END LOOP;
    EXECUTE format('INSERT INTO %I SELECT * FROM %I', parts, tbl);
    GET DIAGNOSTICS copied = ROW_COUNT;
    EXECUTE format('SELECT count(*) FROM %I', tbl) INTO kept;
    IF copied <> kept THEN
        RAISE EXCEPTION '% rows of % were copied, of %', copied, tbl, kept;
    END IF;
    EXECUTE format('DROP TABLE %I', tbl);
    EXECUTE format('ALTER TABLE %I RENAME TO %I', parts, tbl);
    FOREACH statement IN ARRAY after_copy LOOP
        EXECUTE statement;
    END LOOP;

    -- Errors name the index of a partition, so it begins with the name that the code knows.
    FOR statement IN
        SELECT format('ALTER INDEX %s RENAME TO %I', child.oid::regclass,
                   parent.relname || substring(part.relname FROM '_p[0-9]+$'))
        FROM pg_inherits h
        JOIN pg_class child ON child.oid = h.inhrelid
        JOIN pg_class parent ON parent.oid = h.inhparent
        JOIN pg_index i ON i.indexrelid = child.oid
        JOIN pg_class part ON part.oid = i.indrelid
        WHERE (SELECT indrelid FROM pg_index WHERE indexrelid = parent.oid) = tbl::regclass
    LOOP
        EXECUTE statement;
    END LOOP;
    -- Row-level security without a policy keeps a partition from being read except through its table.
    INSERT INTO forced SELECT relname FROM pg_partition_tree(tbl::regclass) JOIN pg_class ON oid = relid
    WHERE isleaf;
    RAISE NOTICE '%: % rows in % partitions', tbl, copied, partitions;
END
$$;

SELECT pg_temp.partition('messages', 'thread_id', partitions),
       pg_temp.partition('sms', 'family_id', partitions),
       pg_temp.partition('sms_covers', 'family_id', partitions)
FROM (SELECT coalesce(nullif(current_setting('kinline.partitions', true), ''), '16')::integer) p (partitions);

DO $$
DECLARE
    tbl name;
BEGIN
    FOR tbl IN SELECT relname FROM forced LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', tbl);
    END LOOP;
END
$$;

COMMIT;

ANALYZE messages, sms, sms_covers;
