//! `tokengate cert`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::show;
use crate::clock::Clock;
use crate::demo::certificate::{self, Wish};

/// Arguments of `cert`.
#[derive(Debug, Args)]
pub struct CertArgs {
    /// Folder for the files
    #[arg(long, value_name = "FOLDER", default_value = "certs")]
    pub dir: PathBuf,
    /// An additional name or address; can be repeated
    #[arg(long = "name", value_name = "NAME")]
    pub names: Vec<String>,
    /// Replace existing files
    #[arg(long)]
    pub force: bool,
    /// Keep the key of the CA, to sign more certificates with it
    #[arg(long)]
    pub keep_ca_key: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Makes a development certificate.
pub fn run(args: &CertArgs) -> Result<()> {
    let wish = Wish { names: args.names.clone(), force: args.force, keep_ca_key: args.keep_ca_key };
    let made = certificate::make(&args.dir, &wish, Clock::system().now())?;
    if args.json {
        return show::json(&json!({
            "names": made.names,
            "ca_file": made.ca_file,
            "ca_key_file": made.ca_key_file,
            "cert_file": made.cert_file,
            "key_file": made.key_file,
        }));
    }
    show::line(format!("Created a certificate for {}:", made.names.join(", ")))?;
    show::line(format!("  {}  the CA certificate; clients have to trust it", made.ca_file.display()))?;
    if let Some(file) = &made.ca_key_file {
        show::line(format!("  {}  the key of the CA; keep it secret", file.display()))?;
    }
    show::line(format!("  {}  cert_file", made.cert_file.display()))?;
    show::line(format!("  {}  key_file", made.key_file.display()))?;
    show::line(format!("Try: curl --cacert {} https://localhost:8443/", made.ca_file.display()))
}
