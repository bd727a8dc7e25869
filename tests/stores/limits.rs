//! Limits of tokens: read-only, networks, days without a use.

use std::time::Duration;

use sqlx::Executor;
use tokengate::store::{
    AuditQuery, DetailsChange, LedgerError, LimitChanges, NamedToken, NewUser, Page, Password, Store, Terms,
    TokenFilter, TokenLimits, TokenRef,
};
use tokengate::token::{Networks, OwnRates, Restrictions, TokenId, UseBy};

use super::for_each_store;
use super::site::{START, Site, found, user};

const DAY: Duration = Duration::from_secs(86_400);

for_each_store! {
    limits_are_kept_changed_and_copied_to_a_new_key
    a_login_token_keeps_its_limits_when_it_is_replaced
    a_token_that_is_not_used_for_its_days_is_no_longer_live_and_expires
    limits_that_cannot_be_kept_are_refused
    the_rate_of_a_user_applies_to_tokens_and_sessions
    a_row_with_unreadable_limits_is_no_answer
}

fn limits() -> TokenLimits {
    let networks = Networks::parse("10.0.0.0/8 ::ffff:192.0.2.1 2001:db8::/32").unwrap();
    TokenLimits { read_only: true, networks, unused_days: Some(30), rate: "600/min burst 5".parse().ok() }
}

fn order(limits: TokenLimits) -> NamedToken {
    NamedToken { name: "ci".to_owned(), limits, ..NamedToken::default() }
}

fn changing(limits: LimitChanges) -> Terms {
    Terms { limits, ..Terms::default() }
}

async fn of(store: &Store, token: TokenId) -> TokenLimits {
    TokenLimits::of(&store.ledger.show(TokenRef::Id(token)).await.unwrap().unwrap().record.restrictions)
}

/// The details of the audit entries of a token, newest first.
async fn told(store: &Store, token: TokenId) -> Vec<String> {
    let query = AuditQuery { token: Some(token), limit: 10, ..AuditQuery::default() };
    let entries = store.audit.as_ref().unwrap().entries(&query).await.unwrap().entries;
    entries.into_iter().map(|entry| entry.detail.split_once("… ").map_or("", |(_, told)| told).to_owned()).collect()
}

async fn limits_are_kept_changed_and_copied_to_a_new_key(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let issued = store.ledger.issue_named(alice, &order(limits())).await.unwrap();
    let TokenLimits { read_only, networks, .. } = limits();
    let use_by = Some(UseBy { days: 30, last: START });
    let record = found(&store, &issued.key).await;
    let rates = OwnRates { token: "600/min burst 5".parse().ok(), user: None };
    assert_eq!(record.restrictions, Restrictions { disabled: false, read_only, networks, use_by, rates });
    assert!(!store.ledger.set_terms(issued.id, &changing(limits().into())).await.unwrap(), "the same limits");

    let new = store.ledger.rotate(issued.id, DAY).await.unwrap();
    assert_eq!((of(&store, new.id).await, of(&store, issued.id).await), (limits(), limits()));

    // Each is changed alone.
    let elsewhere = Networks::parse("192.0.2.0/24").unwrap();
    let changes = [
        (LimitChanges { read_only: Some(false), ..LimitChanges::default() }, "read-only: yes → no"),
        (
            LimitChanges { networks: Some(elsewhere.clone()), ..LimitChanges::default() },
            "networks: 10.0.0.0/8,192.0.2.1/32,2001:db8::/32 → 192.0.2.0/24",
        ),
        (LimitChanges { networks: Some(None), ..LimitChanges::default() }, "networks: 192.0.2.0/24 → any"),
        (LimitChanges { unused_days: Some(Some(7)), ..LimitChanges::default() }, "days without a use: 30 → 7"),
        (LimitChanges { unused_days: Some(None), ..LimitChanges::default() }, "days without a use: 7 → none"),
        (LimitChanges { rate: Some("5/s".parse().ok()), ..LimitChanges::default() }, "rate: 600/min burst 5 → 5/s"),
        (LimitChanges { rate: Some(None), ..LimitChanges::default() }, "rate: 5/s → none"),
    ];
    let mut wanted = limits();
    for (change, detail) in changes {
        let before = store.tokens.newest_change().await.unwrap();
        wanted = change.apply(&wanted);
        assert!(store.ledger.set_terms(new.id, &changing(change)).await.unwrap());
        assert_eq!(of(&store, new.id).await, wanted);
        let told = told(&store, new.id).await;
        assert!(told[0].ends_with(detail), "{told:?}");
        assert_ne!(store.tokens.newest_change().await.unwrap(), before, "gateways hear of it: {detail}");
    }
    assert_eq!(wanted, TokenLimits::default());
    let told = told(&store, issued.id).await;
    assert!(
        told.last()
            .unwrap()
            .ends_with("read-only; only from 10.0.0.0/8,192.0.2.1/32,2001:db8::/32; ends after 30 days without a use; rate 600/min burst 5"),
        "{told:?}"
    );
}

async fn a_login_token_keeps_its_limits_when_it_is_replaced(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let first = store.ledger.issue_login(alice).await.unwrap();
    store.ledger.set_terms(first.id, &changing(limits().into())).await.unwrap();
    let reset = store.ledger.reset_login(alice).await.unwrap();
    assert_eq!(of(&store, reset.id).await, limits());
    // A login returns a token that works: the old one ended, because it was not used.
    site.hand.advance(30 * DAY);
    let next = store.ledger.issue_login(alice).await.unwrap();
    assert!(next.fresh && next.id != reset.id);
    assert_eq!(of(&store, next.id).await, limits());
}

async fn a_token_that_is_not_used_for_its_days_is_no_longer_live_and_expires(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let days = |days| TokenLimits { unused_days: Some(days), ..TokenLimits::default() };
    let (idle, used) = (
        store.ledger.issue_named(alice, &order(days(2))).await.unwrap(),
        store.ledger.issue_named(alice, &order(days(2))).await.unwrap(),
    );
    store.ledger.issue_named(alice, &order(TokenLimits::default())).await.unwrap();
    site.hand.advance(DAY);
    store.ledger.mark_used(&[(used.id, START.after(DAY))]).await.unwrap();
    let live = async || {
        let filter = TokenFilter { owner: Some(alice), live: true };
        store.ledger.list(filter, Page::first(10)).await.unwrap().into_iter().count()
    };
    assert_eq!((live().await, store.ledger.expire_unused().await.unwrap()), (3, 0));
    site.hand.advance(DAY);
    assert_eq!(live().await, 2);
    let refused = store.ledger.rotate(idle.id, DAY).await;
    assert!(matches!(refused, Err(LedgerError::NotLive(id)) if id == idle.id));
    let before = store.tokens.newest_change().await.unwrap();
    assert_eq!((store.ledger.expire_unused().await.unwrap(), store.ledger.expire_unused().await.unwrap()), (1, 0));
    assert_ne!(store.tokens.newest_change().await.unwrap(), before);
    let expires = async |token| store.ledger.show(TokenRef::Id(token)).await.unwrap().unwrap().record.expires;
    assert_eq!((expires(idle.id).await, expires(used.id).await), (Some(START.after(2 * DAY)), None));
    let told = told(&store, idle.id).await;
    assert!(told[0].ends_with("expired, because it was not used for 2 days"), "{told:?}");
}

async fn limits_that_cannot_be_kept_are_refused(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let token = store.ledger.issue_login(alice).await.unwrap().id;
    let many = (0..80).map(|n| format!("192.0.2.{n}")).collect::<Vec<_>>().join(",");
    // In the store, no network at all would look like all of them.
    for networks in [Some(Networks::of([])), Networks::parse(&many).unwrap()] {
        let limits = TokenLimits { networks, ..TokenLimits::default() };
        assert!(matches!(
            store.ledger.issue_named(alice, &order(limits.clone())).await,
            Err(LedgerError::InvalidNetworks)
        ));
        let set = store.ledger.set_terms(token, &changing(limits.into())).await;
        assert!(matches!(set, Err(LedgerError::InvalidNetworks)));
    }
    for days in [0, 3_651] {
        let limits = TokenLimits { unused_days: Some(days), ..TokenLimits::default() };
        assert!(matches!(store.ledger.issue_named(alice, &order(limits.clone())).await, Err(LedgerError::InvalidDays)));
        assert!(matches!(store.ledger.set_terms(token, &changing(limits.into())).await, Err(LedgerError::InvalidDays)));
    }
    assert_eq!(of(&store, token).await, TokenLimits::default());
}

async fn the_rate_of_a_user_applies_to_tokens_and_sessions(site: Site) {
    let store = site.open().await;
    let password = || Password::parse("secret-enough").unwrap();
    let new = NewUser { password: Some(password()), ..NewUser::named("alice") };
    let alice = store.accounts.create(new).await.unwrap().0.account.id;
    let issued = store.ledger.issue_login(alice).await.unwrap();
    let session = store.sessions.as_ref().unwrap().open("alice", password(), DAY).await.unwrap().unwrap();
    let set = async |rate: Option<&str>| {
        let rate = rate.map(|rate| rate.parse().unwrap());
        store.accounts.edit(alice, &DetailsChange { rate: Some(rate), ..DetailsChange::default() }).await.unwrap()
    };
    let before = store.tokens.newest_change().await.unwrap();
    assert!(set(Some("7/min")).await && !set(Some("7/min")).await);
    assert_ne!(store.tokens.newest_change().await.unwrap(), before, "gateways hear of it");
    for key in [&issued.key, &session] {
        let rates = OwnRates { token: None, user: "7/min".parse().ok() };
        assert_eq!(found(&store, key).await.restrictions.rates, rates);
    }
    assert_eq!(store.accounts.find("alice").await.unwrap().unwrap().rate, "7/min".parse().ok());
    assert!(set(None).await);
    assert_eq!(found(&store, &issued.key).await.restrictions.rates, OwnRates::default());
    let query = AuditQuery { user: Some(alice), limit: 2, ..AuditQuery::default() };
    let entries = store.audit.as_ref().unwrap().entries(&query).await.unwrap().entries;
    let told: Vec<_> = entries.iter().map(|entry| entry.detail.as_str()).collect();
    assert_eq!(told, ["rate: 7/min → none", "rate: none → 7/min"]);
}

async fn a_row_with_unreadable_limits_is_no_answer(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let issued = store.ledger.issue_login(alice).await.unwrap();
    for set in [
        "tokens SET networks = '10.0.0.0/33'",
        "tokens SET networks = 'office'",
        "tokens SET networks = ','",
        "tokens SET networks = ' '",
        "tokens SET networks = '', rate = '0/min'",
        "tokens SET rate = 'many'",
        "users SET rate = ' '",
    ] {
        let statement = sqlx::AssertSqlSafe(format!("UPDATE {set}"));
        match &site.store.url {
            tokengate::config::settings::StoreUrl::Sqlite(_) => drop(site.intruder().await.execute(statement).await),
            _ => drop(site.session().await.execute(statement).await),
        }
        assert!(store.tokens.find(&issued.key).await.is_err(), "{set}");
        assert!(store.ledger.issue_login(alice).await.is_err(), "{set}");
    }
}
