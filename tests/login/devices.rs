//! Logins in the words of other packages: Basic credentials, a token for each device, logouts, names in responses.

use std::time::Duration;

use base64ct::{Base64, Encoding};
use serde_json::Value;
use tokengate::config::settings::{BasicLogin, Login, LoginResponse, PerLogin, Settings};
use tokengate::store::{LimitChanges, NamedToken, Page, Terms, TokenFilter, TokenKind, TokenLimits};
use tokengate::token::Networks;
use tokengate::units::Rate;

use super::{PASSWORD, login, site, token, user};
use crate::support::client::BOTH;
use crate::support::{Answer, Ask, Gateway, Origin, PATIENCE, eventually};

const WRONG: &str = r#"{"detail":"Invalid username/password."}"#;

async fn gateway(change: impl FnOnce(&mut Settings)) -> Gateway {
    // It answers until the end of the process.
    let origin = Box::leak(Box::new(Origin::answering("hello").await));
    let gateway = site(origin).with(change).start().await;
    user(&gateway, "alice").await;
    gateway
}

fn set(settings: &mut Settings, change: impl FnOnce(&mut Login)) {
    change(settings.login.as_mut().unwrap());
}

fn basic(method: &str, name: &str, password: &str) -> Ask {
    let credentials = Base64::encode_string(format!("{name}:{password}").as_bytes());
    Ask::new(method, "/gettoken/").field("Authorization", format!("Basic {credentials}"))
}

async fn status(gateway: &Gateway, key: &str) -> u16 {
    Ask::get("/api/x").token(key).to(gateway).await.status
}

async fn ends(gateway: &Gateway, key: &str) {
    eventually(PATIENCE, "the token ends", || async { status(gateway, key).await == 401 }).await;
}

#[tokio::test]
async fn a_login_reads_basic_credentials_where_that_is_switched_on() {
    for (mode, challenge) in
        [(BasicLogin::Quiet, "Token"), (BasicLogin::Prompt, "Basic realm=\"api\", charset=\"UTF-8\"")]
    {
        let gateway = gateway(|settings| set(settings, |login| login.basic = mode)).await;
        let shared = token(&login("alice", PASSWORD).to(&gateway).await);
        for http in BOTH {
            for method in ["GET", "POST"] {
                let answer = basic(method, "alice", PASSWORD).over(http, &gateway).await;
                assert_eq!(token(&answer), shared, "{http:?} {method}");
                assert_eq!(answer.fields.get("cache-control"), Some("no-store"));
                for (ask, text) in [
                    (basic(method, "alice", "nope"), WRONG),
                    (basic(method, "nobody", PASSWORD), WRONG),
                    (basic(method, "alice", ""), WRONG),
                    (
                        Ask::new(method, "/gettoken/").field("Authorization", "Basic"),
                        r#"{"detail":"Invalid basic header. No credentials provided."}"#,
                    ),
                    (
                        Ask::new(method, "/gettoken/").field("Authorization", "Basic !"),
                        r#"{"detail":"Invalid basic header. Credentials not correctly base64 encoded."}"#,
                    ),
                ] {
                    let answer = ask.over(http, &gateway).await;
                    assert_eq!((answer.status, answer.text()), (401, text), "{http:?} {ask:?}");
                    assert_eq!(answer.fields.get("www-authenticate"), Some(challenge), "{ask:?}");
                }
            }
            let twice = basic("POST", "alice", PASSWORD).field("Authorization", "Token x").over(http, &gateway).await;
            assert_eq!(twice.status, 400);
            let none = Ask::get("/gettoken/").over(http, &gateway).await;
            assert_eq!((none.status, none.fields.get("allow")), (401, Some("GET, POST, OPTIONS")));
            // A token in the header is no reason to refuse a form, and a header no reason to read one.
            let beside = login("alice", PASSWORD).token("old").over(http, &gateway).await;
            assert_eq!(token(&beside), shared);
            assert_eq!(Ask::new("PUT", "/gettoken/").over(http, &gateway).await.status, 405);
        }
    }
    let gateway = gateway(|_| {}).await;
    assert_eq!(basic("GET", "alice", PASSWORD).to(&gateway).await.status, 405);
    assert_eq!(basic("POST", "alice", PASSWORD).to(&gateway).await.status, 400, "only the form is read");
}

#[tokio::test]
async fn attempts_with_basic_are_limited_like_all_others() {
    let gateway = gateway(|settings| {
        set(settings, |login| (login.basic, login.per_user) = (BasicLogin::Prompt, Some(Rate::per_minute(2))));
    })
    .await;
    for ask in [basic("GET", "alice", "nope"), basic("POST", "alice", "nope")] {
        assert_eq!(ask.to(&gateway).await.status, 401);
    }
    for ask in [basic("GET", "alice", PASSWORD), basic("POST", "alice", PASSWORD), login("alice", PASSWORD)] {
        let answer = ask.to(&gateway).await;
        assert_eq!((answer.status, answer.fields.get("retry-after")), (429, Some("30")), "{ask:?}");
        assert!(!answer.fields.has("www-authenticate"));
    }
}

#[tokio::test]
async fn the_response_has_the_names_of_the_package_that_it_follows() {
    use LoginResponse::{DjRestAuth, Djoser, Drf, Knox, Netbox};
    for (response, status, names) in [
        (Drf, 200, &["token"][..]),
        (Djoser, 200, &["auth_token"]),
        (DjRestAuth, 200, &["key"]),
        (Knox, 200, &["expiry", "token"]),
        (Netbox, 201, &["expires", "id", "key"]),
    ] {
        for ttl in [None, Some(Duration::from_secs(3_600))] {
            let gateway = gateway(|settings| {
                set(settings, |login| login.response = response);
                settings.tokens.default_ttl = ttl;
            })
            .await;
            let answer = login("alice", PASSWORD).to(&gateway).await;
            assert_eq!(answer.status, status, "{response:?}");
            let object: Value = serde_json::from_slice(&answer.body).unwrap();
            let mut keys: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
            keys.sort_unstable();
            assert_eq!(keys, names, "{response:?}");
            let key = ["token", "auth_token", "key"].iter().find_map(|name| object[name].as_str()).unwrap();
            assert_eq!(self::status(&gateway, key).await, 200);
            if let Some(end) = object.get("expiry").or_else(|| object.get("expires")) {
                assert_eq!(end.is_null(), ttl.is_none(), "{response:?}");
                assert!(end.is_null() || end.as_str().unwrap().ends_with('Z'));
            }
            // Errors keep the words of Django REST Framework.
            assert_eq!(login("alice", "nope").to(&gateway).await.text(), super::REFUSED);
        }
    }
}

fn with_devices(settings: &mut Settings) {
    settings.tokens.per_login = PerLogin::Device;
    settings.tokens.max_per_user = 4;
    set(settings, |login| {
        login.basic = BasicLogin::Quiet;
        login.logout_path = Some("/logout/".to_owned());
        login.logout_all_path = Some("/logoutall/".to_owned());
    });
}

async fn tokens_of(gateway: &Gateway) -> Vec<(TokenKind, bool, String, bool)> {
    let filter = TokenFilter { owner: Some(gateway.user("alice").await), live: false };
    let all = gateway.store.ledger.list(filter, Page::first(100)).await.unwrap();
    all.into_iter().map(|token| (token.kind, token.device, token.name, token.record.revoked.is_none())).collect()
}

fn log_out(path: &str, key: &str) -> Ask {
    Ask::post(path, "").token(key)
}

async fn is_ended(gateway: &Gateway, answer: Answer, keys: &[&str]) {
    assert_eq!((answer.status, answer.body.len()), (204, 0), "{answer:?}");
    for key in keys {
        ends(gateway, key).await;
    }
}

#[tokio::test]
async fn each_login_has_a_token_of_its_own_with_an_end() {
    let gateway = gateway(with_devices).await;
    let from = |program: &str| login("alice", PASSWORD).field("User-Agent", program);
    let phone = token(&from("Phone/1.0").to(&gateway).await);
    let laptop = token(&from(&"x".repeat(300)).to(&gateway).await);
    let third = token(&basic("GET", "alice", PASSWORD).to(&gateway).await);
    assert!(phone != laptop && laptop != third);
    let names: Vec<_> = tokens_of(&gateway).await.into_iter().filter(|(_, device, ..)| *device).collect();
    assert_eq!(names[0], (TokenKind::Named, true, "login: Phone/1.0".to_owned(), true));
    assert_eq!((names[1].2.len(), names[2].2.as_str()), (87, "login"));
    // A further one ends the one that was not used for the longest time.
    for _ in 0..3 {
        assert_eq!(status(&gateway, &third).await, 200);
        token(&from("Phone/2.0").to(&gateway).await);
    }
    ends(&gateway, &phone).await;
    // All end after their time.
    let last = token(&from("Phone/3.0").to(&gateway).await);
    assert_eq!(status(&gateway, &last).await, 200);
    gateway.hand.advance(Duration::from_secs(31 * 86_400));
    ends(&gateway, &last).await;
}

#[tokio::test]
async fn a_logout_ends_the_token_of_the_request_or_all_tokens_from_logins() {
    let gateway = gateway(with_devices).await;
    let order = NamedToken { name: "ci".to_owned(), ..NamedToken::default() };
    let named = gateway.store.ledger.issue_named(gateway.user("alice").await, &order).await.unwrap().key;
    let named = named.expose().to_owned();
    for http in BOTH {
        let [first, second, third] = [0, 1, 2].map(|_| login("alice", PASSWORD));
        let [first, second, third] =
            [token(&first.to(&gateway).await), token(&second.to(&gateway).await), token(&third.to(&gateway).await)];
        is_ended(&gateway, log_out("/logout/", &first).over(http, &gateway).await, &[&first]).await;
        assert_eq!((status(&gateway, &second).await, status(&gateway, &third).await), (200, 200));
        assert_eq!(log_out("/logout", &first).over(http, &gateway).await.status, 401);
        for path in ["/logout/", "/logoutall/"] {
            let refused = log_out(path, &named).over(http, &gateway).await;
            let told = "This token was not issued by a login, so it cannot log out.";
            assert_eq!((refused.status, refused.detail().as_str()), (403, told), "{path}");
        }
        is_ended(&gateway, log_out("/logoutall/", &second).over(http, &gateway).await, &[&second, &third]).await;
        assert_eq!(status(&gateway, &named).await, 200);
        for path in ["/logout/", "/logoutall/"] {
            let answer = Ask::post(path, "").over(http, &gateway).await;
            assert_eq!((answer.status, answer.fields.get("www-authenticate")), (401, Some("Token")), "{path}");
            let answer = Ask::get(path).token(&named).over(http, &gateway).await;
            assert_eq!((answer.status, answer.fields.get("allow")), (405, Some("POST, OPTIONS")), "{path}");
        }
    }
}

#[tokio::test]
async fn a_shared_login_token_is_ended_by_a_logout_and_limits_hold_there_too() {
    let gateway = gateway(|settings| {
        with_devices(settings);
        settings.tokens.per_login = PerLogin::Shared;
    })
    .await;
    let shared = token(&login("alice", PASSWORD).to(&gateway).await);
    is_ended(&gateway, log_out("/logout/", &shared).to(&gateway).await, &[&shared]).await;
    let next = token(&login("alice", PASSWORD).to(&gateway).await);
    assert_ne!(next, shared);
    let issue = async |limits| {
        let order = NamedToken { name: "ci".to_owned(), limits, ..NamedToken::default() };
        let issued = gateway.store.ledger.issue_named(gateway.user("alice").await, &order).await.unwrap();
        issued.key.expose().to_owned()
    };
    let networks = Networks::parse("192.0.2.0/24").unwrap();
    let elsewhere = issue(TokenLimits { networks, ..TokenLimits::default() }).await;
    let reader = issue(TokenLimits { read_only: true, ..TokenLimits::default() }).await;
    for key in [&elsewhere, &reader] {
        assert_eq!(log_out("/logoutall/", key).to(&gateway).await.status, 403);
    }
    assert_eq!(status(&gateway, &next).await, 200);
}

#[tokio::test]
async fn logout_all_ends_a_login_token_that_was_rotated_and_still_works() {
    for per_login in [PerLogin::Shared, PerLogin::Device] {
        let gateway = gateway(|settings| {
            with_devices(settings);
            settings.tokens.per_login = per_login;
        })
        .await;
        let ledger = &gateway.store.ledger;
        let former = ledger.issue_login(gateway.user("alice").await).await.unwrap();
        let named = NamedToken { name: "ci".to_owned(), ..NamedToken::default() };
        let named = ledger.issue_named(gateway.user("alice").await, &named).await.unwrap();
        let named = ledger.rotate(named.id, Duration::from_secs(3_600)).await.unwrap();
        let present = ledger.rotate(former.id, Duration::from_secs(3_600)).await.unwrap();
        let (former, present) = (former.key.expose(), present.key.expose());
        assert_eq!((status(&gateway, former).await, status(&gateway, present).await), (200, 200));
        is_ended(&gateway, log_out("/logoutall/", present).to(&gateway).await, &[present, former]).await;
        assert_eq!(status(&gateway, named.key.expose()).await, 200, "other tokens stay");
    }
}

#[tokio::test]
async fn a_device_token_has_the_limits_of_the_login_token() {
    let gateway = gateway(with_devices).await;
    let owner = gateway.user("alice").await;
    let login_token = gateway.store.ledger.issue_login(owner).await.unwrap().id;
    let set = async |terms| gateway.store.ledger.set_terms(login_token, &terms).await.unwrap();
    let limits = LimitChanges { read_only: Some(true), ..LimitChanges::default() };
    assert!(set(Terms { limits, ..Terms::default() }).await);
    let key = token(&login("alice", PASSWORD).to(&gateway).await);
    assert_eq!(
        (status(&gateway, &key).await, Ask::post("/api/x", "").token(&key).to(&gateway).await.status),
        (200, 403)
    );
    assert!(set(Terms { disabled: Some(true), ..Terms::default() }).await);
    assert_eq!(login("alice", PASSWORD).to(&gateway).await.status, 403);
}

#[tokio::test]
async fn a_logout_removes_nothing_that_an_administrator_has_set() {
    for per_login in [PerLogin::Shared, PerLogin::Device] {
        let gateway = gateway(|settings| {
            with_devices(settings);
            settings.tokens.per_login = per_login;
        })
        .await;
        let device = token(&login("alice", PASSWORD).to(&gateway).await);
        let owner = gateway.user("alice").await;
        let login_token = gateway.store.ledger.issue_login(owner).await.unwrap();
        let limits = LimitChanges { read_only: Some(true), ..LimitChanges::default() };
        let terms = Terms { limits, ..Terms::default() };
        assert!(gateway.store.ledger.set_terms(login_token.id, &terms).await.unwrap());
        let key = login_token.key.expose();
        let is_read_only = || async { Ask::post("/api/x", "").token(key).to(&gateway).await.status == 403 };
        eventually(PATIENCE, "the limit applies", is_read_only).await;
        is_ended(&gateway, log_out("/logout/", key).to(&gateway).await, &[key]).await;
        let next = token(&login("alice", PASSWORD).to(&gateway).await);
        assert_eq!(Ask::post("/api/x", "").token(&next).to(&gateway).await.status, 403, "{per_login:?}");

        // A disabled login token survives the logout of all others.
        if per_login == PerLogin::Device {
            let login_token = gateway.store.ledger.issue_login(owner).await.unwrap().id;
            let disabled = Terms { disabled: Some(true), ..Terms::default() };
            assert!(gateway.store.ledger.set_terms(login_token, &disabled).await.unwrap());
            is_ended(&gateway, log_out("/logoutall/", &device).to(&gateway).await, &[&device]).await;
            assert_eq!(login("alice", PASSWORD).to(&gateway).await.status, 403);
        }
    }
}
