-- Which users and tokens came from another system, and from which: an import ends only what came from there.
-- `source` says where that is, without anything secret; '': an import before these tables were made.

CREATE TABLE imported_users (
    user_id INTEGER PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    source  TEXT NOT NULL
) STRICT;

CREATE TABLE imported_tokens (
    token_id INTEGER PRIMARY KEY REFERENCES tokens (id) ON DELETE CASCADE,
    source   TEXT NOT NULL
) STRICT;

INSERT INTO imported_users
SELECT DISTINCT user_id, '' FROM audit WHERE act = 'user_imported' AND user_id IN (SELECT id FROM users);

INSERT INTO imported_tokens
SELECT DISTINCT token_id, '' FROM audit
WHERE act = 'token_imported' AND token_id IN (
    SELECT tokens.id FROM tokens JOIN imported_users ON imported_users.user_id = tokens.user_id
);
