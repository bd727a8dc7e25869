//! What a token means, and what has changed.

use async_trait::async_trait;

use super::SqliteStore;
use super::database::broken;
use super::rows::TokenRow;
use crate::clock::Timestamp;
use crate::store::{Changes, Cursor, StoreError, TokenEvent, TokenStore};
use crate::token::{SubjectId, TokenDigest, TokenKey, TokenRecord};

/// Most events of one page.
const PAGE: i64 = 1_000;

/// A row of the change log: id, digest of a token, user.
type Change = (i64, Option<Vec<u8>>, i64);

#[derive(Debug, thiserror::Error)]
#[error("the index of tokens gave another token than was asked for")]
struct WrongToken;

#[derive(Debug, thiserror::Error)]
#[error("entry {0} of the change log has an impossible digest")]
struct ImpossibleEntry(i64);

#[async_trait]
impl TokenStore for SqliteStore {
    async fn find(&self, key: &TokenKey) -> Result<Option<TokenRecord>, StoreError> {
        let digest = key.digest();
        let row: Option<TokenRow> = self
            .database
            .within(async {
                let query = sqlx::query_as("SELECT * FROM token_details WHERE digest = ?");
                let mut connection = self.database.read().await?;
                Ok::<_, StoreError>(query.bind(digest.as_bytes().as_slice()).fetch_optional(&mut *connection).await?)
            })
            .await?;
        let record = row.map(TokenRow::into_record).transpose()?;
        match record {
            Some(record) if record.digest != digest => Err(broken(WrongToken)),
            record => Ok(record),
        }
    }

    async fn changes(&self, since: Cursor) -> Result<Changes, StoreError> {
        let newest = self.newest_change().await?;
        if newest < since {
            // The reader knows more than the store: an older copy of the file was put in place.
            return Ok(Changes { events: vec![TokenEvent::Gap], next: newest });
        }
        let rows: Vec<Change> = self
            .database
            .within(async {
                let query = "SELECT id, digest, user_id FROM change_log WHERE id > ? ORDER BY id LIMIT ?";
                let mut connection = self.database.read().await?;
                let query = sqlx::query_as(query).bind(since.0).bind(PAGE);
                Ok::<_, StoreError>(query.fetch_all(&mut *connection).await?)
            })
            .await?;
        let next = rows.last().map_or(since, |(id, ..)| Cursor(*id));
        let events = rows.into_iter().map(event).collect::<Result<_, _>>()?;
        Ok(Changes { events, next })
    }

    async fn newest_change(&self) -> Result<Cursor, StoreError> {
        self.database
            .within(async {
                let mut connection = self.database.read().await?;
                let query = sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM change_log");
                Ok(Cursor(query.fetch_one(&mut *connection).await?))
            })
            .await
    }

    async fn mark_exposed(&self, digest: TokenDigest, at: Timestamp) -> Result<(), StoreError> {
        self.database
            .within(async {
                let mut change = self.database.write().await?;
                sqlx::query("UPDATE tokens SET exposed = ? WHERE digest = ? AND exposed IS NULL")
                    .bind(at.as_micros())
                    .bind(digest.as_bytes().as_slice())
                    .execute(&mut *change)
                    .await?;
                Ok(change.commit().await?)
            })
            .await
    }

    async fn revoke_exposed(&self, digest: TokenDigest, at: Timestamp) -> Result<(), StoreError> {
        self.database
            .within(async {
                let mut change = self.database.write().await?;
                sqlx::query(
                    "UPDATE tokens SET revoked = ?1, sealed = NULL, exposed = coalesce(exposed, ?1) \
                     WHERE digest = ?2 AND revoked IS NULL",
                )
                .bind(at.as_micros())
                .bind(digest.as_bytes().as_slice())
                .execute(&mut *change)
                .await?;
                Ok(change.commit().await?)
            })
            .await
    }
}

fn event((id, digest, user): Change) -> Result<TokenEvent, StoreError> {
    match digest {
        None => Ok(TokenEvent::SubjectChanged(SubjectId(user))),
        Some(bytes) => {
            let digest = TokenDigest::from_bytes(&bytes).ok_or_else(|| broken(ImpossibleEntry(id)))?;
            Ok(TokenEvent::Changed(digest))
        }
    }
}
