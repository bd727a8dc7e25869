//! The import: what must not become valid here, and what is revoked when it is no longer valid in the other system.

use std::time::Duration;

use tokengate::clock::Timestamp;
use tokengate::store::{
    Arrival, ArrivingToken, Import, NewUser, NotImportable, Origin, Page, Store, TokenFilter, TokenLimits, TokenTaken,
    User, UserTaken,
};
use tokengate::token::{Account, Networks, SubjectId};

use super::for_each_store;
use super::site::{START, Site, key};

for_each_store! {
    invalid_tokens_are_not_imported_and_the_expiry_is
    limits_are_imported_and_a_token_that_permits_more_here_is_reported
    tokens_that_are_no_longer_valid_there_are_reported_and_revoked_on_request
    deleted_users_are_reported_and_deactivated_on_request
    a_moved_database_has_its_old_address_until_that_is_renamed
}

const KEEPING: fn(&str) -> Import = |source| Import { source: source.to_owned(), ..Import::default() };
const PRUNING: fn(&str) -> Import = |source| Import { source: source.to_owned(), prune: true, ..Import::default() };

fn token(key: &str, age: u64) -> ArrivingToken {
    let created = Timestamp::from_micros(START.as_micros() - i64::try_from(age).unwrap() * 86_400_000_000);
    ArrivingToken {
        key: key.to_owned().into(),
        created,
        expires: None,
        limits: TokenLimits::default(),
        not_importable: None,
    }
}

/// A user with this id and these tokens.
async fn arrival(store: &Store, id: i64, active: bool, tokens: Vec<ArrivingToken>) -> Arrival {
    let name = format!("user{id}");
    let template = match store.accounts.find("template").await.unwrap() {
        Some(template) => template,
        None => {
            store.accounts.create(NewUser { id: Some(SubjectId(9_999)), ..NewUser::named("template") }).await.unwrap().0
        }
    };
    let account = Account { id: SubjectId(id), name, active, ..template.account.clone() };
    Arrival { user: User { account, ..template }, password: "!".to_owned().into(), tokens }
}

/// For each token of a user whether it is live, by id.
async fn live(store: &Store, id: i64) -> Vec<bool> {
    let filter = TokenFilter { owner: Some(SubjectId(id)), live: false };
    let listed = store.ledger.list(filter, Page::first(100)).await.unwrap();
    listed.into_iter().map(|token| token.record.revoked.is_none()).collect()
}

async fn is_active(store: &Store, id: i64) -> bool {
    store.accounts.find(&format!("user{id}")).await.unwrap().unwrap().account.active
}

async fn invalid_tokens_are_not_imported_and_the_expiry_is(site: Site) {
    let store = site.open().await;
    let later = START.after(Duration::from_secs(60));
    let not_importable = |key: &str, age, why| ArrivingToken { not_importable: Some(why), ..token(key, age) };
    let tokens = vec![
        not_importable("disabled", 1, NotImportable::Disabled),
        not_importable("shared", 2, NotImportable::Shared),
        ArrivingToken { expires: Some(START), ..token("expired", 4) },
        ArrivingToken { expires: Some(later), ..token("ends", 5) },
        token("two words", 6),
        token("endless", 7),
    ];
    let taken = store.accounts.take_in(&arrival(&store, 7, true, tokens).await, &KEEPING("a")).await.unwrap();
    assert_eq!(taken.user, UserTaken::New);
    let tokens: Vec<TokenTaken> = taken.tokens.into_iter().map(|(_, taken)| taken).collect();
    let [disabled, shared, expired, ends, odd, endless] = &tokens[..] else { panic!("{tokens:?}") };
    assert_eq!(*disabled, TokenTaken::Dead(NotImportable::Disabled));
    assert_eq!(*expired, TokenTaken::Dead(NotImportable::Expired));
    assert_eq!(*shared, TokenTaken::Dead(NotImportable::Shared));
    assert!(matches!(odd, TokenTaken::Skipped(_)), "{odd:?}");
    assert_eq!(*ends, TokenTaken::Login);
    assert!(matches!(endless, TokenTaken::Named(name) if name.starts_with("imported, made 20")), "{endless:?}");
    for text in ["disabled", "shared", "expired"] {
        assert!(store.tokens.find(&key(text)).await.unwrap().is_none(), "{text}");
    }
    assert_eq!(store.tokens.find(&key("ends")).await.unwrap().unwrap().expires, Some(later));
    assert_eq!(store.tokens.find(&key("endless")).await.unwrap().unwrap().expires, None);
    // It gets an expiry there: reported, since it lives longer here.
    let sooner = vec![ArrivingToken { expires: Some(later), ..token("endless", 7) }, token("ends", 5)];
    let taken = store.accounts.take_in(&arrival(&store, 7, true, sooner).await, &PRUNING("a")).await.unwrap();
    let tokens: Vec<TokenTaken> = taken.tokens.into_iter().map(|(_, taken)| taken).collect();
    assert_eq!(tokens, [TokenTaken::There, TokenTaken::Outlives(later)]);
    assert!(taken.stale.is_empty());
}

async fn tokens_that_are_no_longer_valid_there_are_reported_and_revoked_on_request(site: Site) {
    let store = site.open().await;
    for (n, why) in [None, Some(NotImportable::Disabled), Some(NotImportable::Expired), Some(NotImportable::Shared)]
        .into_iter()
        .enumerate()
    {
        let id = i64::try_from(n).unwrap() + 1;
        let (lost, kept) = (format!("lost{n}"), format!("kept{n}"));
        let both = vec![token(&lost, 1), token(&kept, 2)];
        store.accounts.take_in(&arrival(&store, id, true, both).await, &KEEPING("a")).await.unwrap();
        let now = async || {
            let lost = why.map(|why| ArrivingToken { not_importable: Some(why), ..token(&lost, 1) });
            arrival(&store, id, true, lost.into_iter().chain([token(&kept, 2)]).collect()).await
        };
        let told = store.accounts.take_in(&now().await, &KEEPING("a")).await.unwrap().stale;
        assert_eq!((told.user, told.tokens.len()), (false, 1), "{why:?}");
        assert_eq!(live(&store, id).await, [true, true], "{why:?}");
        // Data from another address is not compared, however often that is imported.
        for _ in 0..2 {
            let other = store.accounts.take_in(&now().await, &PRUNING("b")).await.unwrap().stale;
            assert!(other.tokens.is_empty() && live(&store, id).await == [true, true], "{why:?}");
        }
        let ended = store.accounts.take_in(&now().await, &PRUNING("a")).await.unwrap().stale;
        assert_eq!((ended.tokens.len(), live(&store, id).await), (1, vec![false, true]), "{why:?}");
    }
}

async fn limits_are_imported_and_a_token_that_permits_more_here_is_reported(site: Site) {
    let store = site.open().await;
    let networks = Networks::parse("10.0.0.0/8").unwrap();
    let reader = TokenLimits { read_only: true, ..TokenLimits::default() };
    let insider = TokenLimits { networks, ..TokenLimits::default() };
    let arriving = |limits: &[&TokenLimits]| {
        let limited = |(age, limits): (u64, &&TokenLimits)| ArrivingToken {
            limits: (*limits).clone(),
            ..token(&format!("key{age}"), age)
        };
        (1..).zip(limits).map(limited).collect::<Vec<_>>()
    };
    let all = [&TokenLimits::default(), &reader, &insider];
    let taken = async |limits: &[&TokenLimits]| {
        let arrival = arrival(&store, 7, true, arriving(limits)).await;
        let taken = store.accounts.take_in(&arrival, &PRUNING("a")).await.unwrap();
        taken.tokens.into_iter().map(|(_, taken)| taken).collect::<Vec<_>>()
    };
    assert!(matches!(&taken(&all).await[..], [TokenTaken::Login, TokenTaken::Named(_), TokenTaken::Named(_)]));
    for (age, limits) in (1..).zip(all) {
        let record = store.tokens.find(&key(&format!("key{age}"))).await.unwrap().unwrap();
        assert_eq!(TokenLimits::of(&record.restrictions), *limits);
    }
    assert_eq!(taken(&all).await, [TokenTaken::There, TokenTaken::There, TokenTaken::There]);
    // Limits that are stricter here are no matter.
    let free = TokenLimits::default();
    assert_eq!(taken(&[&free, &free, &free]).await, [TokenTaken::There, TokenTaken::There, TokenTaken::There]);
    let refused = taken(&[&reader, &insider, &reader]).await;
    assert!(refused.iter().all(|taken| matches!(taken, TokenTaken::Refused(_))), "{refused:?}");
    assert_eq!(live(&store, 7).await, [true, true, true]);
}

async fn deleted_users_are_reported_and_deactivated_on_request(site: Site) {
    let store = site.open().await;
    for (id, source) in [(1, "a"), (2, "a"), (3, "b")] {
        let tokens = vec![token(&format!("key{id}"), 1)];
        store.accounts.take_in(&arrival(&store, id, true, tokens).await, &KEEPING(source)).await.unwrap();
    }
    let ids = async |import: &Import| store.accounts.imported(import, Page::first(100)).await.unwrap();
    assert_eq!(ids(&KEEPING("a")).await, [SubjectId(1), SubjectId(2)]);
    assert_eq!(store.accounts.imported(&KEEPING("a"), Page { after: 1, limit: 1 }).await.unwrap(), [SubjectId(2)]);
    let gone = store.accounts.miss(SubjectId(1), &KEEPING("a")).await.unwrap();
    assert_eq!((gone.name.as_str(), gone.stale.user, gone.stale.tokens.len()), ("user1", true, 1));
    assert!(is_active(&store, 1).await && live(&store, 1).await == [true]);
    // Another system knows nothing about this user.
    let foreign = store.accounts.miss(SubjectId(3), &PRUNING("a")).await.unwrap();
    assert!(foreign.stale.is_empty() && is_active(&store, 3).await && live(&store, 3).await == [true]);
    store.accounts.miss(SubjectId(1), &PRUNING("a")).await.unwrap();
    assert!(!is_active(&store, 1).await && live(&store, 1).await == [false]);
    assert_eq!(ids(&KEEPING("a")).await, [SubjectId(2)]);
    // A user who is inactive in both systems.
    let inactive =
        store.accounts.take_in(&arrival(&store, 2, false, vec![token("key2", 1)]).await, &PRUNING("a")).await;
    assert!(inactive.unwrap().stale.user && !is_active(&store, 2).await);
    assert_eq!(live(&store, 2).await, [true], "the token is there");
}

async fn a_moved_database_has_its_old_address_until_that_is_renamed(site: Site) {
    let store = site.open().await;
    let came = async || arrival(&store, 1, true, vec![token("first", 1), token("second", 2), token("third", 3)]).await;
    let before = arrival(&store, 1, true, vec![token("first", 1), token("second", 2)]).await;
    store.accounts.take_in(&before, &KEEPING("old")).await.unwrap();
    store.accounts.take_in(&came().await, &KEEPING("new")).await.unwrap();
    assert_eq!(store.accounts.sources().await.unwrap(), ["new", "old"]);
    let of = |source: &str, users, tokens| Origin { source: source.to_owned(), users, tokens };
    let origins = async |source: &str| store.accounts.origins(&came().await, &KEEPING(source)).await.unwrap();
    assert_eq!(origins("new").await, [of("old", 1, 2)]);
    assert_eq!(origins("old").await, [of("new", 0, 1)]);
    assert_eq!(origins("third").await, [of("new", 0, 1), of("old", 1, 2)]);
    // The same id with another name, and a key of another user, are not matches.
    let mut other = arrival(&store, 1, true, vec![token("fourth", 1)]).await;
    other.user.account.name = "somebody".to_owned();
    assert_eq!(store.accounts.origins(&other, &KEEPING("third")).await.unwrap(), []);
    let other = arrival(&store, 2, true, vec![token("first", 1)]).await;
    assert_eq!(store.accounts.origins(&other, &KEEPING("third")).await.unwrap(), []);

    store.accounts.rename_sources(&["old".to_owned()], "new").await.unwrap();
    assert_eq!(store.accounts.sources().await.unwrap(), ["new"]);
    assert_eq!(origins("new").await, []);
    let now = arrival(&store, 1, true, vec![token("third", 3)]).await;
    assert_eq!(store.accounts.take_in(&now, &PRUNING("new")).await.unwrap().stale.tokens.len(), 2);
    assert_eq!(live(&store, 1).await, [false, false, true]);
}
