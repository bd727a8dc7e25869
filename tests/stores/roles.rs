//! PostgreSQL as others have configured it: roles with their own settings, databases in another encoding, URLs of
//! hosting providers.

use std::path::PathBuf;

use sqlx::AssertSqlSafe;
use tokengate::config::settings::{DjangoUrl, PostgresUrl, StoreUrl};
use tokengate::store::{NamedToken, TokenQuery, TokenRef, TokenView, UserQuery};
use tokengate::token::ScopeSet;

use super::site::{Log, Site, found, user};
use crate::support::Postgres;

async fn admin(statement: &str) {
    let mut session = Postgres::shared().await.connect("postgres").await;
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut session).await.unwrap();
}

fn parsed(text: &str) -> PostgresUrl {
    PostgresUrl::parse(text, |path| PathBuf::from(path)).unwrap()
}

#[tokio::test]
async fn settings_of_a_role_do_not_change_the_meaning_of_statements() {
    let server = Postgres::shared().await;
    for (number, setting) in [
        "standard_conforming_strings = off",
        "standard_conforming_strings = off; ALTER ROLE {role} SET backslash_quote = off",
        "default_transaction_isolation = serializable",
        "transform_null_equals = on",
        "bytea_output = escape",
        "datestyle = 'SQL, DMY'",
        "timezone = 'Asia/Kathmandu'",
        "client_encoding = latin1",
        "extra_float_digits = 0",
        "array_nulls = off",
        "quote_all_identifiers = on",
        "row_security = off",
        "plan_cache_mode = force_generic_plan",
        "enable_seqscan = off",
        "statement_timeout = 1",
        "lock_timeout = 0",
    ]
    .into_iter()
    .enumerate()
    {
        let role = format!("odd_{number}");
        let database = server.new_database().await;
        let set = format!(
            "CREATE ROLE {role} LOGIN; ALTER ROLE {role} SET {}; ALTER DATABASE {database} OWNER TO {role}",
            setting.replace("{role}", &role)
        );
        // One at a time, since ALTER DATABASE cannot run in a transaction with others.
        for statement in set.split("; ") {
            admin(statement).await;
        }
        let mut session = server.connect(&database).await;
        let grant = format!("GRANT ALL ON SCHEMA public TO {role}");
        sqlx::raw_sql(AssertSqlSafe(grant)).execute(&mut session).await.unwrap();

        let mut site = Site::sqlite();
        let folder = server.socket_folder().display();
        site.store.url = StoreUrl::Postgres(parsed(&format!("postgres:///{database}?host={folder}&user={role}")));
        let store = site.try_open().await.unwrap_or_else(|error| panic!("{setting}: {error:?}"));
        let mut log = Log::from_now(&store).await;
        let name = r#"back\slash 'quote' "double" \' ä 名"#;
        let owner = user(&store, name).await;
        let order = NamedToken {
            name: name.to_owned(),
            expires: None,
            scopes: ScopeSet::parse("read").unwrap(),
            ..NamedToken::default()
        };
        let issued =
            store.ledger.issue_named(owner, &order).await.unwrap_or_else(|error| panic!("{setting}: {error:?}"));
        let record = found(&store, &issued.key).await;
        assert_eq!((record.owner.name.as_str(), record.owner.id), (name, owner), "{setting}");
        let login = store.ledger.issue_login(owner).await.unwrap();
        assert_eq!(store.ledger.issue_login(owner).await.unwrap().key.expose(), login.key.expose(), "{setting}");
        let directory = store.directory.as_ref().unwrap();
        let query = UserQuery { search: r"back\slash".to_owned(), limit: 10, ..UserQuery::default() };
        assert_eq!(directory.users(&query).await.unwrap().entries.len(), 1, "{setting}");
        let query = TokenQuery {
            owner_name: r"back\slash".to_owned(),
            view: TokenView::All,
            limit: 10,
            ..TokenQuery::default()
        };
        assert_eq!(directory.tokens(&query).await.unwrap().entries.len(), 2, "{setting}");
        let revoked = store.ledger.revoke(TokenRef::Id(issued.id)).await;
        assert!(revoked.as_ref().is_ok_and(|revoked| revoked.was_live), "{setting}: {revoked:?}");
        assert!(found(&store, &issued.key).await.revoked.is_some(), "{setting}");
        assert!(log.events(&store).await.len() >= 3, "{setting}");
    }
}

#[tokio::test]
async fn a_sql_ascii_database_is_refused_with_the_fix() {
    let server = Postgres::shared().await;
    admin("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'").await;
    let folder = server.socket_folder().display();
    let url = parsed(&format!("postgres:///ascii?host={folder}&user=postgres"));
    let mut site = Site::sqlite();
    for url in [StoreUrl::Postgres(url.clone()), StoreUrl::Django(DjangoUrl::Postgres(url.clone()))] {
        site.store.url = url;
        let error = site.try_open().await.err().expect("it is refused");
        let mut told = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            told = format!("{told}: {error}");
            cause = error.source();
        }
        for part in ["SQL_ASCII", "UTF8", "pg_dump"] {
            assert!(told.contains(part), "{told}");
        }
    }
}

#[tokio::test]
async fn urls_of_hosting_providers_connect() {
    let server = Postgres::shared().await;
    let folder = server.socket_folder().display();
    for (parameters, setting, value) in [
        ("sslmode=prefer&channel_binding=prefer&connect_timeout=10", "application_name", "tokengate"),
        ("target_session_attrs=read-write&application_name=gate%20one", "application_name", "gate one"),
        ("fallback_application_name=gate%20two", "application_name", "gate two"),
        ("gssencmode=disable&sslnegotiation=postgres&load_balance_hosts=disable", "application_name", "tokengate"),
        ("options=-c%20search_path%3Dpublic", "search_path", "public"),
        ("options=-cwork_mem%3D3MB%20-cstatement_timeout%3D0", "work_mem", "3MB"),
        ("options=-cstandard_conforming_strings%3Doff", "standard_conforming_strings", "on"),
    ] {
        let database = server.new_database().await;
        let mut site = Site::sqlite();
        site.store.url =
            StoreUrl::Postgres(parsed(&format!("postgres:///{database}?host={folder}&user=postgres&{parameters}")));
        // The database records it at the first change.
        let mut session = server.connect(&database).await;
        let store = site.open().await;
        let watch = format!(
            "CREATE TABLE seen (value text); CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             INSERT INTO public.seen VALUES (current_setting('{setting}')), (current_setting('statement_timeout')); RETURN NEW; \
             END $$; CREATE TRIGGER see BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION see()"
        );
        sqlx::raw_sql(AssertSqlSafe(watch)).execute(&mut session).await.unwrap();
        user(&store, "alice").await;
        let seen: Vec<String> = sqlx::query_scalar("SELECT value FROM seen").fetch_all(&mut session).await.unwrap();
        assert_eq!(seen.first().map(String::as_str), Some(value), "{parameters}");
        assert_eq!(
            seen.get(1).map(String::as_str),
            Some("2min"),
            "{parameters}: our limit holds whatever the address says"
        );
    }
}
