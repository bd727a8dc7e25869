-- How the use of a token is limited, and how often a user may send requests.

ALTER TABLE tokens ADD COLUMN read_only BOOLEAN NOT NULL DEFAULT FALSE;
-- Networks that it may be used from, such as '10.0.0.0/8,2001:db8::/32'; '': all.
ALTER TABLE tokens ADD COLUMN networks TEXT NOT NULL DEFAULT '';
-- It ends when it is not used for this number of days; NULL: it does not.
ALTER TABLE tokens ADD COLUMN unused_days BIGINT CHECK (unused_days BETWEEN 1 AND 3650);
-- How often it may be used, such as '600/min' or '600/min burst 100'; '': only the rates of routes apply.
ALTER TABLE tokens ADD COLUMN rate TEXT NOT NULL DEFAULT '';
-- Whether a login issued it for one device.
ALTER TABLE tokens ADD COLUMN device BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE users ADD COLUMN rate TEXT NOT NULL DEFAULT '';

CREATE INDEX tokens_that_end_unused ON tokens (id) WHERE unused_days IS NOT NULL AND revoked IS NULL;

DROP TRIGGER a_turn ON tokens;
CREATE TRIGGER a_turn BEFORE INSERT OR DELETE OR UPDATE OF id, digest, user_id, scopes, expires, revoked, disabled,
    read_only, networks, unused_days, rate ON tokens
    FOR EACH STATEMENT EXECUTE FUNCTION tokengate_take_turn();
DROP TRIGGER token_changed ON tokens;
CREATE TRIGGER token_changed AFTER UPDATE OF id, digest, user_id, scopes, expires, revoked, disabled,
    read_only, networks, unused_days, rate ON tokens
    FOR EACH ROW EXECUTE FUNCTION tokengate_token_changed();

DROP TRIGGER a_turn ON users;
CREATE TRIGGER a_turn BEFORE INSERT OR DELETE OR UPDATE OF id, name, email, active, rate ON users
    FOR EACH STATEMENT EXECUTE FUNCTION tokengate_take_turn();
DROP TRIGGER user_changed ON users;
CREATE TRIGGER user_changed AFTER UPDATE OF id, name, email, active, rate ON users
    FOR EACH ROW EXECUTE FUNCTION tokengate_user_changed();

DROP VIEW token_details;
DROP VIEW user_details;

CREATE VIEW user_details AS
SELECT users.*,
       (SELECT coalesce(json_agg(groups.name), '[]')::TEXT
        FROM user_groups JOIN groups ON groups.id = group_id
        WHERE user_id = users.id) AS group_names
FROM users;

CREATE VIEW token_details AS
SELECT tokens.*,
       owner.name AS owner_name, owner.email AS owner_email, owner.active AS owner_active,
       owner.group_names AS owner_groups, owner.rate AS owner_rate
FROM tokens JOIN user_details AS owner ON owner.id = tokens.user_id;
