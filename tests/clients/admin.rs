//! The admin application in headless Chromium. With `SCREENSHOTS=FOLDER` in the environment, screenshots are saved
//! there.

use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tokengate::store::{NamedToken, NewUser};
use tokengate::token::{ScopeSet, TokenKey};

use super::chromium::play;
use crate::admin::{PASSWORD, gateway, started, with_a_dead_one};
use crate::support::{Gateway, Origin, Wire};

const DAY: Duration = Duration::from_secs(86_400);

/// Runs a scenario of `admin.py` as the superuser.
async fn plays(scenario: &str, gateway: &Gateway, more: &[&str]) {
    let admin = format!("https://localhost:{}", gateway.admin_address().port());
    play("admin.py", scenario, gateway, &[&[admin.as_str(), "root", PASSWORD], more].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_created_and_tokens_are_issued_and_revoked() {
    let origin = Origin::answering("fine").await;
    plays("walk", &gateway(&origin).await, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_works_without_scripts() {
    let origin = Origin::answering("fine").await;
    plays("without_scripts", &gateway(&origin).await, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_makes_the_mistakes_that_people_make_and_loses_nothing() {
    let origin = Origin::answering("fine").await;
    plays("operator", &gateway(&origin).await, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_tokens_are_managed_by_keyboard_alone() {
    let origin = Origin::answering("fine").await;
    plays("keyboard", &gateway(&origin).await, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_is_offered_only_what_staff_may_do() {
    let origin = Origin::answering("fine").await;
    plays("staff", &gateway(&origin).await, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_users_are_searched_filtered_and_paged() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let file = SqliteConnectOptions::new().filename(&gateway.database).busy_timeout(Duration::from_secs(30));
    let mut store = file.connect().await.unwrap();
    // Every fourth user is inactive, every thousandth is an editor.
    let sql = "BEGIN;
        WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 100000)
        INSERT INTO users (id, name, email, active, created)
        SELECT 1000 + n, printf('user%06d', n), printf('u%d@example.test', n), n % 4 > 0, 1700000000000000 + n FROM numbers;
        INSERT INTO groups (id, name) VALUES (1000, 'editors');
        INSERT INTO user_groups (user_id, group_id) SELECT id, 1000 FROM users WHERE id > 1000 AND id % 1000 = 1;
        COMMIT;";
    sqlx::raw_sql(sql).execute(&mut store).await.unwrap();
    plays("crowd", &gateway, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_traffic_page_shows_live_traffic() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let key = gateway.issue("alice").await;
    let hand = gateway.hand.clone();
    // The gateway's clock runs here: samples need times.
    let time = tokio::spawn(async move {
        let mut interval = tokio::time::interval(Duration::from_millis(100));
        loop {
            interval.tick().await;
            hand.advance(interval.period());
        }
    });
    plays("traffic", &gateway, &[&key]).await;
    time.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn its_pages_are_accessible_in_light_and_dark_and_on_a_phone() {
    let origin = Origin::answering("fine").await;
    let gateway = started(with_a_dead_one(&origin, "reports")).await;
    let key = furnish(&gateway).await;
    let mut client = Wire::open(&gateway).await;
    let asked = key.clone();
    let load = tokio::spawn(async move {
        let mut interval = tokio::time::interval(Duration::from_millis(70));
        for count in 0.. {
            interval.tick().await;
            ask(&mut client, &asked, count).await;
        }
    });
    plays("looks", &gateway, &[&key]).await;
    load.abort();
}

/// Sends requests: most succeed, some are refused, some are public, and some get no response.
async fn ask(client: &mut Wire, key: &str, count: usize) {
    let (path, key) = match count {
        _ if count % 97 == 50 => ("/reports/daily", key),
        _ if count % 23 == 11 => ("/api/orders", "unknown"),
        _ if count % 7 == 3 => ("/public/prices", key),
        _ => ("/api/orders", key),
    };
    client.ask(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {key}\r\n\r\n")).await;
}

/// Creates users, tokens and traffic as after some weeks; returns the key of one token.
pub async fn furnish(gateway: &Gateway) -> String {
    let clock = gateway.clock();
    for (name, first, last, groups, tokens) in [
        ("ada", "Ada", "Lovelace", &["editors", "authors"][..], &[("laptop", "read orders:write", 90)][..]),
        ("edsger", "Edsger", "Dijkstra", &["authors"], &[]),
        ("grace", "Grace", "Hopper", &["editors"], &[("continuous integration", "read", 14), ("old phone", "read", 1)]),
        ("katherine", "Katherine", "Johnson", &[], &[("nightly export of the order book", "orders:read", 365)]),
        ("radia", "Radia", "Perlman", &["operators"], &[("bridge", "", 30)]),
        (
            "someone.with.a.long.name@departments.example.test",
            "Someone",
            "Else",
            &["operators-of-the-northern-region"],
            &[(
                "a-name-that-somebody-has-chosen-without-any-blank-in-it",
                "warehouse.inventory:read-and-write orders:write",
                60,
            )],
        ),
    ] {
        let new = NewUser {
            email: if name.contains('@') { name.to_owned() } else { format!("{name}@example.test") },
            first_name: first.to_owned(),
            last_name: last.to_owned(),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
            ..NewUser::named(name)
        };
        let id = gateway.store.accounts.create(new).await.unwrap().0.account.id;
        for &(name, scopes, days) in tokens {
            let expires = Some(clock.now().after(days * DAY));
            let order = NamedToken {
                name: name.to_owned(),
                expires,
                scopes: ScopeSet::parse(scopes).unwrap(),
                ..NamedToken::default()
            };
            gateway.store.ledger.issue_named(id, &order).await.unwrap();
        }
        gateway.issue(name).await;
        gateway.hand.advance(DAY);
    }
    let edsger = gateway.user("edsger").await;
    gateway.store.accounts.deactivate(edsger).await.unwrap();
    let exposed = gateway.issue("katherine").await;
    gateway
        .store
        .tokens
        .mark_exposed(TokenKey::parse(&exposed).unwrap().digest(), [192, 0, 2, 9].into(), clock.now())
        .await
        .unwrap();
    let revoked = gateway.issue_named("radia", "read", None, &clock).await;
    gateway.revoke(&revoked).await;

    let key = gateway.issue("ada").await;
    let mut client = Wire::open(gateway).await;
    for sample in 0..150_usize {
        for count in 0..(12 + (sample % 50).abs_diff(25) + sample * sample % 7) {
            ask(&mut client, &key, 31 * sample + count).await;
        }
        gateway.hand.advance(Duration::from_secs(2));
        gateway.sample_traffic();
    }
    key
}
