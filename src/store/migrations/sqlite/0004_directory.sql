-- What lists of users and tokens are searched and sorted by, and the audit trail.

CREATE INDEX users_by_name ON users (lower(name), id);
CREATE INDEX users_by_email ON users (lower(email));
CREATE INDEX users_by_login ON users (coalesce(last_login, 0), id);
CREATE INDEX users_by_state_name ON users (active, lower(name), id);
CREATE INDEX users_by_state_login ON users (active, coalesce(last_login, 0), id);
CREATE INDEX users_by_state ON users (active, id);
CREATE INDEX users_privileged ON users (lower(name), id) WHERE staff OR superuser;

CREATE INDEX tokens_by_kind ON tokens (kind, id);
CREATE INDEX tokens_by_hint ON tokens (hint, id);
CREATE INDEX tokens_kept ON tokens (id, kind, expires) WHERE revoked IS NULL;
CREATE INDEX tokens_by_use ON tokens (coalesce(last_used, created), id, kind, expires) WHERE revoked IS NULL;
CREATE INDEX tokens_by_end ON tokens (expires, id, kind) WHERE revoked IS NULL AND expires IS NOT NULL;
CREATE INDEX tokens_by_revocation ON tokens (revoked, id, kind) WHERE revoked IS NOT NULL;
CREATE INDEX tokens_by_exposure ON tokens (exposed, id, kind) WHERE exposed IS NOT NULL;

CREATE VIEW user_listing AS
SELECT id, lower(name) AS folded_name, lower(email) AS folded_email, active, staff OR superuser AS privileged,
       coalesce(last_login, 0) AS last_login
FROM users;

CREATE VIEW token_hints AS SELECT id, hint FROM tokens;

-- Ids and names stand beside each other without references: an entry outlives what it is about.
CREATE TABLE audit (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    at           INTEGER NOT NULL,
    actor_id     INTEGER,
    actor        TEXT    NOT NULL,
    via          TEXT    NOT NULL,
    from_address TEXT    NOT NULL DEFAULT '',
    act          TEXT    NOT NULL,
    user_id      INTEGER,
    user_name    TEXT    NOT NULL DEFAULT '',
    token_id     INTEGER,
    detail       TEXT    NOT NULL DEFAULT ''
) STRICT;

CREATE INDEX audit_by_actor ON audit (actor, id);
CREATE INDEX audit_by_act ON audit (act, id);
CREATE INDEX audit_of_user ON audit (user_id, id);
CREATE INDEX audit_of_token ON audit (token_id, id);
CREATE INDEX audit_at ON audit (at);

CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'entries of the audit trail are never altered');
END;
