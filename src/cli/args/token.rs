//! Arguments of `tokengate token`.

use clap::{Args, Subcommand};

use super::{Paging, numbers};
use crate::token::OwnRate;
use crate::units::HumanDuration;

/// The commands on tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Print the login token of a user, creating it if missing; or create a named token
    Create {
        /// Username
        user: String,
        /// Revoke the login token and create a new one
        #[arg(long, short, conflicts_with = "name")]
        reset: bool,
        /// Answer the question of a terminal with yes
        #[arg(long)]
        yes: bool,
        /// Create a named token; its key is shown once
        #[arg(long, value_name = "TOKEN_NAME")]
        name: Option<String>,
        /// Lifetime of the named token, such as 90d
        #[arg(long, requires = "name")]
        expires: Option<HumanDuration>,
        /// A scope of the named token; can be repeated
        #[arg(long = "scope", value_name = "SCOPE", requires = "name")]
        scopes: Vec<String>,
        /// How its use is limited.
        #[command(flatten)]
        limits: LimitOptions,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Import an existing key as a user's login token, or as a further, named token
    Import {
        /// Username
        user: String,
        /// Read the key from the first line of standard input
        #[arg(long, required = true)]
        key_stdin: bool,
        /// Revoke the user's current login token
        #[arg(long, conflicts_with = "name")]
        replace: bool,
        /// Make it a named token; a user may have several
        #[arg(long, value_name = "TOKEN_NAME")]
        name: Option<String>,
        /// Lifetime of the named token, such as 90d
        #[arg(long, requires = "name")]
        expires: Option<HumanDuration>,
        /// A scope of the named token; can be repeated
        #[arg(long = "scope", value_name = "SCOPE", requires = "name")]
        scopes: Vec<String>,
        /// How its use is limited.
        #[command(flatten)]
        limits: LimitOptions,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List tokens by id, without their keys
    List {
        /// Only tokens of this user
        #[arg(long)]
        user: Option<String>,
        /// Which part is printed.
        #[command(flatten)]
        paging: Paging,
    },
    /// Show one token, without its key
    Show {
        /// The token's id
        #[arg(value_parser = numbers::id)]
        id: i64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Issue a new key for a token; the old key works on for the time of --overlap
    Rotate {
        /// The token's id
        #[arg(value_parser = numbers::id)]
        id: i64,
        /// How long the old key works on, such as 24h
        #[arg(long, value_name = "DURATION", default_value = "24h")]
        overlap: HumanDuration,
        /// Revoke the old key at once
        #[arg(long, conflicts_with = "overlap")]
        at_once: bool,
        /// Answer the question of a terminal with yes
        #[arg(long)]
        yes: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Change the scopes, the limits or the expiry of a token, or disable it for a while
    Edit(TokenEdit),
    /// Revoke one token, by id or by key; asks first on a terminal
    Revoke {
        /// The token's id, or its key (visible to other users of this machine; prefer --key-stdin)
        #[arg(value_name = "ID|KEY", required_unless_present = "key_stdin", conflicts_with = "key_stdin")]
        token: Option<String>,
        /// Read the key from the first line of standard input
        #[arg(long)]
        key_stdin: bool,
        /// Answer the question of a terminal with yes
        #[arg(long)]
        yes: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// How the use of a new named token is limited.
#[derive(Debug, Args)]
pub struct LimitOptions {
    /// Only GET, HEAD and OPTIONS requests may use it
    #[arg(long, requires = "name")]
    pub read_only: bool,
    /// Only clients in this network may use it, such as 10.0.0.0/8; can be repeated
    #[arg(long = "network", value_name = "NETWORK", requires = "name")]
    pub networks: Vec<String>,
    /// It expires when it is not used for this number of days
    #[arg(long, value_name = "DAYS", requires = "name", value_parser = numbers::days)]
    pub unused_days: Option<u32>,
    /// How often it may be used, such as 600/min or '600/min burst 100'
    #[arg(long, requires = "name")]
    pub rate: Option<OwnRate>,
}

/// Arguments of `token edit`; what is not named stays.
#[derive(Debug, Args)]
pub struct TokenEdit {
    /// The token's id
    #[arg(value_parser = numbers::id)]
    pub id: i64,
    /// Name of the token
    #[arg(long, value_name = "TOKEN_NAME")]
    pub name: Option<String>,
    /// Note about the token, for administrators; '' removes it
    #[arg(long)]
    pub note: Option<String>,
    /// Time from now until the token expires, such as 90d
    #[arg(long, value_name = "DURATION", conflicts_with = "never_expires")]
    pub expires: Option<HumanDuration>,
    /// The token never expires
    #[arg(long)]
    pub never_expires: bool,
    /// All scopes of the token from now on; can be repeated
    #[arg(long = "scope", value_name = "SCOPE", conflicts_with = "no_scopes")]
    pub scopes: Vec<String>,
    /// The token has no scopes from now on
    #[arg(long)]
    pub no_scopes: bool,
    /// Only GET, HEAD and OPTIONS requests may use the token
    #[arg(long, conflicts_with = "read_write")]
    pub read_only: bool,
    /// Requests of every method may use the token
    #[arg(long)]
    pub read_write: bool,
    /// All networks that the token may be used from, such as 10.0.0.0/8; can be repeated
    #[arg(long = "network", value_name = "NETWORK", conflicts_with = "any_network")]
    pub networks: Vec<String>,
    /// The token may be used from any network
    #[arg(long)]
    pub any_network: bool,
    /// The token expires when it is not used for this number of days
    #[arg(long, value_name = "DAYS", conflicts_with = "unused_forever", value_parser = numbers::days)]
    pub unused_days: Option<u32>,
    /// The token may be unused for any time
    #[arg(long)]
    pub unused_forever: bool,
    /// How often the token may be used, such as 600/min or '600/min burst 100'
    #[arg(long, conflicts_with = "no_rate")]
    pub rate: Option<OwnRate>,
    /// Only the rates of routes apply to the token
    #[arg(long)]
    pub no_rate: bool,
    /// Disable the token until --enable
    #[arg(long, conflicts_with = "enable")]
    pub disable: bool,
    /// Enable the token again
    #[arg(long)]
    pub enable: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
