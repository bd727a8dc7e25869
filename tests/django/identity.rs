//! A Django project behind a gateway: the user is the one in the gateway's headers, and never a forged one.

use serde_json::{Value, json};
use tokengate::config::Settings;
use tokengate::config::settings::{Auth, DjangoMode, ForwardAuthorization};
use tokengate::token::AuthMethod;

use super::project::Project;
use super::served::Served;
use super::sessions::users;
use crate::browser::{Browser, PASSWORD, secret, with_pages};
use crate::support::gateway::route;
use crate::support::{Answer, Ask, PATIENCE, eventually};

/// Users with a token each; prints the id and the key of each.
const USERS: &str =
    "for n in ('alice', 'Zoë 100%41', 'victim'): u = User.objects.create_user(n); print(u.pk, u.auth_token.key)";

fn object(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_slice(&answer.body).unwrap()
}

/// Django as docs/DJANGO.md configures it, its server, and its users: id and key.
async fn behind_the_gateway() -> (Project, Served, [(i64, String); 3]) {
    let project = Project::on_sqlite().await.with("IDENTITY");
    let printed = project.python(USERS).await;
    let pair = |line: &str| line.split_once(' ').map(|(id, key)| (id.parse().unwrap(), key.to_owned())).unwrap();
    let users: Vec<(i64, String)> = printed.lines().map(pair).collect();
    let served = Served::start(&project).await;
    (project, served, users.try_into().unwrap())
}

/// Spellings that a server could accept for `X-User-Id` and `X-User-Name`.
const SPELLINGS: [(&str, &str); 4] = [
    ("X-User-Id", "X-User-Name"),
    ("x-user-id", "x-user-name"),
    ("X_User_Id", "X_User_Name"),
    ("X-User_Id", "X-User_Name"),
];

#[tokio::test]
async fn django_gets_the_caller_and_never_a_forged_one() {
    let (project, served, [alice, zoe, victim]) = behind_the_gateway().await;
    let gateway = served.gateway(&project, |_| ()).await;
    for ((id, key), name) in [(&alice, "alice"), (&zoe, "Zoë 100%41")] {
        let answer = Ask::get("/whoami/").token(key).to(&gateway).await;
        assert_eq!(object(&answer), json!({ "user": name, "id": id }));
        assert_eq!(Ask::get("/page/").token(key).to(&gateway).await.text(), name);
    }
    for (id, name) in SPELLINGS {
        let forged = |ask: Ask| ask.field(id, victim.0.to_string()).field(name, "victim");
        let answer = forged(Ask::get("/whoami/").token(&alice.1)).to(&gateway).await;
        assert_eq!(object(&answer), json!({ "user": "alice", "id": alice.0 }), "{id}");
        assert_eq!(forged(Ask::get("/page/")).to(&gateway).await.text(), "nobody", "{id}");
        assert_eq!(forged(Ask::get("/whoami/")).to(&gateway).await.status, 401, "{id}");
        // Without a gateway: this server trusts the header.
        let answer = served.connect().await.ask(forged(Ask::get("/whoami/")).bytes()).await;
        assert_eq!(object(&answer), json!({ "user": "victim", "id": victim.0 }), "{id}");
    }
    assert_eq!(served.connect().await.ask(Ask::get("/whoami/").bytes()).await.status, 401, "no header means anonymous");
}

#[tokio::test]
async fn a_django_session_ends_when_the_gateway_sends_no_or_another_user() {
    let (project, served, [alice, zoe, _]) = behind_the_gateway().await;
    let gateway = served.gateway(&project, |_| ()).await;
    let page = Ask::get("/page/").token(&alice.1).to(&gateway).await;
    let cookie = page.fields.all("set-cookie").into_iter().find(|line| line.starts_with("sessionid=")).unwrap();
    let cookie = cookie.split(';').next().unwrap();
    let again = Ask::get("/page/").token(&alice.1).field("Cookie", cookie).to(&gateway).await;
    assert!(again.text() == "alice" && !again.fields.has("set-cookie"), "the session is kept");
    assert_eq!(Ask::get("/page/").token(&zoe.1).field("Cookie", cookie).to(&gateway).await.text(), "Zoë 100%41");
    let page = Ask::get("/page/").token(&alice.1).to(&gateway).await;
    let cookie = page.fields.all("set-cookie").into_iter().find(|line| line.starts_with("sessionid=")).unwrap();
    let alone = Ask::get("/page/").field("Cookie", cookie.split(';').next().unwrap()).to(&gateway).await;
    assert_eq!(alone.text(), "nobody");
}

#[tokio::test]
async fn a_user_unknown_by_id_and_name_is_anonymous_and_is_not_created() {
    let (project, served, [alice, zoe, victim]) = behind_the_gateway().await;
    let gateway = served.gateway(&project, |_| ()).await;
    for (_, key) in [&alice, &zoe, &victim] {
        assert_eq!(Ask::get("/whoami/").token(key).to(&gateway).await.status, 200);
    }
    // The gateway still has the cached identity.
    let code = "
User.objects.filter(username='alice').update(username='renamed')
User.objects.filter(username='victim').update(is_active=False)
User.objects.get(username__startswith='Zo').delete()";
    project.python(code).await;
    for (_, key) in [&alice, &zoe, &victim] {
        let answer = Ask::get("/whoami/").token(key).to(&gateway).await;
        assert_eq!((answer.status, answer.fields.get("www-authenticate")), (401, Some("Token")));
        assert_eq!(Ask::get("/page/").token(key).to(&gateway).await.text(), "nobody");
    }
    assert_eq!(project.python("print(User.objects.count())").await, "2");
}

#[tokio::test]
async fn links_of_django_have_the_real_scheme_and_not_a_forged_one() {
    let (project, served, [alice, ..]) = behind_the_gateway().await;
    let gateway = served.gateway(&project, |_| ()).await;
    for forged in ["X-Forwarded-Proto", "X_Forwarded_Proto", "X-Forwarded-Host", "Forwarded"] {
        let ask = Ask::get("/address/").token(&alice.1).field(forged, "http");
        assert_eq!(ask.to(&gateway).await.text(), "https://localhost/address/", "{forged}");
    }
}

#[tokio::test]
async fn django_gets_a_chunked_body_if_the_route_buffers() {
    let (project, served, [alice, ..]) = behind_the_gateway().await;
    // A trailer makes the body chunked.
    let ask =
        Ask::post("/data/", r#"{"a":1}"#).token(&alice.1).field("Content-Type", "application/json").trailer("X-A", "b");
    for (buffers, got) in [(false, json!({})), (true, json!({ "a": 1 }))] {
        let gateway = served.gateway(&project, |settings| settings.routes[0].buffer_request = buffers).await;
        assert_eq!(object(&ask.to(&gateway).await), json!({ "got": got }), "{buffers}");
    }
}

#[tokio::test]
async fn scripts_satisfy_both_csrf_checks_if_each_has_its_own_cookie() {
    for apart in [false, true] {
        let project = Project::on_sqlite().await.with("IDENTITY");
        let project = if apart { project.with("CSRF") } else { project };
        users(&project, &["alice"]).await;
        let served = Served::start(&project).await;
        let with_sessions = |settings: &mut Settings| {
            with_pages(settings);
            settings.store.django.mode = DjangoMode::ReadWrite;
            settings.routes[0].credentials = vec![AuthMethod::Token, AuthMethod::Session];
        };
        let gateway = served.gateway(&project, with_sessions).await;
        let mut alice = Browser::of(&gateway, "alice").await;
        let of_django = secret(&alice.get(&gateway, "/form/").await);
        let body = format!("csrfmiddlewaretoken={of_django}");
        let form = Ask::post("/form/", body).field("Content-Type", "application/x-www-form-urlencoded");
        let form = alice.with_cookies(form).field("Origin", "https://localhost");
        let plain = form.clone().to(&gateway).await;
        assert_eq!((plain.status, plain.detail().as_str()), (403, "CSRF Failed: CSRF token missing."));
        let script = form.field("X-CSRFToken", alice.jar["csrftoken"].as_str()).to(&gateway).await;
        match apart {
            true => assert_eq!((script.status, script.text()), (200, "alice")),
            false => assert_eq!(script.status, 403, "the cookie is Django's: {script:?}"),
        }
    }
}

#[tokio::test]
async fn users_log_in_to_djangos_admin_through_a_public_route() {
    let project = Project::on_sqlite().await.with("IDENTITY");
    users(&project, &["root"]).await;
    project.python("User.objects.update(is_staff=True, is_superuser=True)").await;
    let served = Served::start(&project).await;
    for open in [false, true] {
        let admin = route("admin", "/admin/", if open { Auth::None } else { Auth::Required });
        let gateway = served.gateway(&project, |settings| settings.routes.push(admin)).await;
        let mut root = Browser::default();
        if !open {
            assert_eq!(root.get(&gateway, "/admin/login/").await.status, 401);
            continue;
        }
        let login = [("username", "root"), ("password", PASSWORD)];
        let answer = root.submit(&gateway, "/admin/login/", "/admin/login/?next=/admin/", &login).await;
        assert_eq!((answer.status, answer.fields.get("location")), (302, Some("/admin/")), "{answer:?}");
        assert_eq!(root.get(&gateway, "/admin/auth/user/add/").await.status, 200);
        let new = [("username", "new"), ("usable_password", "false")];
        let made = root.submit(&gateway, "/admin/auth/user/add/", "/admin/auth/user/add/", &new).await;
        assert_eq!(made.status, 302, "{made:?}");
    }
}

#[tokio::test]
async fn a_project_that_checks_tokens_itself_gets_them_on_request() {
    let project = Project::on_sqlite().await;
    let key = project.python("print(User.objects.create_user('alice').auth_token.key)").await;
    let served = Served::start(&project).await;
    let gateway = served.gateway(&project, |_| ()).await;
    let answer = Ask::get("/whoami/").token(&key).to(&gateway).await;
    assert_eq!((answer.status, answer.detail().as_str()), (401, "Authentication credentials were not provided."));
    let gateway = served
        .gateway(&project, |settings| {
            settings.routes.iter_mut().for_each(|route| route.forward_authorization = ForwardAuthorization::Always)
        })
        .await;
    assert_eq!(object(&Ask::get("/whoami/").token(&key).to(&gateway).await)["user"], "alice");
}

#[tokio::test]
async fn each_migration_creates_the_triggers_on_its_tables() {
    let project = Project::on_postgres().await.with("PUSH");
    project.migrate().await;
    let keys = project.python("for n in ('off', 'gone'): print(User.objects.create_user(n).auth_token.key)").await;
    let (off, gone) = keys.split_once('\n').unwrap();
    project.python("connection.cursor().execute('DROP TRIGGER tokengate_user_changed ON auth_user')").await;
    project.migrate().await;
    let served = Served::start(&project).await;
    let gateway = served
        .gateway(&project, |settings| {
            settings.routes.iter_mut().for_each(|route| route.forward_authorization = ForwardAuthorization::Always)
        })
        .await;
    let status = async |key: &str| Ask::get("/whoami/").token(key).to(&gateway).await.status;
    assert_eq!((status(off).await, status(gone).await), (200, 200));
    // Django sends no model signal for this change.
    project.python("User.objects.filter(username='off').update(is_active=False)").await;
    project.python("Token.objects.filter(user__username='gone')._raw_delete('default')").await;
    eventually(PATIENCE, "both are forgotten", || async { (status(off).await, status(gone).await) == (401, 401) })
        .await;
}

#[tokio::test]
async fn a_migration_changes_nothing_on_a_database_without_notifications() {
    let project = Project::on_sqlite().await.with("PUSH");
    let before = project.dump().await;
    project.migrate().await;
    assert_eq!(project.dump().await, before);
}
