CREATE TABLE names (name text PRIMARY KEY);
