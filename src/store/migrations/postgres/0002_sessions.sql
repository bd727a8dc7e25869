-- Sessions of browsers. What a session means is looked up like a token, and ends through the same log.

CREATE TABLE sessions (
    id      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest  BYTEA  NOT NULL UNIQUE CHECK (octet_length(digest) = 32),  -- of the key in the cookie; never that of a token
    user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL
);

CREATE INDEX sessions_of_user ON sessions (user_id);
CREATE INDEX sessions_by_end ON sessions (expires);

-- One change at a time, as for tokens. A new password ends sessions, so that it waits for its turn as well.

CREATE TRIGGER a_turn BEFORE INSERT OR DELETE OR UPDATE ON sessions
    FOR EACH STATEMENT EXECUTE FUNCTION tokengate_take_turn();
CREATE TRIGGER a_turn_for_passwords BEFORE UPDATE OF password ON users
    FOR EACH STATEMENT EXECUTE FUNCTION tokengate_take_turn();

CREATE TRIGGER session_changed AFTER UPDATE ON sessions
    FOR EACH ROW EXECUTE FUNCTION tokengate_token_changed();
CREATE TRIGGER session_ended AFTER DELETE ON sessions
    FOR EACH ROW EXECUTE FUNCTION tokengate_token_changed();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON sessions FOR EACH STATEMENT EXECUTE FUNCTION tokengate_no_truncate();

-- A new password and a user who is switched off end all sessions, whoever writes it.

CREATE FUNCTION tokengate_end_sessions() RETURNS TRIGGER LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM sessions WHERE user_id = NEW.id;
    RETURN NULL;
END
$$;

CREATE TRIGGER password_changed AFTER UPDATE OF password ON users
    FOR EACH ROW WHEN (NEW.password <> OLD.password) EXECUTE FUNCTION tokengate_end_sessions();
CREATE TRIGGER user_switched_off AFTER UPDATE OF active ON users
    FOR EACH ROW WHEN (NOT NEW.active) EXECUTE FUNCTION tokengate_end_sessions();
