-- Sessions of browsers. What a session means is looked up like a token, and ends through the same log.

CREATE TABLE sessions (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    digest  BLOB    NOT NULL UNIQUE CHECK (length(digest) = 32),  -- of the key in the cookie; never that of a token
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT;

CREATE INDEX sessions_of_user ON sessions (user_id);
CREATE INDEX sessions_by_end ON sessions (expires);

CREATE TRIGGER session_changed AFTER UPDATE ON sessions BEGIN
    INSERT INTO change_log (kind, digest, user_id)
    SELECT 'token', OLD.digest, OLD.user_id UNION SELECT 'token', NEW.digest, NEW.user_id;
END;

CREATE TRIGGER session_ended AFTER DELETE ON sessions BEGIN
    INSERT INTO change_log (kind, digest, user_id) VALUES ('token', OLD.digest, OLD.user_id);
END;

-- A new password and a user who is switched off end all sessions, whoever writes it.

CREATE TRIGGER password_changed AFTER UPDATE OF password ON users WHEN NEW.password <> OLD.password BEGIN
    DELETE FROM sessions WHERE user_id = NEW.id;
END;

CREATE TRIGGER user_switched_off AFTER UPDATE OF active ON users WHEN NOT NEW.active BEGIN
    DELETE FROM sessions WHERE user_id = NEW.id;
END;
