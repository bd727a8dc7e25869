//! All changes of tokens and users, made elsewhere, and the responses of three gateways that have cached the token.
//!
//! Whichever way a gateway is notified: its next request after that gets the new state.

use std::time::Duration;

use http::HeaderName;
use tokengate::clock::Timestamp;
use tokengate::config::Settings;
use tokengate::config::settings::{Endpoint, EndpointAddress};
use tokengate::store::{End, Terms, TokenRef};
use tokengate::token::{ScopeSet, TokenKey};

use super::place::{Place, shared_cache};
use crate::support::client::BOTH;
use crate::support::redis::Redis;
use crate::support::{Answer, Ask, Origin};

/// An endpoint that returns the identity headers.
async fn mirror() -> Origin {
    Origin::scripted(|request| {
        let told =
            ["x-user-name", "x-user-groups", "x-token-scopes"].map(|name| request.fields.get(name).unwrap_or("-"));
        vec![crate::support::Step::Read, crate::support::Step::Send(crate::support::origin::ok(&told.join("|")))]
    })
    .await
}

fn before(origin: &Origin, settings: &mut Settings) {
    let address = origin.address();
    let address = EndpointAddress::Tcp(address.ip().to_string(), address.port());
    settings.upstreams[0].endpoints = vec![Endpoint::at(origin.address().to_string(), address)];
    settings.identity.user_groups = Some(HeaderName::from_static("x-user-groups"));
}

async fn everybody_follows(place: &Place) {
    let table = [
        ("revoke", 401, "Invalid token."),
        ("reset", 401, "Invalid token."),
        ("expire", 401, "Invalid token."),
        ("deactivate", 401, "User inactive or deleted."),
        ("delete", 401, "Invalid token."),
        ("rename", 200, "renamed|-|-"),
        ("regroup", 200, "regroup|sales,staff|-"),
        ("rescope", 200, "rescope|-|admin"),
    ];
    for (way, status, text) in table {
        let (owner, key) = (place.user(way).await, login(place, way).await);
        let ask = Ask::get("/api/x").token(&key);
        place.fleet.changes_are_applied().await;
        for gateway in &place.fleet.gateways {
            assert_eq!(says(&ask.to(gateway).await), (200, format!("{way}|-|-")));
        }
        let (ledger, accounts) = (&place.store.ledger, &place.store.accounts);
        let terms =
            |end, scopes| Terms { end: Some(end), scopes: Some(ScopeSet::parse(scopes).unwrap()), ..Terms::default() };
        let digest = TokenKey::parse(&key).unwrap().digest();
        let id = ledger.show(TokenRef::Digest(digest)).await.unwrap().unwrap().record.id;
        match way {
            "revoke" => place.revoke(&key).await,
            "reset" => drop(ledger.reset_login(owner).await.unwrap()),
            "expire" => drop(ledger.set_terms(id, &terms(End::At(Timestamp::from_micros(1)), "")).await.unwrap()),
            "deactivate" => drop(accounts.deactivate(owner).await.unwrap()),
            "delete" => accounts.delete(owner).await.unwrap(),
            "rename" => accounts.rename(owner, "renamed").await.unwrap(),
            "regroup" => drop(accounts.set_groups(owner, &["sales", "staff"].map(str::to_owned)).await.unwrap()),
            _ => drop(ledger.set_terms(id, &terms(End::Never, "admin")).await.unwrap()),
        }
        place.fleet.changes_are_applied().await;
        for gateway in &place.fleet.gateways {
            for http in BOTH {
                let answer = ask.over(http, gateway).await;
                assert_eq!(says(&answer), (status, text.to_owned()), "{way}");
            }
        }
    }
}

async fn login(place: &Place, user: &str) -> String {
    let owner = place.user(user).await;
    place.store.ledger.issue_login(owner).await.unwrap().key.expose().to_owned()
}

fn says(answer: &Answer) -> (u16, String) {
    let text = if answer.status == 200 { answer.text().to_owned() } else { answer.detail() };
    (answer.status, text)
}

#[tokio::test]
async fn a_change_applies_on_every_gateway_with_redis_and_the_store() {
    let (redis, origin) = (Redis::start().await, mirror().await);
    let place = Place::with(|settings| {
        before(&origin, settings);
        settings.redis = Some(shared_cache(&redis.url()));
    })
    .await;
    place.redis_is_up().await;
    everybody_follows(&place).await;
}

#[tokio::test]
async fn a_change_applies_on_every_gateway_with_the_store_alone() {
    let origin = mirror().await;
    // The change log is read only after a notification.
    let place = Place::with(|settings| {
        before(&origin, settings);
        settings.store.poll_every = Duration::from_secs(3600);
    })
    .await;
    everybody_follows(&place).await;
}

#[tokio::test]
async fn a_token_that_was_refused_everywhere_works_everywhere_once_it_is_issued() {
    let redis = Redis::start().await;
    let place = Place::with_redis(&redis).await;
    let key = super::traffic::random_key();
    let ask = Ask::get("/api/x").token(&key);
    for gateway in &place.fleet.gateways {
        assert_eq!(ask.to(gateway).await.status, 401);
    }
    let owner = place.user("alice").await;
    let conflict = tokengate::store::OnConflict::Refuse;
    place.store.ledger.import(owner, TokenKey::parse(&key).unwrap(), conflict).await.unwrap();
    // A notified gateway applies the change at once; since the clock stands still, a cached refusal would never expire.
    place.fleet.changes_are_applied().await;
    for gateway in &place.fleet.gateways {
        assert_eq!(ask.to(gateway).await.status, 200);
    }
}
