//! `tokengate import`: takes users and tokens over from elsewhere.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::args::ImportCommand;
use super::{check, show, store};
use crate::config::settings::{DjangoUrl, StoreUrl};
use crate::store::{Arrival, DjangoUsers, Store, Taken, TokenTaken, UserTaken};

/// Runs one command.
pub fn run(config: &Path, command: ImportCommand) -> Result<()> {
    let ImportCommand::Django { url, json } = command;
    let settings = check::settings(config)?;
    if matches!(settings.store.url, StoreUrl::Django(_)) {
        bail!("store.url is a Django database itself; name the store in which the users shall be");
    }
    let url = DjangoUrl::parse(&expanded(url)?, |path| PathBuf::from(path)).map_err(|bad| {
        // Neither shows what stands there, which may be a password.
        anyhow::anyhow!("the address {}; {}", bad.what, bad.mend)
    })?;
    store::with(config, async |store| {
        let mut users = DjangoUsers::open(&url, &settings.store).await?;
        let mut report = Report::default();
        let done = take_all(&store, &mut users, &mut report).await;
        // What was done before it failed is done; the next run goes on from there.
        report.print(json)?;
        done?;
        match report.refused {
            0 => Ok(()),
            1 => bail!("one token means less in Django than it would mean here, see above"),
            some => bail!("{some} tokens mean less in Django than they would mean here, see above"),
        }
    })
}

async fn take_all(store: &Store, users: &mut DjangoUsers, report: &mut Report) -> Result<()> {
    loop {
        let page = users.next().await?;
        if page.is_empty() {
            return Ok(());
        }
        for arrival in page {
            let taken = store.accounts.take_in(&arrival).await?;
            report.note(&arrival, taken);
        }
    }
}

/// `${NAME}` is taken from the environment, where nobody else of this machine sees a password.
fn expanded(url: String) -> Result<String> {
    match url.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
        Some(name) => std::env::var(name).with_context(|| format!("the environment has no variable {name}")),
        None => Ok(url),
    }
}

/// What became of all.
#[derive(Default)]
struct Report {
    users: Counts,
    tokens: Counts,
    /// Tokens that mean less there than they would, or do, mean here.
    refused: u64,
    /// Id, name, what is to be said of it.
    remarks: Vec<(i64, String, String)>,
}

#[derive(Default)]
struct Counts {
    new: u64,
    there: u64,
    skipped: u64,
}

impl Report {
    fn note(&mut self, arrival: &Arrival, taken: Taken) {
        let account = &arrival.user.account;
        let mut remark = |text: String| self.remarks.push((account.id.0, account.name.clone(), text));
        let skipped = matches!(taken.user, UserTaken::Skipped(_));
        match taken.user {
            UserTaken::New => self.users.new += 1,
            UserTaken::There { differs } => {
                self.users.there += 1;
                if !differs.is_empty() {
                    remark(format!("left as it is here, though it differs: {}", differs.join(", ")));
                }
            }
            UserTaken::Skipped(why) => {
                self.users.skipped += 1;
                remark(format!("skipped: {why}"));
            }
        }
        match taken.token {
            TokenTaken::Missing => {}
            TokenTaken::New => self.tokens.new += 1,
            TokenTaken::There => self.tokens.there += 1,
            TokenTaken::Skipped(why) => {
                self.tokens.skipped += 1;
                if !skipped {
                    remark(format!("token skipped: {why}"));
                }
            }
            TokenTaken::Refused(why) => {
                self.tokens.skipped += 1;
                self.refused += 1;
                remark(format!("token refused: {why}"));
            }
        }
    }

    fn print(&self, json: bool) -> Result<()> {
        if json {
            let remarks = self.remarks.iter().map(|(id, name, text)| json!({ "id": id, "user": name, "remark": text }));
            return show::json(&json!({
                "users": self.users.as_json(),
                "tokens": self.tokens.as_json(),
                "remarks": remarks.collect::<Vec<_>>(),
            }));
        }
        for (id, name, text) in &self.remarks {
            show::line(format!("user {name} (id {id}): {text}"))?;
        }
        for (what, counts) in [("users", &self.users), ("tokens", &self.tokens)] {
            let Counts { new, there, skipped } = counts;
            show::line(format!("{what}: {new} imported, {there} there already, {skipped} skipped"))?;
        }
        Ok(())
    }
}

impl Counts {
    fn as_json(&self) -> Value {
        json!({ "imported": self.new, "there": self.there, "skipped": self.skipped })
    }
}
