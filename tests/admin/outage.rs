//! Outage of the store: 503, and no user loses a sign-in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tokengate::clock::Timestamp;
use tokengate::store::Store;
use tokengate::store::{Directory, Listing, PasswordMark, StoreError, TokenDetails, TokenQuery, User, UserQuery};

use tokengate::token::TokenId;

use super::*;

/// A directory that can be unavailable.
struct Unsteady {
    inner: Arc<dyn Directory>,
    away: Arc<AtomicBool>,
}

impl Unsteady {
    fn there(&self) -> Result<&dyn Directory, StoreError> {
        if self.away.load(Ordering::SeqCst) { Err(StoreError::Unavailable("away".into())) } else { Ok(&*self.inner) }
    }
}

#[async_trait]
impl Directory for Unsteady {
    async fn users(&self, query: &UserQuery) -> Result<Listing<User>, StoreError> {
        self.there()?.users(query).await
    }

    async fn user(&self, id: SubjectId) -> Result<Option<User>, StoreError> {
        self.there()?.user(id).await
    }

    async fn standing(&self, id: SubjectId) -> Result<Option<(User, PasswordMark)>, StoreError> {
        self.there()?.standing(id).await
    }

    async fn tokens(&self, query: &TokenQuery) -> Result<Listing<TokenDetails>, StoreError> {
        self.there()?.tokens(query).await
    }

    async fn groups(&self, limit: u32) -> Result<Vec<String>, StoreError> {
        self.there()?.groups(limit).await
    }

    async fn count_users(&self, query: &UserQuery) -> Result<u32, StoreError> {
        self.there()?.count_users(query).await
    }

    async fn count_tokens(&self, query: &TokenQuery) -> Result<u32, StoreError> {
        self.there()?.count_tokens(query).await
    }

    async fn days_of_use(&self, token: TokenId, since: Timestamp) -> Result<Vec<Timestamp>, StoreError> {
        self.there()?.days_of_use(token, since).await
    }

    async fn group_sizes(&self, limit: u32) -> Result<Vec<(String, u32)>, StoreError> {
        self.there()?.group_sizes(limit).await
    }

    async fn has_superuser(&self) -> Result<bool, StoreError> {
        self.there()?.has_superuser().await
    }
}

/// A store whose directory is unavailable while `away` is set.
pub fn unsteady(away: &Arc<AtomicBool>) -> impl FnOnce(Store) -> Store {
    let away = Arc::clone(away);
    move |store: Store| {
        let inner = store.directory.clone().unwrap();
        Store { directory: Some(Arc::new(Unsteady { inner, away })), ..store }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_store_ends_no_sign_in_and_counts_no_attempt() {
    let origin = Origin::answering("fine").await;
    let away = Arc::new(AtomicBool::new(false));
    let gateway = site(&origin, |_| {}).start_with(unsteady(&away)).await;
    add_users(&gateway).await;
    let browser = Browser::of(&gateway, "root").await;
    away.store(true, Ordering::SeqCst);
    let answer = browser.get("/users").await;
    assert!(answer.status == 503 && answer.text().contains("does not answer"), "{}", answer.text());
    for _ in 0..7 {
        let answer = Browser::new(&gateway).sign_in("helper", PASSWORD).await;
        assert!(answer.status == 503 && cookie(&answer).starts_with("__Host-tokengate-admin-form="));
    }
    away.store(false, Ordering::SeqCst);
    assert_eq!(browser.get("/users").await.status, 200);
    assert_eq!(Browser::new(&gateway).sign_in("helper", PASSWORD).await.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_traffic_work_for_an_hour_without_the_store_and_say_so() {
    let origin = Origin::answering("fine").await;
    let away = Arc::new(AtomicBool::new(false));
    let gateway = site(&origin, |_| {}).start_with(unsteady(&away)).await;
    add_users(&gateway).await;
    let (root, staff) = (Browser::of(&gateway, "root").await, Browser::of(&gateway, "helper").await);
    let (_, _) = (root.page("/users").await, staff.page("/users").await);
    let secret = csrf(&root.page("/users").await);
    away.store(true, Ordering::SeqCst);
    for path in ["/status", "/traffic", "/traffic/errors"] {
        let page = root.page(path).await;
        assert!(page.contains("The store does not answer. This page works without it"), "{path}: {page}");
    }
    assert_eq!(root.get("/traffic/live").await.status, 200);
    assert_eq!(staff.get("/traffic").await.status, 200);
    assert_eq!(staff.get("/status").await.status, 403, "rights stay as they were");
    for path in ["/", "/users", "/tokens", "/tokens/1", "/audit", "/groups", "/password", "/users/add"] {
        assert_ne!(root.get(path).await.status, 200, "{path}");
    }
    // Nothing is changed without the store, and nothing is shown to a stranger.
    let reload = root.send(root.form("/status/reload", encoded(&[("csrf", &secret)]))).await;
    assert_eq!(reload.status, 503);
    assert_eq!(Browser::new(&gateway).get("/status").await.status, 303);
    let refused = Browser::new(&gateway).sign_in("root", PASSWORD).await;
    assert!(refused.status == 503 && refused.text().contains("The store does not answer"), "{}", refused.text());
    gateway.hand.advance(std::time::Duration::from_secs(3_601));
    assert_eq!(root.get("/status").await.status, 503, "after an hour the rights of the user are unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_superuser_the_sign_in_page_says_how_to_create_one() {
    let origin = Origin::answering("fine").await;
    let gateway = site(&origin, |_| {}).start().await;
    let page = Browser::new(&gateway).page("/sign-in").await;
    assert!(page.contains("tokengate user create NAME --superuser"), "{page}");
    add_users(&gateway).await;
    let page = Browser::new(&gateway).page("/sign-in").await;
    assert!(!page.contains("tokengate user create"), "{page}");
    let deep = Browser::new(&gateway).page("/sign-in?next=%2Ftokens").await;
    assert!(deep.contains("Sign in to continue.") && deep.contains("name=\"next\" value=\"/tokens\""), "{deep}");
}
