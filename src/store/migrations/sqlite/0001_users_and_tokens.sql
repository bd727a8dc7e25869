-- Users, their groups and tokens, and the log of changes that running gateways read.
-- Times are microseconds since 1970 in UTC. Ids are never used twice, also not after a deletion.

CREATE TABLE users (
    id         INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id > 0),
    name       TEXT    NOT NULL COLLATE BINARY UNIQUE,
    email      TEXT    NOT NULL DEFAULT '',
    first_name TEXT    NOT NULL DEFAULT '',
    last_name  TEXT    NOT NULL DEFAULT '',
    password   TEXT    NOT NULL DEFAULT '!',  -- PHC string; '' or '!…': no password fits
    active     INTEGER NOT NULL DEFAULT 1 CHECK (active IN (0, 1)),
    staff      INTEGER NOT NULL DEFAULT 0 CHECK (staff IN (0, 1)),
    superuser  INTEGER NOT NULL DEFAULT 0 CHECK (superuser IN (0, 1)),
    created    INTEGER NOT NULL,
    last_login INTEGER
) STRICT;

CREATE TABLE groups (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT    NOT NULL COLLATE BINARY UNIQUE
) STRICT;

CREATE TABLE user_groups (
    user_id  INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    group_id INTEGER NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    PRIMARY KEY (user_id, group_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX user_groups_of_group ON user_groups (group_id);

CREATE TABLE tokens (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    digest    BLOB    NOT NULL UNIQUE CHECK (length(digest) = 32),  -- SHA-256 of the key
    sealed    BLOB,                                                 -- the key, readable with the key file only
    hint      TEXT    NOT NULL,
    user_id   INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind      TEXT    NOT NULL CHECK (kind IN ('login', 'named')),
    name      TEXT    NOT NULL DEFAULT '',
    scopes    TEXT    NOT NULL DEFAULT '',
    created   INTEGER NOT NULL,
    expires   INTEGER,
    revoked   INTEGER,
    last_used INTEGER,
    exposed   INTEGER,                                              -- when it was first sent in clear
    CHECK (kind = 'login' OR sealed IS NULL),
    CHECK (revoked IS NULL OR sealed IS NULL)
) STRICT;

CREATE INDEX tokens_of_user ON tokens (user_id);
CREATE UNIQUE INDEX one_login_token ON tokens (user_id) WHERE kind = 'login' AND revoked IS NULL;

-- What this store says of itself, such as the check value of the key file.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE change_log (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000),
    kind    TEXT    NOT NULL CHECK (kind IN ('token', 'user')),
    digest  BLOB,
    user_id INTEGER NOT NULL,
    CHECK ((kind = 'token') = (digest IS NOT NULL))
) STRICT;

-- Triggers write the log, so that no statement, not even one typed by hand, can change what a token means without it.

CREATE TRIGGER token_issued AFTER INSERT ON tokens BEGIN
    INSERT INTO change_log (kind, digest, user_id) VALUES ('token', NEW.digest, NEW.user_id);
END;

CREATE TRIGGER token_changed AFTER UPDATE OF id, digest, user_id, scopes, expires, revoked ON tokens BEGIN
    INSERT INTO change_log (kind, digest, user_id)
    SELECT 'token', OLD.digest, OLD.user_id UNION SELECT 'token', NEW.digest, NEW.user_id;
END;

CREATE TRIGGER token_deleted AFTER DELETE ON tokens BEGIN
    INSERT INTO change_log (kind, digest, user_id) VALUES ('token', OLD.digest, OLD.user_id);
END;

CREATE TRIGGER user_changed AFTER UPDATE OF id, name, email, active ON users BEGIN
    INSERT INTO change_log (kind, user_id) SELECT 'user', OLD.id UNION SELECT 'user', NEW.id;
END;

CREATE TRIGGER user_deleted AFTER DELETE ON users BEGIN
    INSERT INTO change_log (kind, user_id) VALUES ('user', OLD.id);
END;

CREATE TRIGGER group_joined AFTER INSERT ON user_groups BEGIN
    INSERT INTO change_log (kind, user_id) VALUES ('user', NEW.user_id);
END;

CREATE TRIGGER group_left AFTER DELETE ON user_groups BEGIN
    INSERT INTO change_log (kind, user_id) VALUES ('user', OLD.user_id);
END;

CREATE TRIGGER group_renamed AFTER UPDATE OF name ON groups BEGIN
    INSERT INTO change_log (kind, user_id) SELECT 'user', user_id FROM user_groups WHERE group_id = NEW.id;
END;

-- What a check and the lists read. Groups come as a JSON list, so that one statement sees one state of the store.

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
