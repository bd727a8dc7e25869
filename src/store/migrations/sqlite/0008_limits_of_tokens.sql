-- How the use of a token is limited, and how often a user may send requests.

ALTER TABLE tokens ADD COLUMN read_only INTEGER NOT NULL DEFAULT 0 CHECK (read_only IN (0, 1));
-- Networks that it may be used from, such as '10.0.0.0/8,2001:db8::/32'; '': all.
ALTER TABLE tokens ADD COLUMN networks TEXT NOT NULL DEFAULT '';
-- It ends when it is not used for this number of days; NULL: it does not.
ALTER TABLE tokens ADD COLUMN unused_days INTEGER CHECK (unused_days BETWEEN 1 AND 3650);
-- How often it may be used, such as '600/min' or '600/min burst 100'; '': only the rates of routes apply.
ALTER TABLE tokens ADD COLUMN rate TEXT NOT NULL DEFAULT '';
-- Whether a login issued it for one device.
ALTER TABLE tokens ADD COLUMN device INTEGER NOT NULL DEFAULT 0 CHECK (device IN (0, 1));
ALTER TABLE users ADD COLUMN rate TEXT NOT NULL DEFAULT '';

CREATE INDEX tokens_that_end_unused ON tokens (id) WHERE unused_days IS NOT NULL AND revoked IS NULL;

DROP TRIGGER token_changed;
CREATE TRIGGER token_changed AFTER UPDATE OF id, digest, user_id, scopes, expires, revoked, disabled,
    read_only, networks, unused_days, rate ON tokens BEGIN
    INSERT INTO change_log (kind, digest, user_id)
    SELECT 'token', OLD.digest, OLD.user_id UNION SELECT 'token', NEW.digest, NEW.user_id;
END;

DROP TRIGGER user_changed;
CREATE TRIGGER user_changed AFTER UPDATE OF id, name, email, active, rate ON users BEGIN
    INSERT INTO change_log (kind, user_id) SELECT 'user', OLD.id UNION SELECT 'user', NEW.id;
END;

DROP VIEW token_details;
DROP VIEW user_details;

CREATE VIEW user_details AS
SELECT users.*,
       (SELECT json_group_array(groups.name)
        FROM user_groups JOIN groups ON groups.id = group_id
        WHERE user_id = users.id) AS group_names
FROM users;

CREATE VIEW token_details AS
SELECT tokens.*,
       owner.name AS owner_name, owner.email AS owner_email, owner.active AS owner_active,
       owner.group_names AS owner_groups, owner.rate AS owner_rate
FROM tokens JOIN user_details AS owner ON owner.id = tokens.user_id;
