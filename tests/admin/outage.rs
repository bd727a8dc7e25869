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

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_store_ends_no_sign_in_and_counts_no_attempt() {
    let origin = Origin::answering("fine").await;
    let away = Arc::new(AtomicBool::new(false));
    let unsteady = |store: Store| {
        let inner = store.directory.clone().unwrap();
        Store { directory: Some(Arc::new(Unsteady { inner, away: Arc::clone(&away) })), ..store }
    };
    let gateway = site(&origin, |_| {}).start_with(unsteady).await;
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
