//! Responses of the login: a token, or an error that does not tell the cause.

use std::fs;

use tokengate::config::settings::Login;

use super::{PASSWORD, REFUSED, gateway, login, site, token, typed, user, user_with_hash};
use crate::support::client::BOTH;
use crate::support::{Ask, Origin, PATIENCE, Wire, eventually, soon};

#[tokio::test]
async fn a_login_returns_the_same_token_every_time() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let id = user(&gateway, "alice").await;
    let key = gateway.store.ledger.issue_login(id).await.unwrap().key.expose().to_owned();
    for http in BOTH {
        let answer = login("alice", PASSWORD).over(http, &gateway).await;
        assert_eq!((answer.status, answer.text()), (200, format!("{{\"token\":\"{key}\"}}").as_str()));
        for (name, value) in [
            ("content-type", Some("application/json")),
            ("content-length", Some("52")),
            ("cache-control", Some("no-store")),
            ("allow", Some("POST, OPTIONS")),
            ("x-content-type-options", Some("nosniff")),
            ("strict-transport-security", Some("max-age=600")),
            ("www-authenticate", None),
            ("set-cookie", None),
            ("connection", None),
        ] {
            assert_eq!(answer.fields.get(name), value, "{name}");
        }
        assert!(answer.fields.has("x-request-id"));
    }
    assert_eq!(origin.count(), 0, "no upstream sees a login");
    assert_eq!(Ask::get("/api/x").token(&key).to(&gateway).await.status, 200);
}

#[tokio::test]
async fn a_user_without_a_token_gets_one() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    user(&gateway, "nora").await;
    let first = token(&login("nora", PASSWORD).to(&gateway).await);
    assert!(first.len() == 40 && first.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{first}");
    assert_eq!(Ask::get("/api/x").token(&first).to(&gateway).await.status, 200);
    assert_eq!(token(&login("nora", PASSWORD).to(&gateway).await), first);
    let nora = gateway.store.accounts.find("nora").await.unwrap().unwrap();
    assert_eq!(nora.last_login, None, "as with Django REST Framework, which notes only logins of browsers");
    gateway.revoke(&first).await;
    let second = token(&login("nora", PASSWORD).to(&gateway).await);
    assert_ne!(second, first);
    let asks = || async { Ask::get("/api/x").token(&second).to(&gateway).await.status == 200 };
    eventually(PATIENCE, "the new token works", asks).await;
}

#[tokio::test]
async fn eight_concurrent_first_logins_return_one_token() {
    let origin = Origin::answering("hello").await;
    // With the default rate limits.
    let gateway = site(&origin).with(|settings| settings.login = Some(Login::default())).start().await;
    user(&gateway, "nora").await;
    let mut wires = Vec::new();
    for _ in 0..8 {
        wires.push(Wire::open(&gateway).await);
    }
    for wire in &mut wires {
        wire.send(login("nora", PASSWORD).bytes()).await;
    }
    let mut keys = Vec::new();
    for wire in &mut wires {
        keys.push(token(&wire.answer().await));
    }
    keys.dedup();
    assert_eq!(keys.len(), 1, "{keys:?}");
}

#[tokio::test]
async fn all_failed_logins_look_the_same() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    user(&gateway, "alice").await;
    let ivan = user(&gateway, "ivan").await;
    gateway.store.accounts.deactivate(ivan).await.unwrap();
    user_with_hash(&gateway, "uma", "!fYkWYwPCgW8vTaMY8RpBZ9YvuDBdmtxB1DXSzQa2").await;
    user_with_hash(&gateway, "broken", "pbkdf2_sha256$1000$onlysalt").await;
    for (name, password) in [
        ("alice", "nope"),
        ("alice", "CORRECT HORSE 9"),
        ("alice", " correct horse 9"),
        ("alice", "correct horse 9\n"),
        ("ALICE", PASSWORD),
        ("\u{feff}alice", PASSWORD),
        ("nobody", PASSWORD),
        ("%", PASSWORD),
        ("' OR '1'='1", "x"),
        ("ivan", PASSWORD),
        ("ivan", "nope"),
        ("uma", "!"),
        ("broken", "x"),
    ] {
        let answer = login(name, password).to(&gateway).await;
        assert_eq!((answer.status, answer.text()), (400, REFUSED), "{name} {password}");
        assert!(!answer.fields.has("www-authenticate") && !answer.fields.has("set-cookie"), "{name}");
        let mut names: Vec<_> = answer.fields.0.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        names.sort();
        let usual = [
            "allow",
            "cache-control",
            "content-length",
            "content-type",
            "date",
            "strict-transport-security",
            "x-content-type-options",
            "x-request-id",
        ];
        assert_eq!(names, usual, "{name}");
    }
}

#[tokio::test]
async fn a_changed_password_applies_at_once_and_keeps_the_token() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let id = user(&gateway, "alice").await;
    let key = token(&login("alice", PASSWORD).to(&gateway).await);
    let new = tokengate::store::Password::parse("another pass 1").unwrap();
    gateway.store.accounts.set_password(id, Some(new)).await.unwrap();
    assert_eq!(login("alice", PASSWORD).to(&gateway).await.status, 400);
    assert_eq!(token(&login("alice", "another pass 1").to(&gateway).await), key);
    gateway.store.accounts.rename(id, "alicia").await.unwrap();
    assert_eq!(login("alice", "another pass 1").to(&gateway).await.status, 400);
    assert_eq!(token(&login("alicia", "another pass 1").to(&gateway).await), key);
}

#[tokio::test]
async fn an_old_token_in_the_request_is_ignored() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    user(&gateway, "alice").await;
    let key = token(&login("alice", PASSWORD).to(&gateway).await);
    let bobs = gateway.issue("bob").await;
    for line in ["Token bad", "Token a b", "Token", "", "Bearer x", "Basic eDp5", &format!("Token {bobs}")] {
        let answer = login("alice", PASSWORD).field("Authorization", line).to(&gateway).await;
        assert_eq!(token(&answer), key, "{line}");
    }
    let two = login("alice", PASSWORD).token("bad").token("bad");
    assert_eq!(two.to(&gateway).await.status, 400);
}

#[tokio::test]
async fn an_outage_of_the_store_is_no_wrong_password() {
    let origin = Origin::answering("hello").await;
    let site = site(&origin).with(|settings| {
        settings.login.as_mut().unwrap().per_user = Some(tokengate::units::Rate::per_minute(1));
    });
    let gateway = site.start().await;
    user(&gateway, "alice").await;
    let away = gateway.database.with_extension("away");
    fs::rename(&gateway.database, &away).unwrap();
    for http in BOTH {
        for (name, password) in [("alice", PASSWORD), ("alice", "nope"), ("nobody", "x")] {
            let answer = login(name, password).over(http, &gateway).await;
            assert_eq!(answer.status, 503, "{name}: {answer:?}");
            assert_eq!(answer.fields.get("retry-after"), Some("1"), "{name}");
            assert!(!answer.fields.has("www-authenticate"), "{name}");
        }
    }
    assert_eq!(typed("application/json", "{}").to(&gateway).await.status, 400, "no store is needed to see this");
    fs::rename(&away, &gateway.database).unwrap();
    // None of the attempts was counted.
    token(&login("alice", PASSWORD).to(&gateway).await);
    gateway.has_counted("gettoken", "store_unavailable", 6).await;
}

#[tokio::test]
async fn a_client_that_disconnects_has_no_effect() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    user(&gateway, "alice").await;
    for _ in 0..3 {
        let mut wire = Wire::open(&gateway).await;
        wire.send(login("alice", PASSWORD).bytes()).await;
    }
    let key = soon("a login", async { token(&login("alice", PASSWORD).to(&gateway).await) }).await;
    assert_eq!(Ask::get("/api/x").token(&key).to(&gateway).await.status, 200);
}
