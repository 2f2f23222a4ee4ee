-- Which countries a family's texts may go to, and how fast a member may post.

SET LOCAL lock_timeout = '5s';

ALTER TABLE families
    -- The family's own country (ISO 3166-1), and where its texts may go; null: its own alone.
    ADD COLUMN region text,
    ADD COLUMN sms_regions text[];

ALTER TABLE users
    -- The country of the phone number. Null with a number from before this was kept, which goes on.
    ADD COLUMN phone_region text,
    -- When the member's next post would be due if they posted evenly (generic cell rate algorithm).
    ADD COLUMN post_due_at timestamptz;
