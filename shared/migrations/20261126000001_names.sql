-- A title that was never given and the name of an erased user or family are null: no text stands for
-- "none". Answers and pages say something in its place.
--
-- An exception to expand and contract, since nothing is deployed yet: the version before can't read null,
-- and the three tables are locked while all of their rows are looked at. Where it does run, stop the API
-- and the worker first, and don't go back past this one.

SET LOCAL lock_timeout = '5s';

ALTER TABLE threads ALTER title DROP NOT NULL;
ALTER TABLE users ALTER name DROP NOT NULL;
ALTER TABLE families ALTER name DROP NOT NULL;

-- The owner has no policy, so its rows are shown to it for these updates alone. Until now the texts stood
-- for "none" wherever they occurred.
ALTER TABLE threads NO FORCE ROW LEVEL SECURITY;
ALTER TABLE users NO FORCE ROW LEVEL SECURITY;
ALTER TABLE families NO FORCE ROW LEVEL SECURITY;
UPDATE threads SET title = NULL
    WHERE title = CASE kind WHEN 'DM' THEN 'Direct Message' ELSE 'Family Chat' END;
UPDATE users SET name = NULL
    WHERE name = 'Former member' AND deactivated_at IS NOT NULL AND phone IS NULL;
UPDATE families SET name = NULL WHERE name = 'Former family' AND region IS NULL;
ALTER TABLE threads FORCE ROW LEVEL SECURITY;
ALTER TABLE users FORCE ROW LEVEL SECURITY;
ALTER TABLE families FORCE ROW LEVEL SECURITY;
