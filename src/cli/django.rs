//! `tokengate django`: help with an existing Django database.

use std::path::Path;

use anyhow::{Result, bail};

use super::args::DjangoCommand;
use super::{check, show};
use crate::config::settings::{DjangoUrl, StoreUrl};
use crate::store;

/// Runs a subcommand.
pub fn run(config: &Path, command: &DjangoCommand) -> Result<()> {
    let DjangoCommand::Triggers = command;
    let settings = check::settings(config)?;
    match &settings.store.url {
        StoreUrl::Django(DjangoUrl::Postgres(_)) => {
            show::line(store::django_triggers(&settings.store.django).trim_end())
        }
        _ => bail!("store.url is not a Django database on PostgreSQL; only PostgreSQL triggers can notify gateways"),
    }
}
