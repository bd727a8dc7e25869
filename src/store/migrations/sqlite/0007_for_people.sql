-- Notes about tokens and their state, the days on which they were used, passwords that have to be changed, and the text
-- that users are searched by.

ALTER TABLE tokens ADD COLUMN note TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN disabled INTEGER;              -- since when; NULL: it is enabled
ALTER TABLE users ADD COLUMN must_change INTEGER NOT NULL DEFAULT 0 CHECK (must_change IN (0, 1));
-- Username, e-mail address and real name, folded by the gateway; NULL: not folded yet.
ALTER TABLE users ADD COLUMN search TEXT;
CREATE INDEX users_without_search ON users (id) WHERE search IS NULL;

CREATE TABLE token_days (
    token_id INTEGER NOT NULL REFERENCES tokens (id) ON DELETE CASCADE,
    day      INTEGER NOT NULL,                               -- days since 1970 in UTC
    PRIMARY KEY (token_id, day)
) STRICT, WITHOUT ROWID;

CREATE INDEX token_days_by_day ON token_days (day);

DROP TRIGGER token_changed;
CREATE TRIGGER token_changed AFTER UPDATE OF id, digest, user_id, scopes, expires, revoked, disabled ON tokens BEGIN
    INSERT INTO change_log (kind, digest, user_id)
    SELECT 'token', OLD.digest, OLD.user_id UNION SELECT 'token', NEW.digest, NEW.user_id;
END;

-- The gateway writes the text anew after each change of its own.
CREATE TRIGGER user_search_changed AFTER UPDATE OF name, email, first_name, last_name ON users BEGIN
    UPDATE users SET search = NULL WHERE id = NEW.id;
END;

DROP VIEW token_details;
DROP VIEW user_details;
DROP VIEW user_listing;

CREATE VIEW user_listing AS
SELECT id, lower(name) AS folded_name, active, staff OR superuser AS privileged,
       coalesce(last_login, 0) AS last_login,
       coalesce(search, lower(name || char(10) || email || char(10) || first_name || ' ' || last_name)) AS search
FROM users;

CREATE VIEW user_details AS
SELECT users.*,
       (SELECT json_group_array(groups.name)
        FROM user_groups JOIN groups ON groups.id = group_id
        WHERE user_id = users.id) AS group_names
FROM users;

CREATE VIEW token_details AS
SELECT tokens.*,
       owner.name AS owner_name, owner.email AS owner_email, owner.active AS owner_active,
       owner.group_names AS owner_groups
FROM tokens JOIN user_details AS owner ON owner.id = tokens.user_id;
