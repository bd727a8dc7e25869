//! Token and user tables with columns that Django does not have: each must be configured or ignored, or the gateway
//! does not start.

use std::fs;
use std::time::Duration;

use tokengate::config::settings::{Columns, DjangoMode, Flag, Ignored, Login};
use tokengate::store::{LedgerError, OpenError, Page, TokenFilter, TokenRef};
use tokengate::token::{SubjectId, TokenKey};

use super::commands::{folder, run};
use super::for_each_database;
use super::project::Project;
use crate::support::{Ask, Http, Origin};

for_each_database! {
    unknown_columns_stop_check_serve_and_import
    configured_columns_restrict_tokens
    configured_columns_deactivate_users
    one_of_several_tokens_is_listed_reset_and_revoked_alone
    key_columns_that_do_not_contain_the_secret_are_refused
}

/// A column type in the syntax of SQLite, PostgreSQL and MariaDB.
type Kind = [&'static str; 3];

const TRUTH: Kind = ["bool", "boolean", "tinyint(1)"];
const TIME: Kind = ["datetime", "timestamp with time zone", "datetime(6)"];
const TEXT: Kind = ["varchar(200)", "varchar(200)", "varchar(200)"];
const NETWORKS: Kind = ["text", "inet[]", "json"];
const JSON: Kind = ["text", "jsonb", "json"];
const CIDR: Kind = ["text", "cidr", "text"];

/// The index of this project's database in a [`Kind`].
fn place(project: &Project) -> usize {
    let kinds = ["sqlite", "postgres", "mysql"];
    kinds.iter().position(|kind| project.address.contains(&format!("django+{kind}"))).unwrap()
}

/// Runs statements in the project's database. `[key]` stands for the quoted column name.
async fn sql(project: &Project, statements: &[String]) {
    let quote = if place(project) == 2 { "`key`" } else { "\"key\"" };
    let statements: Vec<String> = statements.iter().map(|text| text.replace("[key]", quote)).collect();
    let list = serde_json::to_string(&statements).unwrap();
    project.python(&format!("c = connection.cursor()\nfor text in {list}: c.execute(text)")).await;
}

/// Adds a column to a table; existing rows get `default`, or NULL if it is empty.
fn column(project: &Project, table: &str, name: &str, kind: Kind, default: &str) -> String {
    format!("ALTER TABLE {table} ADD COLUMN {name} {} {default}", kind[place(project)])
}

fn named(name: &str) -> Option<String> {
    Some(name.to_owned())
}

fn not_understood(error: Option<OpenError>) -> String {
    match error {
        Some(OpenError::NotUnderstood { wrong, .. }) => wrong,
        other => panic!("{other:?}"),
    }
}

async fn unknown_columns_stop_check_serve_and_import(project: Project) {
    let key = project.python("print(User.objects.create_user('alice').auth_token.key)").await;
    let open = async |columns: Columns| {
        let mut settings = project.settings(DjangoMode::ReadOnly);
        settings.django.columns = columns;
        project.try_open(&settings).await
    };
    let add = async |table: &str, name: &str| sql(&project, &[column(&project, table, name, TEXT, "")]).await;
    add("authtoken_token", "description").await;
    assert!(open(Columns::default()).await.is_ok(), "a description restricts nothing");
    for name in ["expires", "allowed_ips", "state"] {
        add("authtoken_token", name).await;
        let wrong = not_understood(open(Columns::default()).await.err());
        assert!(wrong.contains(&format!("authtoken_token.{name}")) && wrong.contains("a token"), "{wrong}");
    }
    let ignore = |columns: &[(Option<&str>, &str)]| Columns {
        ignored: columns
            .iter()
            .map(|(table, column)| Ignored { table: table.map(str::to_owned), column: (*column).to_owned() })
            .collect(),
        ..Columns::default()
    };
    let tokens = [(None, "expires"), (Some("authtoken_token"), "allowed_ips"), (None, "state")];
    assert!(open(ignore(&tokens)).await.is_ok());
    assert!(not_understood(open(ignore(&tokens[..2])).await.err()).contains("authtoken_token.state"));
    add("auth_user", "is_banned").await;
    let wrong = not_understood(open(ignore(&tokens)).await.err());
    assert!(wrong.contains("auth_user.is_banned") && wrong.contains("user_enabled_columns"), "{wrong}");

    let url = &project.address;
    let check = |more: &str| run(&folder(&format!("url = \"{url}\"\n[store.django]\n{more}")), &["check"]);
    let import = |more: &str| run(&folder(&format!("[store.django]\n{more}")), &["import", "django", url]);
    for (fine, text) in [check(""), import("")] {
        assert!(!fine, "{text}");
        for part in [
            "authtoken_token.expires",
            "authtoken_token.state",
            "auth_user.is_banned",
            "ignore_columns",
            "expires_column",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    let waived = "ignore_columns = [\"expires\", \"authtoken_token.allowed_ips\", \"state\", \"auth_user.is_banned\"]";
    let (fine, text) = check(waived);
    assert!(fine, "{text}");
    let (fine, text) = import(waived);
    assert!(fine && text.contains("tokens: 1 imported"), "{text}");
    assert_eq!(key.len(), 40);
}

async fn configured_columns_restrict_tokens(project: Project) {
    let at = place(&project);
    let table = "authtoken_token";
    sql(
        &project,
        &[
            column(&project, table, "ends", TIME, ""),
            column(&project, table, "ends_text", TEXT, ""),
            column(&project, table, "revoked", TRUTH, "DEFAULT '0'"),
            column(&project, table, "revoked_at", TIME, ""),
            column(&project, table, "revoked_text", TEXT, ""),
            column(&project, table, "enabled", TRUTH, "DEFAULT '1'"),
            column(&project, table, "enabled_text", TEXT, "DEFAULT 'True'"),
            column(&project, table, "write_enabled", TRUTH, "DEFAULT '1'"),
            column(&project, table, "networks", NETWORKS, ""),
            column(&project, table, "networks_json", JSON, ""),
            column(&project, table, "networks_text", TEXT, ""),
            column(&project, table, "network", CIDR, ""),
        ],
    )
    .await;
    let [here, there, empty, mapped, none] = if at == 1 {
        ["'{127.0.0.0/8,::1}'", "'{10.0.0.0/8}'", "'{}'", "'{::ffff:127.0.0.1}'", "NULL"]
    } else {
        ["'[\"127.0.0.0/8\", \"::1\"]'", "'[\"10.0.0.0/8\"]'", "'[]'", "'[\"::ffff:127.0.0.1\"]'", "NULL"]
    };
    let passes = (200, 200, true);
    let dead = (401, 401, false);
    let reads = (200, 403, true);
    let elsewhere = (403, 403, true);
    // The column, its setting, a value, the statuses of GET and DELETE, and whether a login returns the key.
    let mut cases = vec![
        ("ends", "NULL", passes),
        ("ends", "'2024-01-01 00:00:00'", dead),
        ("ends", "'2024-01-01 00:00:00.123456'", dead),
        ("ends", "'2999-01-01 00:00:00'", passes),
        ("ends_text", "NULL", passes),
        ("ends_text", "'2999-01-01T00:00:00Z'", passes),
        ("ends_text", "'2024-01-01 00:00:00'", dead),
        ("ends_text", "''", dead),
        ("ends_text", "'soon'", dead),
        ("ends_text", "'32503680000'", dead),
        ("ends_text", "'infinity'", dead),
        ("ends_text", "'-infinity'", dead),
        ("ends_text", "'@4102444800000000'", dead),
        ("ends_text", "' 2999-01-01 00:00:00'", dead),
        ("ends_text", "'null'", dead),
        ("revoked", "'0'", passes),
        ("revoked", "'1'", dead),
        ("revoked", "NULL", dead),
        ("revoked_at", "NULL", passes),
        ("revoked_at", "'2024-01-01 00:00:00'", dead),
        ("revoked_at", "'2999-01-01 00:00:00'", dead),
        ("revoked_text", "NULL", passes),
        ("revoked_text", "'false'", passes),
        ("revoked_text", "'true'", dead),
        ("revoked_text", "'leaked'", dead),
        ("enabled", "'1'", passes),
        ("enabled", "'0'", dead),
        ("enabled", "NULL", dead),
        ("enabled_text", "'t'", passes),
        ("enabled_text", "'False'", dead),
        ("enabled_text", "'yes, please'", dead),
        ("write_enabled", "'1'", passes),
        ("write_enabled", "'0'", reads),
        ("write_enabled", "NULL", reads),
        ("networks", none, passes),
        ("networks", empty, passes),
        ("networks", here, passes),
        ("networks", mapped, passes),
        ("networks", there, elsewhere),
        ("networks_json", "'[\"127.0.0.1\"]'", passes),
        ("networks_json", "'[\"10.0.0.1\"]'", elsewhere),
        ("networks_json", "'[\"127.0.0.1\", \"office\"]'", dead),
        ("networks_json", "'{\"127.0.0.1\": 1}'", dead),
        ("networks_json", "'[]'", passes),
        ("networks_json", "'null'", passes),
        ("networks_json", "'{}'", dead),
        ("networks_json", "'0'", dead),
        ("networks_json", "'false'", dead),
        ("networks_json", "'[null]'", dead),
        ("networks_json", "'[[]]'", dead),
        ("networks_json", "'[\"\"]'", dead),
        ("networks_text", "''", passes),
        ("networks_text", "'[]'", passes),
        ("networks_text", "'[\"127.0.0.1\"]'", passes),
        ("networks_text", "'{}'", dead),
        ("networks_text", "'{127.0.0.1}'", dead),
        ("networks_text", "' '", dead),
        ("networks_text", "','", dead),
        ("networks_text", "'*'", dead),
        ("networks_text", "'any'", dead),
        ("networks_text", "'10.0.0.0/8 127.0.0.1'", passes),
        ("networks_text", "'10.0.0.0/8, 192.0.2.1'", elsewhere),
        ("networks_text", "'127.0.0.1;x'", dead),
        ("network", "'127.0.0.0/8'", passes),
        ("network", "'10.0.0.0/8'", elsewhere),
    ];
    match at {
        0 => cases.extend([
            ("ends", "'soon'", dead),
            ("ends", "32503680000", dead),
            ("ends", "x'00'", dead),
            ("ends", "''", dead),
            ("ends", "'infinity'", dead),
            ("ends", "'-infinity'", dead),
            ("ends", "'@4102444800000000'", dead),
            ("ends", "1", dead),
            ("ends", "0", dead),
            ("ends", "5373484.5", dead),
            ("ends", "'now'", dead),
            ("ends", "'2999-01-01'", dead),
            ("ends", "' 2999-01-01 00:00:00'", dead),
            ("ends", "CAST('2999-01-01 00:00:00' AS BLOB)", dead),
            ("ends", "x''", dead),
            ("revoked", "x'30'", dead),
            ("revoked_text", "x'30'", dead),
            ("enabled", "x'31'", dead),
            ("enabled", "1.5", dead),
            ("write_enabled", "x'31'", reads),
            ("networks", "x''", dead),
            ("networks", "CAST('[\"127.0.0.1\"]' AS BLOB)", dead),
            ("networks", "0", dead),
            ("networks", "'true'", dead),
            ("revoked", "'no'", dead),
            ("enabled", "2", dead),
            ("enabled", "'yes'", dead),
            ("write_enabled", "'maybe'", reads),
            ("networks", "'10.0.0.0/33'", dead),
        ]),
        1 => cases.extend([
            ("ends", "'infinity'", passes),
            ("ends", "'-infinity'", dead),
            ("ends", "'2024-01-01 00:00:00+14'", dead),
            ("networks", "'{NULL}'", dead),
        ]),
        _ => cases.extend([("enabled", "2", dead), ("revoked", "2", dead), ("networks", "'\"127.0.0.1\"'", passes)]),
    }
    let names: Vec<String> = (0..cases.len()).map(|case| format!("late{case}")).collect();
    let code = format!(
        "from django.contrib.auth.hashers import PBKDF2PasswordHasher\nhashed = PBKDF2PasswordHasher().encode('secret', 'salt', 1000)\n\
         for n in {names:?}:\n  u = User.objects.create(username=n, password=hashed); print(Token.objects.create(user=u).key)"
    );
    let keys = project.python(&code).await;
    let keys: Vec<&str> = keys.lines().collect();
    let updates: Vec<String> = cases
        .iter()
        .zip(&keys)
        .map(|((column, value, _), key)| format!("UPDATE {table} SET {column} = {value} WHERE [key] = '{key}'"))
        .collect();
    sql(&project, &updates).await;

    let origin = Origin::answering("hello").await;
    for column in [
        "ends",
        "ends_text",
        "revoked",
        "revoked_at",
        "revoked_text",
        "enabled",
        "enabled_text",
        "write_enabled",
        "networks",
        "networks_json",
        "networks_text",
        "network",
    ] {
        let mut columns = Columns::default();
        let setting = match column {
            "ends" | "ends_text" => &mut columns.expires,
            "revoked" | "revoked_at" | "revoked_text" => &mut columns.revoked,
            "enabled" | "enabled_text" => &mut columns.enabled,
            "write_enabled" => &mut columns.write_enabled,
            _ => &mut columns.allowed_networks,
        };
        *setting = named(column);
        let all = [
            "ends",
            "ends_text",
            "revoked",
            "revoked_at",
            "revoked_text",
            "enabled",
            "enabled_text",
            "write_enabled",
            "networks",
            "networks_json",
            "networks_text",
            "network",
        ];
        let rest = all.into_iter().filter(|other| *other != column);
        columns.ignored = rest.map(|column| Ignored { table: None, column: column.to_owned() }).collect();
        let site = project.site(&origin, DjangoMode::ReadOnly).with(|settings| {
            settings.store.django.columns = columns;
            settings.login = Some(Login { per_address: None, ..Login::default() });
            settings.limits.wrong_keys = None;
        });
        let gateway = site.start().await;
        for (((of, value, (get, delete, login)), key), name) in cases.iter().zip(&keys).zip(&names) {
            if *of != column {
                continue;
            }
            for (method, http, status) in [
                ("GET", Http::One, *get),
                ("GET", Http::Two, *get),
                ("HEAD", Http::One, *get),
                ("OPTIONS", Http::Two, *get),
                ("POST", Http::Two, *delete),
                ("DELETE", Http::One, *delete),
                ("DELETE", Http::Two, *delete),
            ] {
                let seen = origin.count();
                let answer = Ask::new(method, "/api/x").token(key).over(http, &gateway).await;
                assert_eq!(answer.status, status, "{column} = {value}: {method}");
                assert_eq!(origin.count() - seen, usize::from(status == 200), "{column} = {value}: {method}");
                if method != "HEAD" && status != 200 {
                    let told = if status == 401 {
                        "Invalid token."
                    } else {
                        "You do not have permission to perform this action."
                    };
                    assert_eq!(answer.detail(), told, "{column} = {value}: {method}");
                }
            }
            let body = format!("{{\"username\":\"{name}\",\"password\":\"secret\"}}");
            let answer = Ask::post("/gettoken/", body).field("Content-Type", "application/json").to(&gateway).await;
            if *login {
                assert_eq!(
                    (answer.status, answer.text()),
                    (200, format!("{{\"token\":\"{key}\"}}").as_str()),
                    "{column} = {value}"
                );
            } else {
                let told = "Your token has expired or was revoked or disabled, and none can be made here.";
                assert_eq!((answer.status, answer.detail().as_str()), (403, told), "{column} = {value}");
            }
        }
        drop(gateway);
    }

    // The import: invalid tokens are skipped, restricted ones are refused with a message, and the expiry is imported.
    let waiving = |meant: &str, kept: &[&str]| {
        let all = [
            "ends_text",
            "revoked_at",
            "revoked_text",
            "enabled",
            "enabled_text",
            "networks_json",
            "networks_text",
            "network",
            "ends",
            "revoked",
            "write_enabled",
            "networks",
        ];
        let ignored: Vec<String> =
            all.iter().filter(|column| !kept.contains(column)).map(|column| format!("\"{column}\"")).collect();
        format!("[store.django]\nignore_columns = [{}]\n{meant}", ignored.join(", "))
    };
    for (meant, kept) in [
        ("expires_column = \"ends\"", "ends"),
        ("revoked_column = \"revoked\"", "revoked"),
        ("write_enabled_column = \"write_enabled\"", "write_enabled"),
        ("allowed_networks_column = \"networks\"", "networks"),
    ] {
        let folder = folder(&waiving(meant, &[kept]));
        let (fine, text) = run(&folder, &["import", "django", &project.address]);
        assert!(fine, "{text}");
        let listed = run(&folder, &["token", "list", "--json"]).1;
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let taken: Vec<&str> = listed.as_array().unwrap().iter().map(|token| token["user"].as_str().unwrap()).collect();
        for ((of, value, expected), name) in cases.iter().zip(&names) {
            if *of == kept {
                assert_eq!(taken.contains(&name.as_str()), *expected != dead, "{kept} = {value}: {text}");
            }
        }
        let token = |name: &str| listed.as_array().unwrap().iter().find(|token| token["user"] == name).unwrap();
        // A token keeps its limits.
        for ((_, value, expected), name) in
            cases.iter().zip(&names).filter(|((of, _, expected), _)| *of == kept && *expected != dead)
        {
            let limited = (token(name)["read_only"] == true, !token(name)["networks"].is_null());
            let networks = kept == "networks" && ![none, empty].contains(value);
            assert_eq!(limited, (*expected == reads, networks), "{kept} = {value}: {text}");
        }
        let end = cases.iter().position(|case| case.0 == "ends" && case.1.contains("2999")).unwrap();
        let expires = &token(&names[end])["expires"];
        assert_eq!(expires.as_str(), (kept == "ends").then_some("2999-01-01T00:00:00.000Z"), "{text}");
        assert!(fs::metadata(folder.path().join("tokengate.db")).is_ok());
    }
}

async fn configured_columns_deactivate_users(project: Project) {
    let table = "auth_user";
    sql(
        &project,
        &[
            column(&project, table, "is_banned", TRUTH, "DEFAULT '0'"),
            column(&project, table, "deleted_at", TIME, ""),
            column(&project, table, "verified", TRUTH, "DEFAULT '1'"),
        ],
    )
    .await;
    let mut cases = vec![
        ("is_banned = '0'", true),
        ("is_banned = '1'", false),
        ("is_banned = NULL", false),
        ("deleted_at = '2024-01-01 00:00:00'", false),
        ("verified = '0'", false),
        ("verified = NULL", false),
        ("is_active = '0'", false),
        ("verified = '1'", true),
    ];
    match place(&project) {
        0 => cases.extend([
            ("is_active = 2", false),
            ("is_active = -1", false),
            ("is_active = 0.5", false),
            ("is_active = 'yes'", false),
            ("is_active = '1x'", false),
            ("is_active = x'31'", false),
            ("verified = x'31'", false),
            ("is_banned = x'30'", false),
        ]),
        1 => {}
        _ => cases.extend([("is_active = 2", false), ("is_active = -1", false)]),
    }
    let names: Vec<String> = (0..cases.len()).map(|case| format!("user{case}")).collect();
    let code =
        format!("for n in {names:?}: u = User.objects.create_user(n, password='secret'); print(u.auth_token.key)");
    let keys = project.python(&code).await;
    let value = |text: &str| {
        if place(&project) == 1 && text.starts_with("is_active") { text.replace('0', "f") } else { text.to_owned() }
    };
    let updates: Vec<String> = cases
        .iter()
        .zip(&names)
        .map(|((change, _), name)| format!("UPDATE {table} SET {} WHERE username = '{name}'", value(change)))
        .collect();
    sql(&project, &updates).await;
    let flag = |column: &str, disables| Flag { column: column.to_owned(), disables };
    let columns = Columns {
        user_enabled: vec![flag("is_banned", true), flag("deleted_at", true), flag("verified", false)],
        ..Columns::default()
    };
    let origin = Origin::answering("hello").await;
    let site = project.site(&origin, DjangoMode::ReadOnly).with(|settings| {
        settings.store.django.columns = columns;
        settings.login = Some(Login { per_address: None, ..Login::default() });
        settings.limits.wrong_keys = None;
    });
    let gateway = site.start().await;
    for (((change, counts), key), name) in cases.iter().zip(keys.lines()).zip(&names) {
        let seen = origin.count();
        let answer = Ask::get("/api/x").token(key).to(&gateway).await;
        assert_eq!(answer.status, if *counts { 200 } else { 401 }, "{change}");
        assert_eq!(origin.count() - seen, usize::from(*counts), "{change}");
        if !counts {
            assert_eq!(answer.detail(), "User inactive or deleted.", "{change}");
        }
        let body = format!("{{\"username\":\"{name}\",\"password\":\"secret\"}}");
        let answer = Ask::post("/gettoken/", body).field("Content-Type", "application/json").to(&gateway).await;
        assert_eq!(answer.status, if *counts { 200 } else { 400 }, "{change}");
    }
    let meant = "[store.django]\nuser_enabled_columns = [\"!is_banned\", \"!deleted_at\", \"verified\"]";
    let folder = folder(meant);
    let (fine, text) = run(&folder, &["import", "django", &project.address]);
    assert!(fine, "{text}");
    for ((change, counts), name) in cases.iter().zip(&names) {
        let user = run(&folder, &["user", "show", name, "--json"]).1;
        let user: serde_json::Value = serde_json::from_str(&user).unwrap();
        assert_eq!(user["active"], *counts, "{change}");
    }
}

/// A token table as in projects that allow several tokens per user.
async fn several_each(project: &Project, key: &str) -> String {
    let create = [
        format!(
            "CREATE TABLE users_token (id integer NOT NULL PRIMARY KEY AUTOINCREMENT, [key] {key} NOT NULL UNIQUE, created datetime NOT NULL, user_id integer NOT NULL)"
        ),
        format!(
            "CREATE TABLE users_token (id bigserial PRIMARY KEY, [key] {key} NOT NULL UNIQUE, created timestamptz NOT NULL, user_id integer NOT NULL)"
        ),
        format!(
            "CREATE TABLE users_token (id bigint AUTO_INCREMENT PRIMARY KEY, [key] {key} NOT NULL UNIQUE, created datetime(6) NOT NULL, user_id integer NOT NULL)"
        ),
    ];
    sql(project, &[create[place(project)].clone()]).await;
    "users_token".to_owned()
}

async fn one_of_several_tokens_is_listed_reset_and_revoked_alone(project: Project) {
    let table = several_each(&project, "varchar(40)").await;
    let users = project.python("for n in 'ab': print(User.objects.create_user('late' + n).pk)").await;
    let [a, b]: [i64; 2] = users.lines().map(|id| id.parse().unwrap()).collect::<Vec<_>>().try_into().unwrap();
    let keys = ["k1", "k2", "k3", "other"];
    let inserts: Vec<String> = keys
        .iter()
        .enumerate()
        .map(|(day, key)| {
            let owner = if *key == "other" { b } else { a };
            format!(
                "INSERT INTO {table} ([key], created, user_id) VALUES ('{key}', '2025-01-0{} 00:00:00', {owner})",
                day + 1
            )
        })
        .collect();
    sql(&project, &inserts).await;
    let mut settings = project.settings(DjangoMode::ReadWrite);
    settings.django.token_table = table.clone();
    let store = project.try_open(&settings).await.unwrap();
    assert!(store.remarks.iter().any(|remark| remark.contains("user_id is not unique")), "{:?}", store.remarks);
    let listed = async |limit| {
        let (mut page, mut all) = (Page::first(limit), Vec::new());
        loop {
            let tokens = store.ledger.list(TokenFilter::default(), page).await.unwrap();
            let Some(last) = tokens.last() else { return all };
            page.after = last.record.id.0;
            all.extend(tokens.iter().map(|token| (token.record.id, token.record.digest)));
        }
    };
    let digest = |key: &str| TokenKey::parse(key).unwrap().digest();
    for limit in [1, 2, 3, 10] {
        let digests: Vec<_> = listed(limit).await.into_iter().map(|(_, digest)| digest).collect();
        assert_eq!(digests, keys.map(digest), "{limit} at once");
    }
    let owner = SubjectId(a);
    assert_eq!(store.ledger.issue_login(owner).await.unwrap().key.expose(), "k3", "the newest");
    let fresh = store.ledger.reset_login(owner).await.unwrap();
    let now = async || {
        let code = format!(
            "c = connection.cursor(); c.execute('SELECT {} FROM {table} ORDER BY id'); print(*(k for k, in c.fetchall()))",
            if place(&project) == 2 { "`key`" } else { "\"key\"" }
        );
        project.python(&code).await
    };
    assert_eq!(now().await, format!("k1 k2 {} other", fresh.key.expose()), "one row has changed");
    assert_eq!(store.ledger.issue_login(owner).await.unwrap().key.expose(), fresh.key.expose());
    let second = listed(10).await[1].0;
    let met = store.ledger.revoke(TokenRef::Id(second)).await.unwrap();
    assert_eq!((met.id, met.was_live), (second, true));
    assert_eq!(now().await, format!("k1 {} other", fresh.key.expose()));
    store.ledger.revoke(TokenRef::Digest(digest("k1"))).await.unwrap();
    assert_eq!(now().await, format!("{} other", fresh.key.expose()));
    assert_eq!(store.ledger.revoke_all(owner).await.unwrap(), 1);
    assert_eq!(now().await, "other");

    // A column whose value only Django knows.
    sql(&project, &[column(&project, &table, "write_enabled", TRUTH, "NOT NULL DEFAULT '1'")]).await;
    settings.django.columns.write_enabled = named("write_enabled");
    let store = project.try_open(&settings).await.unwrap();
    let none = store.ledger.issue_login(owner).await;
    assert!(matches!(none, Err(LedgerError::NotMade(_))), "{none:?}");
    assert_eq!(store.ledger.issue_login(SubjectId(b)).await.unwrap().key.expose(), "other");
}

async fn key_columns_that_do_not_contain_the_secret_are_refused(project: Project) {
    // As in NetBox: the column `key` identifies the token, and another column has the hash of the secret.
    let table = several_each(&project, "varchar(12)").await;
    let mut settings = project.settings(DjangoMode::ReadOnly);
    settings.django.token_table = table.clone();
    let narrow = not_understood(project.try_open(&settings).await.err());
    assert!(narrow.contains("users_token.key") && narrow.contains("too narrow"), "{narrow}");
    let more = ["version", "plaintext", "hmac_digest", "pepper_id"];
    sql(&project, &more.map(|name| column(&project, &table, name, TEXT, ""))).await;
    let wrong = not_understood(project.try_open(&settings).await.err());
    for name in more {
        assert!(wrong.contains(&format!("users_token.{name}")), "{wrong}");
    }
    // Keys that no request can send.
    sql(&project, &["DROP TABLE users_token".to_owned()]).await;
    let wide = TokenKey::MAX_LENGTH + 1;
    several_each(&project, &format!("varchar({wide})")).await;
    let wrong = not_understood(project.try_open(&settings).await.err());
    assert!(wrong.contains(&format!("({wide})")) && wrong.contains("no request can send"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_becomes_read_only_opens_no_tunnel_and_writes_nothing_from_then_on() {
    let project = Project::on_sqlite().await;
    let key = project.python("print(User.objects.create_user('alice').auth_token.key)").await;
    sql(&project, &[column(&project, "authtoken_token", "writes", TRUTH, "DEFAULT 1")]).await;
    let origin = Origin::answering("hello").await;
    let site = project.site(&origin, DjangoMode::ReadOnly).with(|settings| {
        settings.store.django.columns.write_enabled = named("writes");
        settings.routes[0].streaming = true;
    });
    let gateway = site.start().await;
    let handshake = Ask::get("/api/x")
        .field("Connection", "Upgrade")
        .field("Upgrade", "websocket")
        .field("Sec-WebSocket-Version", "13")
        .field("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    // The endpoint responds to a handshake without switching; the response is forwarded.
    for status in [200, 403] {
        let seen = origin.count();
        assert_eq!(Ask::get("/api/x").token(&key).to(&gateway).await.status, 200);
        assert_eq!(Ask::new("DELETE", "/api/x").token(&key).to(&gateway).await.status, status);
        assert_eq!(handshake.clone().token(&key).to(&gateway).await.status, status);
        assert_eq!(origin.count() - seen, if status == 200 { 3 } else { 1 });
        sql(&project, &["UPDATE authtoken_token SET writes = 0".to_owned()]).await;
        gateway.hand.advance(Duration::from_secs(60));
    }
}
