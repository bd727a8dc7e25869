-- Tells every gateway on this database at once what has changed (docs/DJANGO.md). Run it once, as the owner of the
-- tables: `psql DATABASE < push-postgresql.sql`; again after a migration that made one of the tables anew.
-- It adds functions and triggers and changes no table; nothing in the project has to know of it.
-- A message says what to forget, never what to believe, and holds the digest of a key, never the key.

CREATE OR REPLACE FUNCTION tokengate_token_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_notify('tokengate', 'token ' || encode(sha256(convert_to(OLD.key, 'UTF8')), 'hex'));
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_notify('tokengate', 'token ' || encode(sha256(convert_to(NEW.key, 'UTF8')), 'hex'));
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION tokengate_user_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('tokengate', 'user ' || OLD.id);
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION tokengate_membership_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_notify('tokengate', 'user ' || OLD.user_id);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_notify('tokengate', 'user ' || NEW.user_id);
    END IF;
    RETURN NULL;
END $$;

-- Of the sessions only those of gateways, which say whose they are.
CREATE OR REPLACE FUNCTION tokengate_session_ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('tokengate', 'user ' || split_part(OLD.session_data, ':', 3));
    RETURN NULL;
END $$;

-- Whatever gateways do not understand makes them forget everything.
CREATE OR REPLACE FUNCTION tokengate_much_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('tokengate', 'all');
    RETURN NULL;
END $$;

DROP TRIGGER IF EXISTS tokengate_token_changed ON authtoken_token;
CREATE TRIGGER tokengate_token_changed AFTER INSERT OR UPDATE OR DELETE ON authtoken_token
    FOR EACH ROW EXECUTE FUNCTION tokengate_token_changed();
DROP TRIGGER IF EXISTS tokengate_tokens_gone ON authtoken_token;
CREATE TRIGGER tokengate_tokens_gone AFTER TRUNCATE ON authtoken_token
    FOR EACH STATEMENT EXECUTE FUNCTION tokengate_much_changed();

-- Django writes all columns whenever it saves a user, as at each login: what neither upstreams nor sessions notice is no
-- change.
DROP TRIGGER IF EXISTS tokengate_user_changed ON auth_user;
CREATE TRIGGER tokengate_user_changed AFTER UPDATE ON auth_user FOR EACH ROW
    WHEN ((OLD.id, OLD.username, OLD.email, OLD.is_active, OLD.password)
        IS DISTINCT FROM (NEW.id, NEW.username, NEW.email, NEW.is_active, NEW.password))
    EXECUTE FUNCTION tokengate_user_changed();
DROP TRIGGER IF EXISTS tokengate_user_gone ON auth_user;
CREATE TRIGGER tokengate_user_gone AFTER DELETE ON auth_user
    FOR EACH ROW EXECUTE FUNCTION tokengate_user_changed();

DROP TRIGGER IF EXISTS tokengate_membership_changed ON auth_user_groups;
CREATE TRIGGER tokengate_membership_changed AFTER INSERT OR UPDATE OR DELETE ON auth_user_groups
    FOR EACH ROW EXECUTE FUNCTION tokengate_membership_changed();
DROP TRIGGER IF EXISTS tokengate_memberships_gone ON auth_user_groups;
CREATE TRIGGER tokengate_memberships_gone AFTER TRUNCATE ON auth_user_groups
    FOR EACH STATEMENT EXECUTE FUNCTION tokengate_much_changed();

DROP TRIGGER IF EXISTS tokengate_group_changed ON auth_group;
CREATE TRIGGER tokengate_group_changed AFTER UPDATE OF name ON auth_group
    FOR EACH STATEMENT EXECUTE FUNCTION tokengate_much_changed();

-- A project may keep its sessions elsewhere.
DO $$
BEGIN
    IF to_regclass('django_session') IS NOT NULL THEN
        DROP TRIGGER IF EXISTS tokengate_session_ended ON django_session;
        CREATE TRIGGER tokengate_session_ended AFTER UPDATE OR DELETE ON django_session
            FOR EACH ROW WHEN (OLD.session_data LIKE 'tokengate:%') EXECUTE FUNCTION tokengate_session_ended();
        DROP TRIGGER IF EXISTS tokengate_sessions_gone ON django_session;
        CREATE TRIGGER tokengate_sessions_gone AFTER TRUNCATE ON django_session
            FOR EACH STATEMENT EXECUTE FUNCTION tokengate_much_changed();
    END IF;
END $$;
