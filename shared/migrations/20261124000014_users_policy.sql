-- Whose rows a statement may see is asked once a statement, not once for each author of a page: that
-- was a quarter of what a page of history takes the database. The same rows as before, by the same
-- setting, and what may be written is checked as it was.

SET LOCAL lock_timeout = '5s';

ALTER POLICY own_family ON users USING (family_id = (SELECT current_family()));
