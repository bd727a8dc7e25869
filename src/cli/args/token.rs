//! Arguments of `tokengate token`.

use clap::{Args, Subcommand};

use super::Paging;
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
        id: i64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Issue a new key for a token; the old key works on for the time of --overlap
    Rotate {
        /// The token's id
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
    /// Change the scopes or the expiry of a token, or disable it for a while
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

/// Arguments of `token edit`; what is not named stays.
#[derive(Debug, Args)]
pub struct TokenEdit {
    /// The token's id
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
