//! Everything that counts clients, or names them, uses the address that a trusted proxy forwards.

use std::time::Duration;

use tokengate::config::settings::{ExposedToken, ForwardedFamily, Hashing, Login, Plaintext};
use tokengate::store::{Act, AuditQuery};
use tokengate::units::Rate;

use super::proxies::trust;
use crate::support::gateway::plain;
use crate::support::{Ask, Origin, PATIENCE, Site, Wire, eventually};

const CLIENT: &str = "203.0.113.7";
const OTHER: &str = "203.0.113.8";

#[tokio::test]
async fn wrong_keys_and_failed_logins_count_for_the_client_behind_a_proxy() {
    let origin = Origin::answering("ok").await;
    let site = Site::before(&origin).with(|settings| {
        trust(settings, ForwardedFamily::XForwarded, false);
        settings.limits.wrong_keys = Some(Rate { count: 2, per: Duration::from_secs(86_400) });
        let rate = Some(Rate { count: 2, per: Duration::from_secs(86_400) });
        settings.login = Some(Login { per_user: None, per_address: rate, ..Login::default() });
        settings.store.hashing = Hashing { at_once: 4, failed_after: Duration::from_millis(1) };
    });
    let gateway = site.start().await;
    let wrong = |at: usize| Ask::get("/api/x").token(&format!("{at:040}"));
    let login = |at: usize| {
        Ask::post("/gettoken/", format!("username=user{at}&password=wrong"))
            .field("Content-Type", "application/x-www-form-urlencoded")
    };
    let kinds: [(u16, &dyn Fn(usize) -> Ask); 2] = [(401, &wrong), (400, &login)];
    for (refused, ask) in kinds {
        for (at, (forwarded, status)) in [
            (CLIENT.to_owned(), refused),
            (format!("1.1.1.1, {CLIENT}"), refused),
            (format!("{OTHER}, {CLIENT}"), 429),
            (format!("[::ffff:{CLIENT}]:80, 10.1.1.1"), 429),
            (OTHER.to_owned(), refused),
            (format!("{CLIENT}, {OTHER}"), refused),
            (OTHER.to_owned(), 429),
            ("127.0.0.9".to_owned(), refused),
        ]
        .into_iter()
        .enumerate()
        {
            let answer = ask(at).field("X-Forwarded-For", &forwarded).to(&gateway).await;
            assert_eq!(answer.status, status, "{forwarded} {answer:?}");
        }
    }
}

#[tokio::test]
async fn the_audit_trail_names_the_client_behind_a_proxy_that_sent_a_token_unencrypted() {
    let origin = Origin::answering("ok").await;
    let site = Site::before(&origin).with(|settings| {
        settings.listeners[1].role = plain(Plaintext::Refuse, ExposedToken::Mark);
        trust(settings, ForwardedFamily::XForwarded, false);
    });
    let gateway = site.start().await;
    let key = gateway.issue("alice").await;
    let ask = Ask::get("/api/x").token(&key).field("X-Forwarded-For", format!("1.1.1.1, {CLIENT}"));
    assert_eq!(Wire::plain(&gateway).await.ask(ask.bytes()).await.status, 403);
    let audit = gateway.store.audit.as_ref().unwrap();
    let names = || async {
        let entries = audit.entries(&AuditQuery { limit: 10, ..AuditQuery::default() }).await.unwrap().entries;
        let exposed = entries.iter().find(|entry| entry.act == Act::TokenExposed);
        exposed.is_some_and(|entry| entry.actor.from == Some(CLIENT.parse().unwrap()))
    };
    eventually(PATIENCE, "the audit trail names the client", names).await;
}
