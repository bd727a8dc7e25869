//! Which database imported users and tokens came from, by the address that it had then (docs/decisions/0043).

use std::collections::BTreeMap;

use super::{Change, Database, SqlStore, Statement};
use crate::store::{Arrival, Import, Origin, StoreError};
use crate::token::TokenDigest;

impl<D: Database> SqlStore<D> {
    /// All recorded addresses.
    pub(super) async fn known_sources(&self) -> Result<Vec<String>, StoreError> {
        let statement = Statement::new(
            "SELECT source FROM imported_users WHERE source <> '' \
             UNION SELECT source FROM imported_tokens WHERE source <> '' ORDER BY source",
        );
        let rows: Vec<(String,)> = self.rows(statement).await?;
        Ok(rows.into_iter().map(|(source,)| source).collect())
    }

    /// The existing data of an arrival that is recorded as imported from another address.
    pub(super) async fn foreign_origins(&self, arrival: &Arrival, import: &Import) -> Result<Vec<Origin>, StoreError> {
        let (id, name) = (arrival.user.account.id.0, arrival.user.account.name.as_str());
        let user = Statement::new(
            "SELECT source FROM imported_users JOIN users ON users.id = imported_users.user_id \
             WHERE user_id = $1 AND name = $2 AND source NOT IN ($3, '')",
        );
        let user = user.bind(id).bind(name).bind(import.source.as_str());
        let mut found: BTreeMap<String, Origin> = BTreeMap::new();
        let users: Vec<(String,)> = self.rows(user).await?;
        for (source,) in users {
            found.entry(source).or_default().users += 1;
        }
        for token in &arrival.tokens {
            let digest = TokenDigest::of(token.key.as_bytes());
            let token = Statement::new(
                "SELECT source FROM imported_tokens JOIN tokens ON tokens.id = imported_tokens.token_id \
                 WHERE digest = $1 AND user_id = $2 AND source NOT IN ($3, '')",
            );
            let token = token.bind(digest.as_bytes().as_slice()).bind(id).bind(import.source.as_str());
            let tokens: Vec<(String,)> = self.rows(token).await?;
            for (source,) in tokens {
                found.entry(source).or_default().tokens += 1;
            }
        }
        Ok(found.into_iter().map(|(source, origin)| Origin { source, ..origin }).collect())
    }
}

/// Records another address for all data that came from these.
pub(super) async fn rename<C: Change>(change: &mut C, from: &[String], to: &str) -> Result<(), StoreError> {
    for source in from {
        for text in [
            "UPDATE imported_users SET source = $1 WHERE source = $2",
            "UPDATE imported_tokens SET source = $1 WHERE source = $2",
        ] {
            change.execute(Statement::new(text).bind(to).bind(source.as_str())).await?;
        }
    }
    Ok(())
}
