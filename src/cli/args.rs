//! What may be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::units::HumanDuration;

/// A reverse-proxy authentication gateway: HTTPS in front, Django REST Framework tokens checked, identity passed on.
#[derive(Debug, Parser)]
#[command(name = "tokengate", version, propagate_version = true)]
pub struct Cli {
    /// The configuration
    #[arg(long, global = true, value_name = "FILE", default_value = "gateway.toml")]
    pub config: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway until SIGTERM or SIGINT
    Serve,
    /// Check the configuration: all problems at once
    Check {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make the database, or bring its schema up to this version
    Migrate {
        /// The key file is lost for good: make a new one. Tokens stay valid, sealed login tokens can no longer be shown
        #[arg(long)]
        new_key: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask the running gateway how it is; exits with 1 if it is not well
    Health,
    /// Make a development certificate and its authority
    Cert(CertArgs),
    /// Show everything at work: a product service, a store with two users, a certificate and the gateway in front
    Demo(DemoArgs),
    /// Look after users
    #[command(subcommand)]
    User(UserCommand),
    /// Look after tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Take users and tokens over from elsewhere
    #[command(subcommand)]
    Import(ImportCommand),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Arguments of `cert`.
#[derive(Debug, Args)]
pub struct CertArgs {
    /// Where the files go
    #[arg(long, value_name = "FOLDER", default_value = "certs")]
    pub dir: PathBuf,
    /// A further name or address; may be given several times
    #[arg(long = "name", value_name = "NAME")]
    pub names: Vec<String>,
    /// Replace files that exist
    #[arg(long)]
    pub force: bool,
    /// Keep the key of the authority, to sign more with it
    #[arg(long)]
    pub keep_ca_key: bool,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Keep everything in this folder; without it, in a temporary one
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
    /// Port of the gateway (HTTPS); 0 takes a free one
    #[arg(long, default_value_t = 8443)]
    pub port: u16,
    /// Port of the listener in clear, which refuses; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    pub plain_port: u16,
    /// Port for health and metrics; 0 takes a free one
    #[arg(long, default_value_t = 9901)]
    pub internal_port: u16,
    /// Port for the admin application; 0 takes a free one
    #[arg(long, default_value_t = 8444)]
    pub admin_port: u16,
}

/// The commands on users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Create a user; asks twice for a password on a terminal
    Create(UserCreate),
    /// List users
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one user, with the id that upstreams see
    Show {
        /// User name
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Set a password; asks twice on a terminal
    SetPassword {
        /// User name
        name: String,
        /// Where the password comes from.
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Let the tokens of a user count again
    Activate {
        /// User name
        name: String,
    },
    /// Keep all tokens of a user from counting
    Deactivate {
        /// User name
        name: String,
    },
    /// Delete a user with all tokens
    Delete {
        /// User name
        name: String,
    },
}

/// Arguments of `user create`.
#[derive(Debug, Args)]
pub struct UserCreate {
    /// User name: compared byte by byte
    pub name: String,
    /// The id that upstreams see; without it the store takes the next one
    #[arg(long)]
    pub id: Option<i64>,
    /// E-mail address
    #[arg(long, default_value = "")]
    pub email: String,
    /// First name
    #[arg(long, default_value = "")]
    pub first_name: String,
    /// Last name
    #[arg(long, default_value = "")]
    pub last_name: String,
    /// May look after others
    #[arg(long)]
    pub staff: bool,
    /// May do everything
    #[arg(long)]
    pub superuser: bool,
    /// Tokens do not count until `user activate`
    #[arg(long)]
    pub inactive: bool,
    /// A group; may be given several times
    #[arg(long = "group", value_name = "GROUP")]
    pub groups: Vec<String>,
    /// Where the password comes from.
    #[command(flatten)]
    pub password: PasswordSource,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Where a password comes from: a terminal, unless one of these is given.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct PasswordSource {
    /// Read the password from the first line of standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// No password: the user has tokens only
    #[arg(long)]
    pub no_password: bool,
}

/// Where users and tokens may come from.
#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// Copy users, groups, password hashes and tokens of a Django project into the store; what is there stays
    Django {
        /// django+sqlite:FILE, django+postgres://… or django+mysql://…; or '${NAME}', taken from the environment
        url: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// The commands on tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Print the login token of a user, made if there is none; or make a named token
    Create {
        /// User name
        user: String,
        /// Revoke the login token and make a new one
        #[arg(long, short, conflicts_with = "name")]
        reset: bool,
        /// Make a named token, shown this once
        #[arg(long, value_name = "TOKEN_NAME")]
        name: Option<String>,
        /// How long the named token counts, such as 90d
        #[arg(long, requires = "name")]
        expires: Option<HumanDuration>,
        /// What the named token may be used for; may be given several times
        #[arg(long = "scope", value_name = "SCOPE", requires = "name")]
        scopes: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a key that exists elsewhere, as it is, as the login token of a user
    Import {
        /// User name
        user: String,
        /// Read the key from the first line of standard input
        #[arg(long, required = true)]
        key_stdin: bool,
        /// Revoke another login token that the user has
        #[arg(long)]
        replace: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List tokens; never their keys
    List {
        /// Only those of this user
        #[arg(long)]
        user: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one token; never its key
    Show {
        /// Its id
        id: i64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke one token, by id or by key
    Revoke {
        /// Its id, or its key (which other users of this machine may then see; better is --key-stdin)
        #[arg(value_name = "ID|KEY", required_unless_present = "key_stdin", conflicts_with = "key_stdin")]
        token: Option<String>,
        /// Read the key from the first line of standard input
        #[arg(long)]
        key_stdin: bool,
    },
}
