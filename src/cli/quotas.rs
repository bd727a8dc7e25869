//! What tokens and users have left of quotas, as the commands show it.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::{check, show};
use crate::clock::Clock;
use crate::rates::{Holder, QuotaPart, Remaining};
use crate::store::Store;

/// The quotas of a configuration.
pub struct Quotas(Vec<QuotaPart>);

impl Quotas {
    /// Reads the configuration.
    pub fn of(config: &Path) -> Result<Quotas> {
        let settings = check::settings(config)?;
        Ok(Quotas(QuotaPart::all(&settings.quotas, &settings.routes)))
    }

    /// What is left for a token or user.
    pub async fn left(&self, store: &Store, holder: Holder) -> Result<Vec<Remaining>> {
        let Some(quotas) = &store.quotas else { return Ok(Vec::new()) };
        Ok(Remaining::of(&**quotas, &self.0, holder, Clock::system().now()).await?)
    }
}

/// Prints a line for each quota.
pub fn tell(remaining: &[Remaining]) -> Result<()> {
    remaining.iter().try_for_each(|one| {
        let Remaining { limit, left, until, .. } = one;
        show::line(format!("{:<14}{left} of {limit} left until {until} ({})", "quota", one.described()))
    })
}

/// Adds the quotas to a token or user.
pub fn with(mut holder: Value, remaining: &[Remaining]) -> Value {
    let quota = |Remaining { quota, key, route, limit, left, until }: &Remaining| {
        let (key, until) = (key.to_string(), until.to_string());
        json!({ "name": quota, "key": key, "route": route.as_deref(), "limit": limit, "remaining": left, "until": until })
    };
    if let Some(fields) = holder.as_object_mut() {
        fields.insert("quotas".to_owned(), remaining.iter().map(quota).collect());
    }
    holder
}
