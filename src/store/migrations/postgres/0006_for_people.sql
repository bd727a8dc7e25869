-- Notes about tokens and their state, the days on which they were used, passwords that have to be changed, and the text
-- that users are searched by.

ALTER TABLE tokens ADD COLUMN note TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN disabled BIGINT;               -- since when; NULL: it is enabled
ALTER TABLE users ADD COLUMN must_change BOOLEAN NOT NULL DEFAULT FALSE;
-- Username, e-mail address and real name, folded by the gateway; NULL: not folded yet.
ALTER TABLE users ADD COLUMN search TEXT;
CREATE INDEX users_without_search ON users (id) WHERE search IS NULL;

CREATE TABLE token_days (
    token_id BIGINT NOT NULL REFERENCES tokens (id) ON DELETE CASCADE,
    day      BIGINT NOT NULL,                                -- days since 1970 in UTC
    PRIMARY KEY (token_id, day)
);

CREATE INDEX token_days_by_day ON token_days (day);

DROP TRIGGER a_turn ON tokens;
CREATE TRIGGER a_turn BEFORE INSERT OR DELETE OR UPDATE OF id, digest, user_id, scopes, expires, revoked, disabled ON tokens
    FOR EACH STATEMENT EXECUTE FUNCTION tokengate_take_turn();
DROP TRIGGER token_changed ON tokens;
CREATE TRIGGER token_changed AFTER UPDATE OF id, digest, user_id, scopes, expires, revoked, disabled ON tokens
    FOR EACH ROW EXECUTE FUNCTION tokengate_token_changed();

-- The gateway writes the text anew after each change of its own.
CREATE FUNCTION tokengate_user_search_changed() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    NEW.search := NULL;
    RETURN NEW;
END
$$;

CREATE TRIGGER user_search_changed BEFORE UPDATE OF name, email, first_name, last_name ON users
    FOR EACH ROW EXECUTE FUNCTION tokengate_user_search_changed();

DROP VIEW token_details;
DROP VIEW user_details;
DROP VIEW user_listing;

CREATE VIEW user_listing AS
SELECT id, lower(name) COLLATE "C" AS folded_name, active, staff OR superuser AS privileged,
       coalesce(last_login, 0) AS last_login,
       coalesce(search, lower(name || chr(10) || email || chr(10) || first_name || ' ' || last_name)) AS search
FROM users;

CREATE VIEW user_details AS
SELECT users.*,
       (SELECT coalesce(json_agg(groups.name), '[]')::TEXT
        FROM user_groups JOIN groups ON groups.id = group_id
        WHERE user_id = users.id) AS group_names
FROM users;

CREATE VIEW token_details AS
SELECT tokens.*,
       owner.name AS owner_name, owner.email AS owner_email, owner.active AS owner_active,
       owner.group_names AS owner_groups
FROM tokens JOIN user_details AS owner ON owner.id = tokens.user_id;
