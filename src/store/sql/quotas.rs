//! The counts of quotas.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::AssertSqlSafe;

use super::{Change, Database, SqlStore, Statement, row};
use crate::clock::Timestamp;
use crate::store::error::broken;
use crate::store::{QuotaCount, QuotaStore, StoreError};

row! {
    struct CountRow {
        id: String,
        since: i64,
        used: i64,
    }
}

#[async_trait]
impl<D: Database> QuotaStore for SqlStore<D> {
    async fn add(&self, counted: &[(QuotaCount, i64)]) -> Result<Vec<u64>, StoreError> {
        let list = listed(counted.iter().copied())?;
        let text = format!(
            "INSERT INTO quota_counts (id, since, used) SELECT id, since, used FROM ({}) AS counted WHERE TRUE \
             ON CONFLICT (id, since) DO UPDATE SET used = quota_counts.used + excluded.used RETURNING id, since, used",
            D::counts_at("$1")
        );
        let rows = self
            .within(async {
                let mut change = self.database.begin().await?;
                let rows = change.rows(Statement::new(AssertSqlSafe(text)).bind(list)).await;
                change.finish(rows).await
            })
            .await?;
        Ok(in_order(counted.iter().map(|(count, _)| count), rows))
    }

    async fn used(&self, counts: &[QuotaCount]) -> Result<Vec<u64>, StoreError> {
        let text = format!(
            "SELECT quota_counts.* FROM quota_counts JOIN ({}) AS asked \
             ON asked.id = quota_counts.id AND asked.since = quota_counts.since",
            D::counts_at("$1")
        );
        let list = listed(counts.iter().map(|count| (*count, 0)))?;
        let rows = self.rows(Statement::new(AssertSqlSafe(text)).bind(list)).await?;
        Ok(in_order(counts.iter(), rows))
    }

    async fn prune_quotas(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.execute(Statement::new("DELETE FROM quota_counts WHERE since < $1").bind(before.as_micros())).await
    }
}

fn listed(counted: impl Iterator<Item = (QuotaCount, i64)>) -> Result<String, StoreError> {
    let rows = counted.map(|(count, events)| (count.id.to_hex(), count.since.as_micros(), events));
    serde_json::to_string(&rows.collect::<Vec<_>>()).map_err(broken)
}

fn in_order<'c>(counts: impl Iterator<Item = &'c QuotaCount>, rows: Vec<CountRow>) -> Vec<u64> {
    let used: HashMap<(String, i64), i64> = rows.into_iter().map(|row| ((row.id, row.since), row.used)).collect();
    let used = |count: &QuotaCount| used.get(&(count.id.to_hex(), count.since.as_micros())).copied();
    counts.map(|count| used(count).and_then(|used| u64::try_from(used).ok()).unwrap_or(0)).collect()
}
