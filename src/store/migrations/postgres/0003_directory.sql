-- What lists of users and tokens are searched and sorted by, and the audit trail.

CREATE INDEX users_by_name ON users ((lower(name) COLLATE "C"), id);
CREATE INDEX users_by_email ON users ((lower(email) COLLATE "C"));
CREATE INDEX users_by_login ON users ((coalesce(last_login, 0)), id);
CREATE INDEX users_by_state_name ON users (active, (lower(name) COLLATE "C"), id);
CREATE INDEX users_by_state_login ON users (active, (coalesce(last_login, 0)), id);
CREATE INDEX users_by_state ON users (active, id);
CREATE INDEX users_privileged ON users ((lower(name) COLLATE "C"), id) WHERE staff OR superuser;

CREATE INDEX tokens_by_kind ON tokens (kind, id);
CREATE INDEX tokens_by_hint ON tokens ((hint COLLATE "C"), id);
CREATE INDEX tokens_kept ON tokens (id, kind, expires) WHERE revoked IS NULL;
CREATE INDEX tokens_by_use ON tokens ((coalesce(last_used, created)), id, kind, expires) WHERE revoked IS NULL;
CREATE INDEX tokens_by_end ON tokens (expires, id, kind) WHERE revoked IS NULL AND expires IS NOT NULL;
CREATE INDEX tokens_by_revocation ON tokens (revoked, id, kind) WHERE revoked IS NOT NULL;
CREATE INDEX tokens_by_exposure ON tokens (exposed, id, kind) WHERE exposed IS NOT NULL;

CREATE VIEW user_listing AS
SELECT id, lower(name) COLLATE "C" AS folded_name, lower(email) COLLATE "C" AS folded_email, active,
       staff OR superuser AS privileged, coalesce(last_login, 0) AS last_login
FROM users;

CREATE VIEW token_hints AS SELECT id, hint COLLATE "C" AS hint FROM tokens;

-- Ids and names stand beside each other without references: an entry outlives what it is about.
CREATE TABLE audit (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at           BIGINT NOT NULL,
    actor_id     BIGINT,
    actor        TEXT   NOT NULL,
    via          TEXT   NOT NULL,
    from_address TEXT   NOT NULL DEFAULT '',
    act          TEXT   NOT NULL,
    user_id      BIGINT,
    user_name    TEXT   NOT NULL DEFAULT '',
    token_id     BIGINT,
    detail       TEXT   NOT NULL DEFAULT ''
);

CREATE INDEX audit_by_actor ON audit (actor, id);
CREATE INDEX audit_by_act ON audit (act, id);
CREATE INDEX audit_of_user ON audit (user_id, id);
CREATE INDEX audit_of_token ON audit (token_id, id);
CREATE INDEX audit_at ON audit (at);

CREATE FUNCTION tokengate_audit_is_append_only() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'entries of the audit trail are never altered';
END
$$;

CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit
    FOR EACH ROW EXECUTE FUNCTION tokengate_audit_is_append_only();
CREATE TRIGGER audit_is_not_emptied BEFORE TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION tokengate_audit_is_append_only();
