-- What a family's texts have cost in a calendar month, for families that have a cap.

SET LOCAL lock_timeout = '5s';

CREATE TABLE sms_spending (
    family_id text NOT NULL REFERENCES families,
    -- Its first day, in UTC.
    month date NOT NULL CHECK (extract(day FROM month) = 1),
    -- Segments of texts that went out, may have gone out, or are about to.
    segments integer NOT NULL DEFAULT 0 CHECK (segments >= 0),
    PRIMARY KEY (family_id, month)
);

-- What was paid for this text, and when: a text that certainly did not go out gives it back.
ALTER TABLE notifications ADD COLUMN paid_segments integer, ADD COLUMN paid_month date;

ALTER TABLE sms_spending ENABLE ROW LEVEL SECURITY;
ALTER TABLE sms_spending FORCE ROW LEVEL SECURITY;
CREATE POLICY own_family ON sms_spending TO kinline_app
    USING (family_id = current_family()) WITH CHECK (family_id = current_family());
CREATE POLICY every_family ON sms_spending TO kinline_worker USING (true) WITH CHECK (true);
GRANT SELECT ON sms_spending TO kinline_app;
GRANT SELECT, INSERT, UPDATE ON sms_spending TO kinline_worker;
