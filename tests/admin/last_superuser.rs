//! At least one superuser remains, even if two remove each other at the same moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokengate::clock::Timestamp;
use tokengate::store::Store;
use tokengate::store::{
    Directory, Listing, NamedToken, PasswordMark, StoreError, TokenDetails, TokenQuery, User, UserQuery,
};
use tokengate::token::{ScopeSet, TokenId};
use tokio::sync::Barrier;

use super::*;

/// A directory that lets two callers pass authentication at the same moment, before either has changed anything.
struct Together {
    inner: Arc<dyn Directory>,
    /// How many callers are still expected.
    meeting: Arc<AtomicUsize>,
    both: Barrier,
}

#[async_trait]
impl Directory for Together {
    async fn users(&self, query: &UserQuery) -> Result<Listing<User>, StoreError> {
        self.inner.users(query).await
    }

    async fn user(&self, id: SubjectId) -> Result<Option<User>, StoreError> {
        self.inner.user(id).await
    }

    async fn standing(&self, id: SubjectId) -> Result<Option<(User, PasswordMark)>, StoreError> {
        let standing = self.inner.standing(id).await;
        let comes = self.meeting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |many| many.checked_sub(1));
        if comes.is_ok() {
            self.both.wait().await;
        }
        standing
    }

    async fn tokens(&self, query: &TokenQuery) -> Result<Listing<TokenDetails>, StoreError> {
        self.inner.tokens(query).await
    }

    async fn groups(&self, limit: u32) -> Result<Vec<String>, StoreError> {
        self.inner.groups(limit).await
    }

    async fn count_users(&self, query: &UserQuery) -> Result<u32, StoreError> {
        self.inner.count_users(query).await
    }

    async fn count_tokens(&self, query: &TokenQuery) -> Result<u32, StoreError> {
        self.inner.count_tokens(query).await
    }

    async fn days_of_use(&self, token: TokenId, since: Timestamp) -> Result<Vec<Timestamp>, StoreError> {
        self.inner.days_of_use(token, since).await
    }

    async fn group_sizes(&self, limit: u32) -> Result<Vec<(String, u32)>, StoreError> {
        self.inner.group_sizes(limit).await
    }

    async fn has_superuser(&self) -> Result<bool, StoreError> {
        self.inner.has_superuser().await
    }
}

/// A gateway with the superusers `root` and `ruth`, and the number of callers that wait for each other.
async fn gateway_of_two(origin: &Origin) -> (Gateway, Arc<AtomicUsize>) {
    let meeting = Arc::new(AtomicUsize::new(0));
    let together = |store: Store| {
        let inner = store.directory.clone().unwrap();
        let directory = Together { inner, meeting: Arc::clone(&meeting), both: Barrier::new(2) };
        Store { directory: Some(Arc::new(directory)), ..store }
    };
    let gateway = site(origin, |_| {}).start_with(together).await;
    add_users(&gateway).await;
    let ruth = NewUser { superuser: true, password: Password::parse(PASSWORD).ok(), ..NewUser::named("ruth") };
    gateway.store.accounts.create(ruth).await.unwrap();
    (gateway, meeting)
}

/// Restores both, and returns how many active superusers there were.
async fn restore(gateway: &Gateway) -> usize {
    let mut staying = 0;
    for name in ["root", "ruth"] {
        let user = gateway.store.accounts.find(name).await.unwrap().unwrap();
        staying += usize::from(user.superuser && user.account.active);
        gateway.store.accounts.set_rights(user.account.id, true, true).await.unwrap();
        gateway.store.accounts.activate(user.account.id).await.unwrap();
    }
    staying
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_pages_the_second_of_two_gets_an_error() {
    let origin = Origin::answering("fine").await;
    let (gateway, meeting) = gateway_of_two(&origin).await;
    let ids = (id_of(&gateway, "root").await, id_of(&gateway, "ruth").await);
    for (act, fields) in [
        ("active", &[("active", "no")][..]),
        ("rights", &[("staff", "on"), ("own_password", PASSWORD)]),
        ("delete", &[("own_password", PASSWORD)]),
    ] {
        let form = async |user: &str, target: SubjectId| {
            let browser = Browser::of(&gateway, user).await;
            let csrf = csrf(&browser.page("/users").await);
            let fields: Vec<_> = fields.iter().copied().chain([("csrf", csrf.as_str())]).collect();
            let ask = browser.form(&format!("/users/{target}/{act}"), encoded(&fields));
            (browser, ask)
        };
        let ((one, first), (other, second)) = (form("root", ids.1).await, form("ruth", ids.0).await);
        meeting.store(2, Ordering::SeqCst);
        let (first, second) = tokio::join!(one.send(first), other.send(second));
        let (done, refused) = if first.status == 303 { (first, second) } else { (second, first) };
        assert_eq!((done.status, refused.status), (303, 409), "{act}: {}", refused.text());
        assert!(
            refused.text().contains("This is the last active superuser with a password; at least one must remain"),
            "{}",
            refused.text()
        );
        if act != "delete" {
            assert_eq!(restore(&gateway).await, 1, "{act}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_api_the_second_of_two_gets_a_conflict() {
    let origin = Origin::answering("fine").await;
    let (gateway, meeting) = gateway_of_two(&origin).await;
    let ids = (id_of(&gateway, "root").await, id_of(&gateway, "ruth").await);
    let key = async |owner: SubjectId| {
        let scopes = ScopeSet::parse("tokengate:admin").unwrap();
        let order = NamedToken { name: "test".to_owned(), expires: None, scopes, ..NamedToken::default() };
        gateway.store.ledger.issue_named(owner, &order).await.unwrap().key.expose().to_owned()
    };
    let keys = (key(ids.0).await, key(ids.1).await);
    for (method, path, body) in [
        ("PUT", "/active", r#"{"active": false}"#),
        ("PUT", "/rights", r#"{"staff": true, "superuser": false}"#),
        ("DELETE", "", ""),
    ] {
        let call = |key: &str, target: SubjectId| {
            let ask = Ask::new(method, &format!("/api/v1/users/{target}{path}")).token(key);
            let ask = Ask { body: Some(body.into()), ..ask.field("Content-Type", "application/json") };
            let bytes = String::from_utf8(ask.bytes()).unwrap();
            let gateway = &gateway;
            async move { raw(gateway, &bytes).await }
        };
        meeting.store(2, Ordering::SeqCst);
        let (first, second) = tokio::join!(call(&keys.0, ids.1), call(&keys.1, ids.0));
        let (done, refused) = if first.status < 300 { (first, second) } else { (second, first) };
        assert_eq!((done.status / 100, refused.status), (2, 409), "{method} {path}: {}", refused.text());
        assert!(refused.text().contains(r#""code":"conflict""#), "{}", refused.text());
        if method != "DELETE" {
            assert_eq!(restore(&gateway).await, 1, "{path}");
        }
    }
}
