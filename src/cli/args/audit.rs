//! Arguments of `tokengate audit`.

use clap::{Args, Subcommand, ValueEnum};

use super::numbers;

/// The commands on the audit trail.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List entries, newest first
    List {
        /// Which entries are printed.
        #[command(flatten)]
        filter: AuditFilter,
        /// Print at most this many entries
        #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = numbers::entries)]
        limit: u32,
        /// Go on where the list before ended
        #[arg(long, value_name = "PAGE", default_value = "")]
        page: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print all entries, newest first, for a spreadsheet or a program
    Export {
        /// Which entries are printed.
        #[command(flatten)]
        filter: AuditFilter,
        /// The format
        #[arg(long, value_enum, default_value_t = AuditFormat::Csv)]
        format: AuditFormat,
    },
}

/// The format of an export.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum AuditFormat {
    /// For spreadsheets (RFC 4180)
    Csv,
    /// One JSON object on each line
    Jsonl,
}

/// Which entries of the audit trail are printed.
#[derive(Debug, Args)]
pub struct AuditFilter {
    /// Part of the name of the actor
    #[arg(long, default_value = "")]
    pub actor: String,
    /// Part of the username that was affected, or `#` and the id of the user
    #[arg(long, default_value = "")]
    pub user: String,
    /// Only entries about this token
    #[arg(long, value_name = "ID", value_parser = numbers::id)]
    pub token: Option<i64>,
    /// Only this action, such as token_revoked
    #[arg(long)]
    pub action: Option<String>,
    /// Only entries on or after this day (UTC)
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub since: Option<String>,
    /// Only entries on or before this day (UTC)
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub until: Option<String>,
}
