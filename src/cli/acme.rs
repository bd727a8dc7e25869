//! `tokengate acme`: certificates from a certificate authority.
//!
//! The running gateways answer the challenges of the CA: they read the pending ones from the folder. They also find the
//! new certificate there.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::{check, runtime, show};
use crate::acme::{self, Folder, Lock, Reason};
use crate::clock::Timestamp;
use crate::config::settings::{Acme, AcmeCertificate};
use crate::tls::Certificate;

/// How long the command waits while a gateway requests a certificate.
const PATIENCE: Duration = Duration::from_secs(300);

/// The commands of `acme`.
#[derive(Debug, Subcommand)]
pub enum AcmeCommand {
    /// Request a certificate now; a running gateway answers the challenges and takes the certificate into use
    Renew {
        /// Its name in the configuration
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Request another certificate with a new key, then revoke the one in use
    Revoke {
        /// Its name in the configuration
        name: String,
        /// The reason that the CA publishes
        #[arg(long, value_enum, default_value_t = Why::Unspecified)]
        reason: Why,
        /// Revoke it even if no other certificate can be issued
        #[arg(long)]
        force: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Why a certificate is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Why {
    /// No reason
    Unspecified,
    /// Its key may be in other hands
    KeyCompromise,
    /// Another certificate replaces it
    Superseded,
    /// Its names are not used any more
    CessationOfOperation,
}

/// Runs a command of `acme`.
pub fn run(config: &Path, command: AcmeCommand) -> Result<()> {
    let settings = check::settings(config)?;
    let acme = settings.acme.context("the configuration has no [acme]")?;
    runtime::for_command()?.block_on(async {
        match command {
            AcmeCommand::Renew { name, json } => {
                let wanted = find(&acme, &name)?;
                let lock = lock(&acme).await?;
                let old = in_use(&acme, wanted);
                let new = acme::issue(&acme, wanted, old.as_ref(), &lock).await?;
                tell(&new, None, json)
            }
            AcmeCommand::Revoke { name, reason, force, json } => {
                let wanted = find(&acme, &name)?;
                let lock = lock(&acme).await?;
                let Some(old) = in_use(&acme, wanted) else {
                    bail!("{}: no certificate was issued yet", acme.file(&name).display())
                };
                let new = match acme::issue(&acme, wanted, Some(&old), &lock).await {
                    Ok(new) => new,
                    Err(error) if force => {
                        show::note(format_args!("No other certificate was issued: {error}"));
                        old.clone()
                    }
                    Err(error) => {
                        let advice =
                            "nothing was revoked, because no other certificate can be issued; --force revokes anyway";
                        return Err(error).context(advice);
                    }
                };
                acme::revoke(&acme, &old, reason.into(), &lock).await?;
                tell(&new, Some(&old), json)
            }
        }
    })
}

fn find<'a>(acme: &'a Acme, name: &str) -> Result<&'a AcmeCertificate> {
    let known = || acme.certificates.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = acme.certificates.iter().find(|one| one.name == name);
    found.with_context(|| format!("`{name}` is no certificate with `acme_names`; there are: {}", known()))
}

fn in_use(acme: &Acme, wanted: &AcmeCertificate) -> Option<Certificate> {
    let file = acme.file(&wanted.name);
    Certificate::read(&wanted.name, &file, &file).ok()
}

async fn lock(acme: &Acme) -> Result<Lock> {
    let folder = Folder::at(&acme.folder);
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(lock) = folder.try_lock()? {
                return Ok(lock);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    waited.await.context("another process has been requesting certificates for five minutes")?
}

fn tell(new: &Certificate, revoked: Option<&Certificate>, as_json: bool) -> Result<()> {
    let until = Timestamp::from_micros(new.not_after.saturating_mul(1_000_000));
    if as_json {
        let [file, _] = new.files();
        return show::json(&json!({
            "certificate": new.name,
            "names": new.names,
            "file": file,
            "not_after": until.to_string(),
            "revoked": revoked.is_some(),
        }));
    }
    let is_new = revoked != Some(new);
    if is_new {
        show::line(format!("issued {} for {}, valid until {until}", new.name, new.names.join(", ")))?;
    }
    if revoked.is_some() {
        show::line(if is_new { "revoked the former one" } else { "revoked the one in use" })?;
    }
    Ok(())
}

impl From<Why> for Reason {
    fn from(why: Why) -> Reason {
        match why {
            Why::Unspecified => Reason::Unspecified,
            Why::KeyCompromise => Reason::KeyCompromise,
            Why::Superseded => Reason::Superseded,
            Why::CessationOfOperation => Reason::CessationOfOperation,
        }
    }
}
