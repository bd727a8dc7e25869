-- Notifies all gateways on this database of changes as they happen (docs/DJANGO.md). Adds functions and triggers; changes no
-- table. A notification names what to evict from caches. It contains the digest of a key, never the key, and cannot grant access.
--
-- Run it as the owner of the tables, and again after a migration that recreated one of them:
--
--     tokengate django triggers | psql DATABASE        for the tables and columns of `gateway.toml`
--     psql DATABASE < push-postgresql.sql              for those of a stock project
--
-- It is a single statement: it creates everything or, after an error, nothing.

DO $tokengate$
DECLARE
    -- Other names are set with `SET tokengate.user_table = '...'` and so on, before this statement.
    token_table   regclass := coalesce(nullif(current_setting('tokengate.token_table', true), ''), 'authtoken_token');
    user_table    regclass := coalesce(nullif(current_setting('tokengate.user_table', true), ''), 'auth_user');
    group_table   regclass := coalesce(nullif(current_setting('tokengate.group_table', true), ''), 'auth_group');
    member_table  regclass := coalesce(nullif(current_setting('tokengate.membership_table', true), ''), 'auth_user_groups');
    member_column name     := coalesce(nullif(current_setting('tokengate.membership_user_column', true), ''), 'user_id');
    session_table regclass := to_regclass(coalesce(nullif(current_setting('tokengate.session_table', true), ''), 'django_session'));
    -- Columns with the time or place of the last use. They change often and affect no decision.
    quiet CONSTANT text := '{last_login,last_used,last_used_at,last_used_ip,last_seen,last_activity}';
    wanted record;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES (token_table, 'key'), (token_table, 'user_id'), (user_table, 'id'), (group_table, 'name'),
                              (member_table, member_column::text)) AS columns (of_table, name)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = wanted.of_table AND attname = wanted.name AND NOT attisdropped) THEN
            RAISE EXCEPTION 'table % has no column %', wanted.of_table, wanted.name;
        END IF;
    END LOOP;

    CREATE OR REPLACE FUNCTION tokengate_token_changed() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $body$
    BEGIN
        IF TG_OP <> 'INSERT' THEN
            PERFORM pg_notify('tokengate', 'token ' || encode(sha256(convert_to(OLD.key, 'UTF8')), 'hex'));
        END IF;
        IF TG_OP <> 'DELETE' THEN
            PERFORM pg_notify('tokengate', 'token ' || encode(sha256(convert_to(NEW.key, 'UTF8')), 'hex'));
        END IF;
        RETURN NULL;
    END $body$;

    CREATE OR REPLACE FUNCTION tokengate_user_changed() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $body$
    BEGIN
        PERFORM pg_notify('tokengate', 'user ' || OLD.id);
        RETURN NULL;
    END $body$;

    -- The second argument of this trigger is the column with the user's id.
    CREATE OR REPLACE FUNCTION tokengate_membership_changed() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $body$
    BEGIN
        IF TG_OP <> 'INSERT' THEN
            PERFORM pg_notify('tokengate', 'user ' || (to_jsonb(OLD) ->> TG_ARGV[1]));
        END IF;
        IF TG_OP <> 'DELETE' THEN
            PERFORM pg_notify('tokengate', 'user ' || (to_jsonb(NEW) ->> TG_ARGV[1]));
        END IF;
        RETURN NULL;
    END $body$;

    -- Only sessions of gateways, which contain the user's id.
    CREATE OR REPLACE FUNCTION tokengate_session_ended() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $body$
    BEGIN
        PERFORM pg_notify('tokengate', 'user ' || split_part(OLD.session_data, ':', 3));
        RETURN NULL;
    END $body$;

    -- Gateways clear their whole cache after a notification that they do not understand.
    CREATE OR REPLACE FUNCTION tokengate_much_changed() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $body$
    BEGIN
        PERFORM pg_notify('tokengate', 'all');
        RETURN NULL;
    END $body$;

    -- Recreates triggers of an earlier run, and drops those on tables that were renamed or replaced. The first argument
    -- of each trigger is the version of this script, which gateways check.
    FOR wanted IN
        SELECT tgname, tgrelid::regclass AS of_table FROM pg_trigger WHERE NOT tgisinternal AND tgname ~ '^tokengate_'
          AND tgrelid IN (token_table, user_table, group_table, member_table, session_table)
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', wanted.tgname, wanted.of_table);
    END LOOP;

    -- An update notifies if any other column differs, including columns of the project, such as the expiry of a token.
    EXECUTE format('CREATE TRIGGER tokengate_token_changed AFTER UPDATE ON %s FOR EACH ROW '
        'WHEN ((to_jsonb(OLD) - %L::text[]) IS DISTINCT FROM (to_jsonb(NEW) - %L::text[])) '
        'EXECUTE FUNCTION tokengate_token_changed(2)', token_table, quiet, quiet);
    EXECUTE format('CREATE TRIGGER tokengate_token_came_or_went AFTER INSERT OR DELETE ON %s FOR EACH ROW '
        'EXECUTE FUNCTION tokengate_token_changed(2)', token_table);
    EXECUTE format('CREATE TRIGGER tokengate_tokens_gone AFTER TRUNCATE ON %s FOR EACH STATEMENT '
        'EXECUTE FUNCTION tokengate_much_changed(2)', token_table);

    EXECUTE format('CREATE TRIGGER tokengate_user_changed AFTER UPDATE ON %s FOR EACH ROW '
        'WHEN ((to_jsonb(OLD) - %L::text[]) IS DISTINCT FROM (to_jsonb(NEW) - %L::text[])) '
        'EXECUTE FUNCTION tokengate_user_changed(2)', user_table, quiet, quiet);
    EXECUTE format('CREATE TRIGGER tokengate_user_gone AFTER DELETE ON %s FOR EACH ROW '
        'EXECUTE FUNCTION tokengate_user_changed(2)', user_table);
    EXECUTE format('CREATE TRIGGER tokengate_users_gone AFTER TRUNCATE ON %s FOR EACH STATEMENT '
        'EXECUTE FUNCTION tokengate_much_changed(2)', user_table);

    EXECUTE format('CREATE TRIGGER tokengate_membership_changed AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW '
        'EXECUTE FUNCTION tokengate_membership_changed(2, %L)', member_table, member_column);
    EXECUTE format('CREATE TRIGGER tokengate_memberships_gone AFTER TRUNCATE ON %s FOR EACH STATEMENT '
        'EXECUTE FUNCTION tokengate_much_changed(2)', member_table);

    EXECUTE format('CREATE TRIGGER tokengate_group_changed AFTER UPDATE OR DELETE OR TRUNCATE ON %s FOR EACH STATEMENT '
        'EXECUTE FUNCTION tokengate_much_changed(2)', group_table);

    -- The project may have no session table.
    IF session_table IS NOT NULL THEN
        EXECUTE format('CREATE TRIGGER tokengate_session_ended AFTER UPDATE OR DELETE ON %s FOR EACH ROW '
            'WHEN (OLD.session_data LIKE %L) EXECUTE FUNCTION tokengate_session_ended(2)', session_table, 'tokengate:%');
        EXECUTE format('CREATE TRIGGER tokengate_sessions_gone AFTER TRUNCATE ON %s FOR EACH STATEMENT '
            'EXECUTE FUNCTION tokengate_much_changed(2)', session_table);
    END IF;
END $tokengate$;
