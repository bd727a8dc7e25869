//! Rate limits of the login.

use std::time::Duration;

use tokengate::config::settings::{Hashing, Login};
use tokengate::units::Rate;

use super::{PASSWORD, REFUSED, login, site, token, typed, user, user_with_hash};
use crate::support::client::BOTH;
use crate::support::{Answer, Ask, Gateway, Origin, Wire};

async fn gateway(per_user: Option<Rate>, per_address: Option<Rate>) -> Gateway {
    let origin = Origin::answering("hello").await;
    let site = site(&origin).with(|settings| {
        settings.login = Some(Login { per_user, per_address, ..Login::default() });
    });
    let gateway = site.start().await;
    user(&gateway, "alice").await;
    user(&gateway, "bob").await;
    gateway
}

fn assert_throttled(answer: &Answer, seconds: u64) {
    assert_eq!(answer.status, 429, "{answer:?}");
    let unit = if seconds == 1 { "second" } else { "seconds" };
    assert_eq!(answer.detail(), format!("Request was throttled. Expected available in {seconds} {unit}."));
    assert_eq!(answer.fields.get("retry-after"), Some(seconds.to_string().as_str()));
    assert!(!answer.fields.has("www-authenticate"));
}

#[tokio::test]
async fn failed_attempts_per_name_are_limited_in_all_spellings() {
    let gateway = gateway(Some(Rate::per_minute(5)), None).await;
    for spelling in ["alice", "ALICE", "  Alice\t", "ａｌｉｃｅ", "alicE\u{3000}"] {
        let answer = login(spelling, "nope").to(&gateway).await;
        assert_eq!((answer.status, answer.text()), (400, REFUSED), "{spelling}");
    }
    for http in BOTH {
        assert_throttled(&login("alice", "nope").over(http, &gateway).await, 12);
        assert_throttled(&login("Ａlice", PASSWORD).over(http, &gateway).await, 12);
        assert_throttled(&login("alice", PASSWORD).over(http, &gateway).await, 12);
    }
    token(&login("bob", PASSWORD).to(&gateway).await);
    assert_eq!(login("alicia", "nope").to(&gateway).await.status, 400);
    gateway.hand.advance(Duration::from_millis(11_001));
    assert_throttled(&login("alice", PASSWORD).to(&gateway).await, 1);
    gateway.hand.advance(Duration::from_secs(1));
    token(&login("alice", PASSWORD).to(&gateway).await);
    gateway.has_counted("gettoken", "too_many_requests", 7).await;
}

#[tokio::test]
async fn a_limited_client_keeps_its_connection() {
    let gateway = gateway(Some(Rate::per_minute(1)), None).await;
    let mut wire = Wire::open(&gateway).await;
    assert_eq!(wire.ask(login("alice", "nope").bytes()).await.status, 400);
    for _ in 0..2 {
        let answer = wire.ask(login("alice", PASSWORD).bytes()).await;
        assert_throttled(&answer, 60);
        assert!(!answer.fields.has("connection"), "{answer:?}");
    }
    token(&wire.ask(login("bob", PASSWORD).bytes()).await);
}

#[tokio::test]
async fn unknown_names_are_limited_in_the_same_way() {
    let gateway = gateway(Some(Rate::per_minute(2)), None).await;
    for name in ["alice", "nobody"] {
        for _ in 0..2 {
            assert_eq!(login(name, "nope").to(&gateway).await.status, 400);
        }
        assert_throttled(&login(name, "nope").to(&gateway).await, 30);
    }
}

#[tokio::test]
async fn failed_attempts_per_client_are_limited_for_all_names() {
    let gateway = gateway(None, Some(Rate::per_minute(20))).await;
    for n in 0..20 {
        assert_eq!(login(&format!("user{n}"), "x").to(&gateway).await.status, 400, "{n}");
    }
    assert_throttled(&login("alice", PASSWORD).to(&gateway).await, 3);
    gateway.hand.advance(Duration::from_secs(3));
    token(&login("alice", PASSWORD).to(&gateway).await);
    assert_eq!(login("alice", "nope").to(&gateway).await.status, 400);
    assert_throttled(&login("alice", PASSWORD).to(&gateway).await, 3);
}

#[tokio::test]
async fn only_a_wrong_password_counts() {
    let gateway = gateway(Some(Rate::per_minute(2)), Some(Rate::per_minute(2))).await;
    for _ in 0..4 {
        token(&login("alice", PASSWORD).to(&gateway).await);
        assert_eq!(typed("application/json", r#"{"username":"alice"}"#).to(&gateway).await.status, 400);
        assert_eq!(typed("text/plain", "x").to(&gateway).await.status, 415);
        assert_eq!(Ask::get("/gettoken/").to(&gateway).await.status, 405);
    }
    assert_eq!(login("alice", "nope").to(&gateway).await.status, 400);
    token(&login("alice", PASSWORD).to(&gateway).await);
    assert_eq!(login("alice", "nope").to(&gateway).await.status, 400);
    for _ in 0..5 {
        assert_throttled(&login("alice", "nope").to(&gateway).await, 30);
    }
    // Refused attempts are neither counted nor refunded.
    gateway.hand.advance(Duration::from_secs(30));
    assert_eq!(login("alice", "nope").to(&gateway).await.status, 400);
    assert_throttled(&login("alice", "nope").to(&gateway).await, 30);
}

#[tokio::test]
async fn a_limited_name_does_not_limit_its_client() {
    let gateway = gateway(Some(Rate::per_minute(1)), Some(Rate::per_minute(3))).await;
    assert_eq!(login("alice", "nope").to(&gateway).await.status, 400);
    for _ in 0..10 {
        assert_throttled(&login("alice", "nope").to(&gateway).await, 60);
    }
    assert_eq!(login("bob", "nope").to(&gateway).await.status, 400);
    assert_eq!(login("carol", "nope").to(&gateway).await.status, 400);
    assert_throttled(&login("dave", "nope").to(&gateway).await, 20);
}

#[tokio::test]
async fn concurrent_attempts_do_not_exceed_the_limit() {
    let gateway = gateway(Some(Rate::per_minute(3)), None).await;
    let mut wires = Vec::new();
    for _ in 0..12 {
        wires.push(Wire::open(&gateway).await);
    }
    for wire in &mut wires {
        wire.send(login("alice", "nope").bytes()).await;
    }
    let mut statuses = Vec::new();
    for wire in &mut wires {
        statuses.push(wire.answer().await.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [&[400; 3][..], &[429; 9][..]].concat());
}

#[tokio::test]
async fn a_hundred_concurrent_spellings_count_as_one_name_and_others_log_in() {
    let origin = Origin::answering("hello").await;
    let site = site(&origin).with(|settings| {
        settings.login = Some(Login { per_user: Some(Rate::per_minute(5)), per_address: None, ..Login::default() });
        settings.store.hashing = Hashing { at_once: 1, failed_after: Duration::from_millis(1) };
    });
    let gateway = site.start().await;
    user(&gateway, "zoë").await;
    user(&gateway, "bob").await;
    let mut asking = tokio::task::JoinSet::new();
    let mut wires = Vec::new();
    for _ in 0..100 {
        wires.push(Wire::open(&gateway).await);
    }
    for (mut wire, spelling) in wires.into_iter().zip(["zoë", "ZOË", " Zoë\t", "ｚｏë", "zoe\u{308}"].iter().cycle())
    {
        wire.send(login(spelling, "nope").bytes()).await;
        asking.spawn(async move { wire.answer().await.status });
    }
    let mut statuses = Vec::new();
    while let Some(status) = asking.join_next().await {
        statuses.push(status.unwrap());
        if statuses.len() == 95 {
            token(&login("bob", PASSWORD).to(&gateway).await);
        }
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [&[400; 5][..], &[429; 95]].concat());
    assert_throttled(&login("zoë", PASSWORD).to(&gateway).await, 12);
}

#[tokio::test]
async fn beyond_a_short_queue_logins_are_refused_and_tokens_still_work() {
    let origin = Origin::answering("hello").await;
    let site = site(&origin).with(|settings| {
        settings.store.hashing = Hashing { at_once: 1, failed_after: Duration::from_millis(1) };
    });
    let gateway = site.start().await;
    let key = gateway.issue("bob").await;
    // Each takes at least a tenth of a second.
    let hash = "pbkdf2_sha256$1000000$Xk3bV9qLm2TaXk3bV9qLm2$2R1pS5l1qK6xTG3feXD88SCePC6gIyl7ZQSzZjIMspE=";
    user_with_hash(&gateway, "alice", hash).await;
    let mut wires = Vec::new();
    for _ in 0..40 {
        wires.push(Wire::open(&gateway).await);
    }
    for wire in &mut wires {
        wire.send(login("alice", PASSWORD).bytes()).await;
    }
    assert_eq!(Ask::get("/api/x").token(&key).to(&gateway).await.status, 200);
    let (mut given, mut put_off) = (0, Vec::new());
    for wire in &mut wires {
        let answer = wire.answer().await;
        if answer.status == 200 {
            given += 1;
        } else {
            let seconds = answer.fields.get("retry-after").unwrap().parse().unwrap();
            assert_throttled(&answer, seconds);
            put_off.push(seconds);
        }
    }
    assert!(given >= 9 && put_off.len() > 1, "{given} were let in, others put off by {put_off:?}");
    assert!(put_off.iter().all(|seconds| (1..=4).contains(seconds)), "{put_off:?}");
    assert!(put_off.iter().any(|seconds| *seconds != put_off[0]), "they do not all come back at once: {put_off:?}");
}
