//! Tokens of Django are valid in the gateway as long as they are valid in Django.

use std::time::Duration;

use tokengate::config::settings::{Django, DjangoMode};
use tokengate::store::{Cursor, LedgerError, OnConflict, OpenError, Page, Password, TokenFilter, TokenRef};
use tokengate::token::{SubjectId, TokenKey};

use super::for_each_database;
use super::project::Project;
use crate::support::{Ask, Origin, PATIENCE, Postgres, eventually};

/// How long an identity is cached: `cache.memory.ttl`.
const TTL: Duration = Duration::from_secs(60);

/// The triggers of docs/DJANGO.md.
const TRIGGERS: &str = include_str!("../../docs/django/push-postgresql.sql");

/// Users with a token each, created in different ways; prints the keys in this order.
const USERS: &str = "
from django.core.management import call_command
from io import StringIO
dora = User.objects.create_user('lateDora', 'dora@example.com')
out = StringIO(); call_command('drf_create_token', 'lateDora', stdout=out)
print(out.getvalue().split()[2])
alice = User.objects.create_user('alice', 'alice@example.com', 'secret')
alice.groups.add(Group.objects.create(name='staff'), Group.objects.create(name='a,b'))
print(alice.auth_token.key)
bob = User.objects.create_user('lateBób')
print(Token.objects.get_or_create(user=bob)[0].key)
root = User.objects.create_superuser('lateRoot', password='secret')
client = Client(); client.force_login(root)
answer = client.post('/admin/authtoken/tokenproxy/add/', {'user': root.pk})
assert answer.status_code == 302, answer.content
print(Token.objects.get(user=root).key)
";

for_each_database! {
    tokens_are_accepted_however_django_created_them
    keys_and_names_are_case_sensitive_whatever_the_collation
    deactivation_and_deletion_apply_within_the_lifetime_of_an_entry
    a_read_only_store_writes_nothing
    missing_tables_and_columns_are_reported
}

async fn tokens_are_accepted_however_django_created_them(project: Project) {
    let printed = project.python(USERS).await;
    let origin = Origin::answering("hello").await;
    let gateway = project.gateway(&origin).await;
    let callers = [
        ("lateDora", Some("dora@example.com"), None),
        ("alice", Some("alice@example.com"), Some("a%2Cb,staff")),
        ("lateB%C3%B3b", None, None),
        ("lateRoot", None, None),
    ];
    assert_eq!(printed.lines().count(), callers.len());
    for (key, (name, email, groups)) in printed.lines().zip(callers) {
        let answer = Ask::get("/api/x").token(key).to(&gateway).await;
        assert_eq!(answer.status, 200, "{name}");
        let seen = origin.last();
        let field = |field: &str| seen.fields.get(field);
        assert_eq!((field("x-user-name"), field("x-user-email"), field("x-user-groups")), (Some(name), email, groups));
        let user = gateway.store.tokens.find(&TokenKey::parse(key).unwrap()).await.unwrap().unwrap();
        assert_eq!(field("x-user-id"), Some(user.owner.id.to_string().as_str()));
        assert_eq!(field("x-token-id"), Some(user.owner.id.to_string().as_str()), "as Django's admin names it");
    }
    let alice = TokenKey::parse(printed.lines().nth(1).unwrap()).unwrap();
    let written = "print(int(Token.objects.get(user__username='alice').created.timestamp() * 1000000 + .5))";
    let written: i64 = project.python(written).await.parse().unwrap();
    let read = gateway.store.tokens.find(&alice).await.unwrap().unwrap().created.as_micros();
    assert!((read - written).abs() <= 1, "{read} {written}");
    let all = gateway.store.ledger.list(TokenFilter::default(), Page::first(3)).await.unwrap();
    let rest = Page { after: all[2].record.id.0, limit: 3 };
    let rest = gateway.store.ledger.list(TokenFilter::default(), rest).await.unwrap();
    let names: Vec<_> = all.iter().chain(&rest).map(|token| token.record.owner.name.as_str()).collect();
    assert_eq!(names, ["lateDora", "alice", "lateBób", "lateRoot"]);
    let users = gateway.store.accounts.list(Page::first(10)).await.unwrap();
    assert_eq!(users.iter().map(|user| user.account.name.as_str()).collect::<Vec<_>>(), names);
    assert!(users[3].superuser && users[3].staff && users[1].has_password && !users[0].has_password);
    assert_eq!(gateway.store.tokens.tokens_of(users[1].account.id).await.unwrap(), [alice.digest()]);
}

async fn keys_and_names_are_case_sensitive_whatever_the_collation(project: Project) {
    let code = "
for name, key in (('Ada', 'AbCd-key'), ('Zoë', 'zoë-key')):
    Token.objects.create(user=User.objects.create_user('late' + name), key=key)
";
    project.python(code).await;
    let (store, _) = project.open().await;
    let finds = async |key: &str| store.tokens.find(&TokenKey::parse(key).unwrap()).await.unwrap().is_some();
    assert!(finds("AbCd-key").await && finds("zoë-key").await);
    for other in ["abcd-key", "ABCD-KEY", "AbCd-keY", "zoe-key", "zoë-kEy", "'OR'1'='1", "%", "$1", "x"] {
        assert!(!finds(other).await, "{other}");
    }
    for (name, known) in [
        ("lateAda", true),
        ("lateada", false),
        ("LATEADA", false),
        ("lateAda ", false),
        ("lateZoe", false),
        ("\0", false),
    ] {
        assert_eq!(store.accounts.find(name).await.unwrap().is_some(), known, "{name:?}");
        let password = Password::parse("x").unwrap();
        assert_eq!(store.accounts.verify_password(name, password).await.unwrap(), None, "{name:?}");
    }
}

async fn deactivation_and_deletion_apply_within_the_lifetime_of_an_entry(project: Project) {
    let ways = [
        ("off", "User.objects.filter(username='off').update(is_active=False)", "User inactive or deleted."),
        ("gone", "User.objects.get(username='gone').delete()", "Invalid token."),
        ("new", "Token.objects.get(user__username='new').delete()", "Invalid token."),
    ];
    let keys =
        project.python("for n in ('off', 'gone', 'new'): print(User.objects.create_user(n).auth_token.key)").await;
    let keys: Vec<&str> = keys.lines().collect();
    let origin = Origin::answering("hello").await;
    let gateway = project.gateway(&origin).await;
    for key in &keys {
        assert_eq!(Ask::get("/api/x").token(key).to(&gateway).await.status, 200);
    }
    project.python(&ways.map(|(_, code, _)| code).join("\n")).await;
    gateway.hand.advance(TTL);
    // Again: if the database had been unreachable, entries would have a shorter lifetime.
    for (key, (name, _, refusal)) in keys.iter().zip(ways) {
        let answer = Ask::get("/api/x").token(key).to(&gateway).await;
        assert_eq!((answer.status, answer.detail().as_str()), (401, refusal), "{name}");
    }
    project.python("User.objects.filter(username='off').update(is_active=True)").await;
    gateway.hand.advance(TTL);
    assert_eq!(Ask::get("/api/x").token(keys[0]).to(&gateway).await.status, 200, "active again, the same key");
}

async fn a_read_only_store_writes_nothing(project: Project) {
    let code = "a = User.objects.create_user('alice'); b = User.objects.create_user('late'); print(a.pk, b.pk, a.auth_token.key)";
    let printed = project.python(code).await;
    let [alice, late, key]: [&str; 3] = printed.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let [alice, late] = [alice, late].map(|id| SubjectId(id.parse().unwrap()));
    let before = project.dump().await;
    let store = project.try_open(&project.settings(DjangoMode::ReadOnly)).await.unwrap();
    let again = store.ledger.issue_login(alice).await.unwrap();
    assert_eq!((again.key.expose(), again.fresh), (key, false), "a user with a token gets it");
    let other = || TokenKey::parse("other").unwrap();
    let refused = [
        store.ledger.issue_login(late).await.map(drop),
        store.ledger.reset_login(alice).await.map(drop),
        store.ledger.import(late, other(), OnConflict::Refuse).await.map(drop),
        store.ledger.import(alice, other(), OnConflict::Replace).await.map(drop),
        store.ledger.revoke(TokenRef::Digest(again.key.digest())).await.map(drop),
        store.ledger.revoke_all(alice).await.map(drop),
    ];
    for (place, refused) in refused.into_iter().enumerate() {
        assert!(matches!(refused, Err(LedgerError::ReadOnly)), "{place}: {refused:?}");
    }
    store.ledger.mark_used(&[(again.id, tokengate::clock::Timestamp::from_micros(1))]).await.unwrap();
    store
        .tokens
        .mark_exposed(again.key.digest(), [192, 0, 2, 9].into(), tokengate::clock::Timestamp::from_micros(1))
        .await
        .unwrap();
    assert_eq!(project.dump().await, before);
}

async fn missing_tables_and_columns_are_reported(project: Project) {
    let wrong = async |change: fn(&mut Django)| {
        let mut settings = project.settings(DjangoMode::ReadOnly);
        change(&mut settings.django);
        match project.try_open(&settings).await.err().expect("it is refused") {
            OpenError::NotDjango { wrong, .. } => wrong,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        wrong(|names| (names.token_table, names.user_name_column) = ("knox".into(), "nick".into())).await,
        "table auth_user has no column nick (store.django.user_name_column); \
         table knox is missing (store.django.token_table)"
    );
    let wrong_user = wrong(|names| names.user_table = "django_session".into()).await;
    assert!(wrong_user.contains("table django_session has no column id (store.django.user_table)"), "{wrong_user}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_triggers_postgresql_pushes_changes() {
    let server = Postgres::start().await;
    let project = Project::on(&server).await;
    let quiet = project.try_open(&project.settings(DjangoMode::ReadOnly)).await.unwrap();
    assert!(!quiet.pushes_changes, "there are no triggers yet");
    assert!(quiet.tokens.changes(Cursor(0)).await.unwrap().events.is_empty());
    project.python(&format!("connection.cursor().execute('''{TRIGGERS}''')")).await;

    let names = ["off", "gone", "new", "moved", "renamed", "grouped", "witness"];
    let code = format!("for n in {names:?}: print(User.objects.create_user(n).auth_token.key)");
    let keys = project.python(&code).await;
    let keys: Vec<&str> = keys.lines().collect();
    let origin = Origin::answering("hello").await;
    let gateway = project.gateway(&origin).await;
    for key in &keys {
        assert_eq!(Ask::get("/api/x").token(key).to(&gateway).await.status, 200);
    }
    for (name, code) in [
        ("off", "User.objects.filter(username='off').update(is_active=False)"),
        ("gone", "User.objects.get(username='gone').delete()"),
        ("new", "Token.objects.get(user__username='new').delete()"),
    ] {
        project.python(code).await;
        let key = keys[names.iter().position(|other| *other == name).unwrap()];
        eventually(PATIENCE, name, || async { Ask::get("/api/x").token(key).to(&gateway).await.status == 401 }).await;
    }
    for (name, code, field, value) in [
        ("renamed", "User.objects.filter(username='renamed').update(username='other')", "x-user-name", "other"),
        (
            "grouped",
            "User.objects.get(username='grouped').groups.add(Group.objects.create(name='g'))",
            "x-user-groups",
            "g",
        ),
        ("grouped", "Group.objects.filter(name='g').update(name='h')", "x-user-groups", "h"),
    ] {
        project.python(code).await;
        let key = keys[names.iter().position(|other| *other == name).unwrap()];
        eventually(PATIENCE, name, || async {
            assert_eq!(Ask::get("/api/x").token(key).to(&gateway).await.status, 200);
            origin.last().fields.get(field) == Some(value)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_user_who_does_not_fit_into_a_header_gets_503() {
    let project = Project::on_sqlite().await;
    let code = "for n in ('alice', '密' * 150): print(User.objects.create_user(n).auth_token.key)";
    let keys = project.python(code).await;
    let origin = Origin::answering("hello").await;
    let gateway = project.gateway(&origin).await;
    let status = async |key: &str| Ask::get("/api/x").token(key).to(&gateway).await.status;
    let (alice, wide) = keys.split_once('\n').unwrap();
    for _ in 0..5 {
        assert_eq!(status(wide).await, 503);
    }
    assert_eq!((status(alice).await, origin.count()), (200, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn during_an_outage_only_cached_callers_pass_for_a_limited_time() {
    let project = Project::on_sqlite().await;
    let keys = project.python("for n in 'ab': print(User.objects.create_user(n).auth_token.key)").await;
    let (known, other) = keys.split_once('\n').unwrap();
    let origin = Origin::answering("hello").await;
    let gateway = project.gateway(&origin).await;
    let status = async |key: &str| Ask::get("/api/x").token(key).to(&gateway).await.status;
    assert_eq!(status(known).await, 200);
    let path = std::path::PathBuf::from(project.address.strip_prefix("django+sqlite:").unwrap());
    let away = path.with_extension("away");
    std::fs::rename(&path, &away).unwrap();
    gateway.hand.advance(TTL);
    assert_eq!((status(known).await, status(other).await), (200, 503));
    // The value of `serve_known_for`, counted from the last successful query.
    gateway.hand.advance(Duration::from_secs(300));
    // Polling fails as well: Django has no change log, but the poll queries the database.
    let failures = || gateway.metric("tokengate_change_log_failures_total");
    let before = failures();
    eventually(PATIENCE, "the log is looked at once more", || async { failures() > before + 1 }).await;
    assert_eq!(status(known).await, 503);
    std::fs::rename(&away, &path).unwrap();
    eventually(PATIENCE, "the database is asked again", || async { status(other).await == 200 }).await;
    eventually(PATIENCE, "all is as before", || async { status(known).await == 200 }).await;
}
