//! Arguments and subcommands.

mod audit;
mod numbers;
mod token;
mod user;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::acme::AcmeCommand;
use super::cert::CertArgs;
use super::demo::DemoArgs;
use super::init::InitArgs;
pub use audit::{AuditCommand, AuditFilter, AuditFormat};
pub use token::{LimitOptions, TokenCommand, TokenEdit};
pub use user::{PasswordSource, UserCommand, UserCreate, UserEdit};

/// A reverse-proxy authentication gateway: terminates HTTPS, checks Django REST Framework tokens, forwards the caller's
/// identity
#[derive(Debug, Parser)]
#[command(name = "tokengate", version, propagate_version = true)]
pub struct Cli {
    /// The configuration file
    #[arg(long, global = true, value_name = "FILE", default_value = "gateway.toml")]
    pub config: PathBuf,
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway until SIGTERM or SIGINT; SIGHUP reloads the configuration
    Serve {
        /// Take over the listening sockets from the gateway that runs. SOCKET is its control socket; default: that of
        /// the configuration
        #[arg(long, value_name = "SOCKET", num_args = 0..=1, require_equals = true)]
        take_over: Option<Option<PathBuf>>,
    },
    /// Have the running gateway reload its configuration; print what changed, or every problem
    Reload {
        /// Leave the settings that need a restart as they are, and use the rest of the file
        #[arg(long)]
        force_partial: bool,
        /// Where the running gateway is found.
        #[command(flatten)]
        target: ControlTarget,
    },
    /// Ask the running gateway which configuration it uses, and how the last reload ended
    Status(ControlTarget),
    /// Have the running gateway hand over to the program that is now at its path, without losing a connection
    Upgrade(ControlTarget),
    /// Shut down the running gateway as SIGTERM does; wait until it has stopped
    Drain(ControlTarget),
    /// Check the configuration and report every problem
    Check {
        /// Compare it with the configuration of the running gateway: what a reload would change, and what needs a
        /// restart
        #[arg(long)]
        against_running: bool,
        /// Also ask the store, Redis and the endpoints, and whether the ports are free
        #[arg(long)]
        live: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the effective configuration: every value and its origin; secrets are hidden
    Config {
        /// Print every value in effect, with defaults; the same without this option
        #[arg(long)]
        effective: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of the configuration file, for editors
    Schema,
    /// Explain what would happen to a request: its route, its caller, and what the upstream would receive. Nothing is
    /// sent or written. Exits 1 if the request is refused
    Explain(ExplainArgs),
    /// Create or upgrade the database
    Migrate {
        /// The key file is lost: create a new one. Tokens stay valid; existing login tokens can no longer be shown
        #[arg(long)]
        new_key: bool,
        /// Only list the migrations that would be applied
        #[arg(long, conflicts_with = "new_key")]
        dry_run: bool,
        /// Answer the question of a terminal with yes
        #[arg(long)]
        yes: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask the running gateway whether it is ready to serve requests; exits 1 if not
    Health {
        /// Only ask whether the process runs
        #[arg(long)]
        live: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Replace the key of the store's key file while gateways run; continues where it was interrupted
    RotateKey {
        /// Only add the new key to the file, to copy the file to gateways on other machines first
        #[arg(long)]
        only_add: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Copy the SQLite store to a new file and check the copy; gateways can go on running
    Backup {
        /// The new file
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Check a backup of the SQLite store and make it the store, which must not exist
    Restore {
        /// The backup
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a configuration, its certificate, the store and the first superuser; asks for what the options leave open
    Init(InitArgs),
    /// Create a development certificate and its CA
    Cert(CertArgs),
    /// Certificates from a certificate authority (ACME)
    #[command(subcommand)]
    Acme(AcmeCommand),
    /// Run a complete demo: a product service, two users, a certificate and the gateway in front
    Demo(DemoArgs),
    /// Manage users
    #[command(subcommand)]
    User(UserCommand),
    /// Manage tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Read the audit trail
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Import users and tokens; existing ones are kept
    #[command(subcommand)]
    Import(ImportCommand),
    /// Commands for an existing Django database
    #[command(subcommand)]
    Django(DjangoCommand),
    /// Write the man pages of all commands into a folder, for packages
    #[command(hide = true)]
    Manual {
        /// The folder; must exist
        folder: PathBuf,
    },
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Where the running gateway is found, and how its answer is printed.
#[derive(Debug, Args)]
pub struct ControlTarget {
    /// The control socket of the gateway; default: that of the configuration file
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Which part of a list is printed.
#[derive(Debug, Args)]
pub struct Paging {
    /// Print at most this many entries; default: all
    #[arg(long, value_name = "NUMBER", value_parser = numbers::count)]
    pub limit: Option<u32>,
    /// Begin after the entry with this id
    #[arg(long, value_name = "ID", default_value_t = 0, value_parser = numbers::id)]
    pub after: i64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The method, such as GET
    #[arg(required_unless_present = "test", conflicts_with = "test")]
    pub method: Option<String>,
    /// The URL, such as https://api.example.com/orders/7
    #[arg(required_unless_present = "test", conflicts_with = "test")]
    pub url: Option<String>,
    /// A header line, such as 'Accept: text/html'; can be repeated
    #[arg(short = 'H', long = "header", value_name = "LINE", conflicts_with = "test")]
    pub headers: Vec<String>,
    /// The caller is this user of the store, with a token that is made up
    #[arg(long = "as", value_name = "USER", conflicts_with = "test")]
    pub user: Option<String>,
    /// A scope of the made-up token; can be repeated. Without --as, the user is made up too
    #[arg(long = "scope", value_name = "SCOPE", conflicts_with = "test")]
    pub scopes: Vec<String>,
    /// Make up a session of a browser instead of a token
    #[arg(long, conflicts_with = "test")]
    pub session: bool,
    /// Make up a client certificate of the user instead of a token
    #[arg(long, conflicts_with_all = ["session", "scopes", "test"])]
    pub certificate: bool,
    /// Read a token's key from the first line of standard input, and look it up in the store
    #[arg(long, conflicts_with_all = ["user", "scopes", "session", "certificate", "test"])]
    pub token_stdin: bool,
    /// The IP address of the client
    #[arg(long, value_name = "ADDRESS", conflicts_with = "test")]
    pub from: Option<std::net::IpAddr>,
    /// The listener that takes the request, if the port in the URL is forwarded to another one
    #[arg(long, value_name = "NAME", conflicts_with = "test")]
    pub listener: Option<String>,
    /// Explain the request of this test of the configuration
    #[arg(long, value_name = "NAME")]
    pub test: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Where users and tokens may come from.
#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// Import users, groups, password hashes and tokens of a Django project; existing ones are kept. Exits 1 if
    /// something could not be imported, or is valid here but not in Django
    Django {
        /// django+sqlite:FILE, django+postgres://… or django+mysql://…; or '${NAME}', taken from the environment
        url: String,
        /// Revoke tokens and deactivate users of an earlier import that were deleted or are no longer valid in
        /// Django
        #[arg(long, conflicts_with = "keep_gone")]
        prune: bool,
        /// Keep users and tokens that are no longer valid in Django; do not exit 1 because of them
        #[arg(long)]
        keep_gone: bool,
        /// Address that this database had at earlier imports, if it moved; or `none` if users or tokens of it came from
        /// another database
        #[arg(long, value_name = "ADDRESS")]
        was: Option<String>,
        /// Do not exit 1 because of users or tokens that were skipped, left out or left different
        #[arg(long)]
        allow_skipped: bool,
        /// Give a new id to each user whose id belongs to another user here. Upstreams see that id
        #[arg(long)]
        map_ids: bool,
        /// Report what would be done, and write nothing
        #[arg(long)]
        dry_run: bool,
        /// Answer the question of a terminal with yes
        #[arg(long)]
        yes: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// The commands for Django databases.
#[derive(Debug, Subcommand)]
pub enum DjangoCommand {
    /// Print the SQL of the triggers that notify gateways of changes, for the tables of [store.django] on PostgreSQL:
    /// tokengate django triggers | psql DATABASE
    Triggers,
}
