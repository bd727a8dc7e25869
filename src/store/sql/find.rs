//! Looks up tokens and changes.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;

use super::rows::TokenRow;
use super::{Change, Database, SqlStore, Statement, row};
use crate::clock::Timestamp;
use crate::store::error::broken;
use crate::store::{AccountStore, Actor, Changes, Cursor, StoreError, TokenEvent, TokenFeed, TokenStore};
use crate::token::{AuthMethod, SubjectId, TokenDigest, TokenKey, TokenRecord};

/// Maximum number of events of one page.
const PAGE: i64 = 1_000;

/// How long the days on which tokens were used are kept.
const USE_RETENTION: Duration = Duration::from_secs(40 * 86_400);

/// Maximum number of entries that one transaction deletes, so that other writers do not wait long.
const SWEEP: u64 = 10_000;

row! {
    /// A row of the change log, with the oldest and the newest id.
    struct Entry {
        oldest: i64,
        newest: i64,
        id: Option<i64>,
        digest: Option<Vec<u8>>,
        user_id: Option<i64>,
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the token index returned another token than requested")]
struct WrongToken;

#[derive(Debug, thiserror::Error)]
#[error("row {0} has an invalid digest")]
struct ImpossibleDigest(i64);

#[async_trait]
impl<D: Database> TokenStore for SqlStore<D> {
    async fn find(&self, key: &TokenKey) -> Result<Option<TokenRecord>, StoreError> {
        let digest = key.digest();
        match key.method() {
            AuthMethod::Token => {}
            AuthMethod::Session => return self.find_session(digest).await,
            AuthMethod::Certificate => {
                let user = AccountStore::find(self, key.expose()).await?;
                let user = user.filter(|user| user.account.name == key.expose());
                return Ok(user.map(|user| TokenRecord::of_certificate(digest, user.account, user.rate)));
            }
        }
        let statement = Statement::new("SELECT * FROM token_details WHERE digest = $1");
        let row: Option<TokenRow> = self.row(statement.bind(digest.as_bytes().as_slice())).await?;
        match row.map(TokenRow::into_record).transpose()? {
            Some(record) if record.digest != digest => Err(broken(WrongToken)),
            record => Ok(record),
        }
    }

    async fn tokens_of(&self, subject: SubjectId) -> Result<Vec<TokenDigest>, StoreError> {
        let statement = "SELECT id, digest FROM tokens WHERE user_id = $1 AND revoked IS NULL \
                         UNION ALL SELECT id, digest FROM sessions WHERE user_id = $1";
        let rows: Vec<(i64, Vec<u8>)> = self.rows(Statement::new(statement).bind(subject.0)).await?;
        rows.into_iter().map(|(id, bytes)| digest(id, &bytes)).collect()
    }

    async fn changes(&self, since: Cursor) -> Result<Changes, StoreError> {
        // A single statement, so that no sweep runs between reading the oldest and newest ids and reading the entries.
        let statement = Statement::new(
            "SELECT ends.oldest, ends.newest, entry.id, entry.digest, entry.user_id \
             FROM (SELECT coalesce((SELECT min(id) FROM change_log), 0) AS oldest, \
                          coalesce((SELECT max(id) FROM change_log), 0) AS newest) AS ends \
             LEFT JOIN (SELECT id, digest, user_id FROM change_log WHERE id > $1 ORDER BY id LIMIT $2) AS entry \
             ON TRUE ORDER BY entry.id",
        );
        let rows: Vec<Entry> = self.rows(statement.bind(since.0).bind(PAGE)).await?;
        let (oldest, newest) = rows.first().map_or((0, 0), |row| (row.oldest, row.newest));
        // After the newest: an older copy of the store was restored. Before the oldest: changes that the reader has not
        // seen may have been deleted.
        if newest < since.0 || since.0 < oldest - 1 {
            return Ok(Changes { events: vec![TokenEvent::Gap], next: Cursor(newest) });
        }
        let next = rows.last().and_then(|row| row.id).map_or(since, Cursor);
        let events = rows.into_iter().filter_map(Entry::event).collect::<Result<_, _>>()?;
        Ok(Changes { events, next })
    }

    async fn newest_change(&self) -> Result<Cursor, StoreError> {
        let newest: Option<(i64,)> = self.row(Statement::new("SELECT coalesce(max(id), 0) FROM change_log")).await?;
        Ok(Cursor(newest.map_or(0, |(newest,)| newest)))
    }

    async fn cursor_at(&self, at: Timestamp) -> Result<Cursor, StoreError> {
        // The clock may have been set back, so the first entry of this time may not follow the last one before it.
        let statement = Statement::new(
            "SELECT coalesce((SELECT min(id) - 1 FROM change_log WHERE at >= $1), \
                             (SELECT max(id) FROM change_log), 0)",
        );
        let cursor: Option<(i64,)> = self.row(statement.bind(at.as_micros())).await?;
        Ok(Cursor(cursor.map_or(0, |(cursor,)| cursor)))
    }

    async fn prune_changes(&self, before: Timestamp) -> Result<u64, StoreError> {
        let oldest = self.clock.now().before(USE_RETENTION).as_micros().div_euclid(86_400_000_000);
        self.execute(Statement::new("DELETE FROM token_days WHERE day < $1").bind(oldest)).await?;
        let mut all = 0;
        loop {
            let statement = Statement::new(
                "DELETE FROM change_log WHERE id IN (\
                     SELECT id FROM change_log \
                     WHERE id < coalesce((SELECT min(id) FROM change_log WHERE at >= $1), \
                                         (SELECT max(id) FROM change_log)) \
                     ORDER BY id LIMIT $2)",
            );
            let limit = i64::try_from(SWEEP).unwrap_or(i64::MAX);
            let swept = self.execute(statement.bind(before.as_micros()).bind(limit)).await?;
            all += swept;
            if swept < SWEEP {
                return Ok(all);
            }
        }
    }

    async fn mark_exposed(&self, digest: TokenDigest, from: IpAddr, at: Timestamp) -> Result<(), StoreError> {
        self.within(async {
            let mut change = self.database.begin().await?;
            let marked = self.hearing_from(from).mark_one_exposed(&mut change, digest, at).await;
            change.finish(marked).await
        })
        .await
    }

    async fn revoke_exposed(&self, digest: TokenDigest, from: IpAddr, at: Timestamp) -> Result<(), StoreError> {
        self.within(async {
            let mut change = self.database.begin().await?;
            let revoked = self.hearing_from(from).revoke_one_exposed(&mut change, digest, at).await;
            change.finish(revoked).await
        })
        .await
    }

    fn feed(&self) -> Option<Box<dyn TokenFeed>> {
        Some(self.database.feed())
    }
}

impl<D: Database> SqlStore<D> {
    /// The same store for changes by the gateway because of a request from this address.
    fn hearing_from(&self, from: IpAddr) -> SqlStore<D> {
        SqlStore { actor: Actor { from: Some(from), ..Actor::gateway() }, ..self.clone() }
    }
}

impl Entry {
    /// `None`: the change log has no entry after the cursor.
    fn event(self) -> Option<Result<TokenEvent, StoreError>> {
        let (id, user) = (self.id?, self.user_id?);
        Some(match self.digest {
            None => Ok(TokenEvent::SubjectChanged(SubjectId(user))),
            Some(bytes) => digest(id, &bytes).map(TokenEvent::Changed),
        })
    }
}

fn digest(id: i64, bytes: &[u8]) -> Result<TokenDigest, StoreError> {
    TokenDigest::from_bytes(bytes).ok_or_else(|| broken(ImpossibleDigest(id)))
}
