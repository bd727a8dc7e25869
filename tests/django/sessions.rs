//! Browser logins with a Django database: sessions are rows of its session table.

use std::sync::Arc;
use std::time::Duration;

use tokengate::app::{self, StartError, World};
use tokengate::clock::Clock;
use tokengate::config::Settings;
use tokengate::config::settings::{DjangoMode, Login};
use tokengate::store::NoSessions;
use tokengate::units::Rate;
use tokengate::upstream::Resolver;

use super::for_each_database;
use super::project::Project;
use crate::browser::{Browser, PASSWORD, SESSION, shown_key, with_pages};
use crate::support::{Ask, Gate, Gateway, Origin, PATIENCE, Postgres, Step, Wire, eventually};

/// How long an identity is cached: `cache.memory.ttl`.
const TTL: Duration = Duration::from_secs(60);

/// The triggers of docs/DJANGO.md.
const TRIGGERS: &str = include_str!("../../docs/django/push-postgresql.sql");

for_each_database! {
    a_session_is_a_row_of_django_and_ends_with_its_log_out
    a_session_that_ends_in_django_ends_here_within_the_lifetime_of_an_entry
    django_and_the_gateway_ignore_each_others_sessions
    an_invalid_row_is_no_session
    the_account_page_offers_only_what_django_supports
    a_login_without_a_valid_token_is_explained
}

/// Users with [`PASSWORD`].
pub async fn users(project: &Project, names: &[&str]) {
    let code = format!(
        "
from django.contrib.auth.hashers import PBKDF2PasswordHasher
for n in {names:?}:
    User.objects.create(username=n, password=PBKDF2PasswordHasher().encode('{PASSWORD}', 'salt', 1))"
    );
    project.python(&code).await;
}

async fn gateway(project: &Project, origin: &Origin) -> Gateway {
    project.site(origin, DjangoMode::ReadWrite).with(with_pages).start().await
}

async fn status(gateway: &Gateway, browser: &Browser) -> u16 {
    browser.with_cookies(Ask::get("/both/x")).to(gateway).await.status
}

async fn act(browser: &mut Browser, gateway: &Gateway, fields: &[(&str, &str)]) -> crate::support::Answer {
    let answer = browser.submit(gateway, "/auth/account/", "/auth/account/", fields).await;
    if answer.status == 303 { browser.get(gateway, "/auth/account/").await } else { answer }
}

async fn a_session_is_a_row_of_django_and_ends_with_its_log_out(project: Project) {
    users(&project, &["alice", "lateOff"]).await;
    project.python("User.objects.filter(username='lateOff').update(is_active=False)").await;
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&project, &origin).await;
    for (name, password) in [("alice", "nope"), ("lateOff", PASSWORD), ("nobody", PASSWORD), ("ALICE", PASSWORD)] {
        let mut stranger = Browser::default();
        assert_eq!(stranger.log_in(&gateway, name, password).await.status, 200, "{name}");
        assert!(!stranger.jar.contains_key(SESSION), "{name}");
    }
    assert_eq!(
        project.python("print(Session.objects.count(), User.objects.get(username='alice').last_login)").await,
        "0 None"
    );

    let mut alice = Browser::of(&gateway, "alice").await;
    assert_eq!(status(&gateway, &alice).await, 200);
    let seen = origin.last();
    let field = |name: &str| seen.fields.get(name);
    assert_eq!(
        (field("x-user-name"), field("x-auth-method"), field("x-token-id")),
        (Some("alice"), Some("session"), None)
    );
    let code = "
import datetime
s = Session.objects.get()
now = datetime.datetime.now(datetime.timezone.utc)
assert abs(s.expire_date - now - datetime.timedelta(days=14)) < datetime.timedelta(minutes=10), s.expire_date
assert abs(User.objects.get(username='alice').last_login - now) < datetime.timedelta(minutes=10)
assert len(s.session_key) == 40 and set(s.session_key) <= set('0123456789abcdef'), s.session_key
print(s.session_key, s.session_data)";
    let row = project.python(code).await;
    assert!(!row.contains(alice.session()), "the key appears nowhere");

    let copy = alice.clone();
    alice.submit(&gateway, "/auth/account/", "/auth/logout/", &[]).await;
    eventually(PATIENCE, "it has ended", || async { status(&gateway, &copy).await == 401 }).await;
    assert_eq!(project.python("print(Session.objects.count())").await, "0");

    // A login that ends the browser's previous session.
    let former = Browser::of(&gateway, "alice").await;
    assert_eq!(status(&gateway, &former).await, 200);
    let mut again = former.clone();
    assert_eq!(again.log_in(&gateway, "alice", PASSWORD).await.status, 302);
    eventually(PATIENCE, "the old one has ended", || async { status(&gateway, &former).await == 401 }).await;
    assert_eq!(status(&gateway, &again).await, 200);
    gateway.hand.advance(Duration::from_secs(14 * 86_400 + 1));
    assert_eq!(status(&gateway, &again).await, 401, "its time is over");
}

async fn a_session_that_ends_in_django_ends_here_within_the_lifetime_of_an_entry(project: Project) {
    let ways = [
        ("password", "u = User.objects.get(username='password'); u.set_password('another pass 1'); u.save()"),
        ("unusable", "u = User.objects.get(username='unusable'); u.set_unusable_password(); u.save()"),
        ("off", "User.objects.filter(username='off').update(is_active=False)"),
        ("gone", "User.objects.get(username='gone').delete()"),
        ("row", "Session.objects.get(session_data__contains=f\":{User.objects.get(username='row').pk}:\").delete()"),
    ];
    users(&project, &["password", "unusable", "off", "gone", "row", "witness"]).await;
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&project, &origin).await;
    let witness = Browser::of(&gateway, "witness").await;
    let mut browsers = Vec::new();
    for (name, _) in ways {
        browsers.push((name, Browser::of(&gateway, name).await));
    }
    for (name, browser) in &browsers {
        assert_eq!(status(&gateway, browser).await, 200, "{name}");
    }
    project.python(&ways.map(|(_, code)| code).join("\n")).await;
    gateway.hand.advance(TTL);
    for (name, browser) in &browsers {
        assert_eq!(status(&gateway, browser).await, 401, "{name}");
    }
    assert_eq!(status(&gateway, &witness).await, 200);
    assert_eq!(Browser::default().log_in(&gateway, "password", PASSWORD).await.status, 200, "the former password");
    project.python("User.objects.filter(username='off').update(is_active=True)").await;
    gateway.hand.advance(TTL);
    assert_eq!(status(&gateway, &browsers[2].1).await, 200, "on again, as in Django");
}

async fn django_and_the_gateway_ignore_each_others_sessions(project: Project) {
    users(&project, &["alice", "bob"]).await;
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&project, &origin).await;
    let code = "
User.objects.filter(username='bob').update(is_staff=True, is_superuser=True)
c = Client(); c.force_login(User.objects.get(username='bob')); print(c.cookies['sessionid'].value)";
    let djangos = project.python(code).await;
    let (alice, over) = (Browser::of(&gateway, "alice").await, Browser::of(&gateway, "alice").await);
    let code =
        "print(*Session.objects.filter(session_data__startswith='tokengate:').values_list('session_key', flat=True))";
    let ours = project.python(code).await;
    let keys: Vec<_> = ours.split(' ').collect();
    assert_eq!(keys.len(), 2);
    // Neither the key of Django's session nor the keys in the table are valid here.
    for key in [&[djangos.as_str()], &keys[..]].concat() {
        let mut thief = alice.clone();
        thief.jar.insert(SESSION.to_owned(), key.to_owned());
        assert_eq!(status(&gateway, &thief).await, 401, "{key}");
    }
    // Nor are ours valid in Django.
    let code = format!(
        "
for key in '{ours} {}'.split():
    c = Client(); c.cookies['sessionid'] = key
    assert c.get('/admin/').status_code == 302, key
c = Client(); c.cookies['sessionid'] = '{djangos}'
assert c.get('/admin/').status_code == 200",
        alice.session(),
    );
    project.python(&code).await;
    assert_eq!((status(&gateway, &alice).await, status(&gateway, &over).await), (200, 200));

    let sweep = "
import datetime
from django.core.management import call_command
past = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
Session.objects.filter(session_key=KEY).update(expire_date=past)
call_command('clearsessions')
print(Session.objects.count())";
    assert_eq!(project.python(&sweep.replace("KEY", &format!("'{}'", keys[0]))).await, "2", "one was over");
    gateway.hand.advance(TTL);
    let mut left = [status(&gateway, &alice).await, status(&gateway, &over).await];
    left.sort_unstable();
    assert_eq!(left, [200, 401]);
}

async fn an_invalid_row_is_no_session(project: Project) {
    users(&project, &["alice"]).await;
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&project, &origin).await;
    let mut browsers = Vec::new();
    for _ in 0..14 {
        browsers.push(Browser::of(&gateway, "alice").await);
    }
    let code = "
import datetime
c = Client(); c.force_login(User.objects.get(username='alice'))
django = Session.objects.get(session_key=c.cookies['sessionid'].value)
ours = Session.objects.filter(session_data__startswith='tokengate:')
texts = ['', 'tokengate:1:', 'tokengate:1:x:y:z', '☃' * 1000, django.session_data]
rows = list(ours)
for row, text in zip(rows, texts):
    Session.objects.filter(pk=row.pk).update(session_data=text)
past = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
Session.objects.filter(pk=rows[5].pk).update(expire_date=past)
if connection.vendor != 'mysql':
    connection.cursor().execute(\"UPDATE django_session SET expire_date = 'infinity' WHERE session_key = %s\", [rows[6].pk])
else:
    rows[6].delete()
odd = ['5373484', '5373484.5', '@4102444800000000', '2999-01-01', 'now', \"CAST('2999-01-01 00:00:00' AS BLOB)\", \"''\"]
for row, end in zip(rows[7:], odd):
    if connection.vendor == 'sqlite':
        end = end if end[0] in '5C\\'' else f\"'{end}'\"
        connection.cursor().execute(f\"UPDATE django_session SET expire_date = {end} WHERE session_key = %s\", [row.pk])
    else:
        row.delete()";
    project.python(code).await;
    gateway.hand.advance(TTL);
    for browser in &browsers {
        assert_eq!(status(&gateway, browser).await, 401);
    }
}

async fn the_account_page_offers_only_what_django_supports(project: Project) {
    users(&project, &["alice"]).await;
    let key = project.python("print(Token.objects.get().key)").await;
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&project, &origin).await;
    let counts = async |key: &str| Ask::get("/api/x").token(key).to(&gateway).await.status == 200;
    let mut alice = Browser::of(&gateway, "alice").await;
    let page = alice.get(&gateway, "/auth/account/").await;
    let text = page.text();
    assert!(text.contains(&key[..8]) && !text.contains(&key), "{text}");
    assert!(text.contains("value=\"reset\"") && text.contains("value=\"reveal\"") && text.contains("value=\"revoke\""));
    assert!(!text.contains("New token") && !text.contains("value=\"create\"") && !text.contains("Last used"), "{text}");
    let made = act(&mut alice, &gateway, &[("action", "create"), ("name", "ci"), ("password", PASSWORD)]).await;
    assert!(made.text().contains("Unknown action."), "{}", made.text());

    assert!(counts(&key).await);
    let fresh = shown_key(&act(&mut alice, &gateway, &[("action", "reset"), ("password", PASSWORD)]).await);
    assert!(counts(&fresh).await);
    // The clock stands still: the gateway that made the change does not wait for the lifetime of cache entries.
    eventually(PATIENCE, "the old one has ended", async || !counts(&key).await).await;
    assert_eq!(project.python("print(Token.objects.get().key)").await, fresh);
    let id = project.python("print(User.objects.get().pk)").await;
    act(&mut alice, &gateway, &[("action", "revoke"), ("token", &id)]).await;
    eventually(PATIENCE, "it is revoked", async || !counts(&fresh).await).await;
    assert_eq!(project.python("print(Token.objects.count())").await, "0");
}

async fn a_login_without_a_valid_token_is_explained(project: Project) {
    users(&project, &["alice", "late"]).await;
    let key = project.python("print(Token.objects.get().key)").await;
    let origin = Origin::answering("hello").await;
    let with_login = |settings: &mut Settings| {
        settings.login = Some(Login { per_user: Some(Rate::per_minute(1)), ..Login::default() });
    };
    let gateway = project.site(&origin, DjangoMode::ReadOnly).with(with_login).start().await;
    let log_in = async |name: &str, password: &str| {
        let body = format!("{{\"username\":\"{name}\",\"password\":\"{password}\"}}");
        Ask::post("/gettoken/", body).field("Content-Type", "application/json").to(&gateway).await
    };
    let answer = log_in("alice", PASSWORD).await;
    assert_eq!((answer.status, answer.text()), (200, format!("{{\"token\":\"{key}\"}}").as_str()));
    // The right password is no failed attempt, however often it is sent.
    for _ in 0..3 {
        let answer = log_in("late", PASSWORD).await;
        assert_eq!(
            (answer.status, answer.detail().as_str()),
            (403, "You have no token yet, and no token can be created here.")
        );
    }
    gateway.has_counted(Login::NAME, "no_token", 3).await;
    assert_eq!(log_in("late", "nope").await.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_end_with_the_sign_out() {
    let project = Project::on_sqlite().await;
    users(&project, &["alice"]).await;
    let gate = Gate::closed();
    let begin = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n".to_vec();
    let origin = Origin::doing(vec![Step::Read, Step::Send(begin), Step::Wait(Arc::clone(&gate)), Step::Hang]).await;
    let gateway = gateway(&project, &origin).await;
    let mut alice = Browser::of(&gateway, "alice").await;
    let mut wire = Wire::open(&gateway).await;
    wire.send(alice.with_cookies(Ask::get("/live/x")).bytes()).await;
    assert_eq!(wire.next_head().await.unwrap().0, 200);
    alice.submit(&gateway, "/auth/account/", "/auth/logout/", &[]).await;
    assert!(!wire.rest().await.ends_with(b"0\r\n\r\n"), "it was cut");
    gateway.has_counted("live", "token_ended", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_session_table_the_start_fails_with_advice() {
    let project = Project::on_sqlite().await;
    let origin = Origin::answering("hello").await;
    let refused = async |mode, table: &str| {
        let site = project.site(&origin, mode).with(with_pages);
        let mut settings = site.settings;
        settings.store.django.session_table = table.to_owned();
        let store = project.try_open(&settings.store).await.unwrap();
        let world = World {
            clock: Clock::system(),
            store,
            access_log: Box::new(std::io::sink()),
            process_log: None,
            configuration: None,
            resolver: Resolver::system(),
        };
        match app::start(settings, world).await {
            Err(StartError::NoSessions(none)) => none,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it starts"),
        }
    };
    let none = refused(DjangoMode::ReadOnly, "django_session").await;
    assert!(matches!(none, NoSessions::ReadOnly) && none.to_string().contains("mode = \"read-write\""), "{none}");
    let none = refused(DjangoMode::ReadWrite, "elsewhere").await;
    assert!(none.to_string().starts_with("table elsewhere is missing (store.django.session_table); "), "{none}");
    let none = refused(DjangoMode::ReadWrite, "auth_user").await;
    assert!(none.to_string().contains("table auth_user has no column session_key"), "{none}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_triggers_postgresql_pushes_the_end_of_sessions() {
    let server = Postgres::start().await;
    let project = Project::on(&server).await;
    project.python(&format!("connection.cursor().execute('''{TRIGGERS}''')")).await;
    let ways = [
        ("password", "u = User.objects.get(username='password'); u.set_password('another pass 1'); u.save()"),
        ("off", "User.objects.filter(username='off').update(is_active=False)"),
        ("row", "Session.objects.get(session_data__contains=f\":{User.objects.get(username='row').pk}:\").delete()"),
        ("all", "connection.cursor().execute('TRUNCATE django_session')"),
    ];
    users(&project, &ways.map(|(name, _)| name)).await;
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&project, &origin).await;
    let mut browsers = Vec::new();
    for (name, _) in ways {
        browsers.push(Browser::of(&gateway, name).await);
    }
    for ((name, code), browser) in ways.iter().zip(&browsers) {
        assert_eq!(status(&gateway, browser).await, 200, "{name}");
        project.python(code).await;
        eventually(PATIENCE, name, || async { status(&gateway, browser).await == 401 }).await;
    }
}
