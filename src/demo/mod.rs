//! `tokengate demo`: a complete set-up in one process, without other dependencies.
//!
//! Creates a folder with a certificate, a key file, a store with two users and their tokens, a configuration, and a
//! product service as the upstream. The gateway is the ordinary one and reads that configuration, so every other
//! command works on the folder too.

pub mod certificate;
pub mod live;
pub mod product;
pub mod products;
pub mod products_store;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::app::{self, Running, StartError, World};
use crate::clock::Clock;
use crate::config::settings::Admin;
use crate::config::{self, Loaded, Problem};
use crate::store::{self, AccountError, LedgerError, NewUser, OpenError, Password, Store, StoreError};
use crate::token::TokenKey;
use crate::upstream::Resolver;
use certificate::{CertError, Made, Wish};
use products::{ProductsError, RunningProducts};

/// First line of a demo's configuration.
const MARK: &str = "# Written by `tokengate demo`, and again at each start.";

/// The password that alice of the demo logs in with.
pub const PASSWORD: &str = "wonderland";

/// The password that the superuser `admin` of the demo signs in with.
pub const ADMIN_PASSWORD: &str = "looking-glass";

/// Ports on loopback; 0 chooses a free port.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// HTTPS.
    pub secure: u16,
    /// HTTP, which refuses requests.
    pub plain: u16,
    /// Health and metrics.
    pub internal: u16,
    /// The admin application.
    pub admin: u16,
}

/// A running demo.
pub struct Demo {
    gateway: Running,
    products: RunningProducts,
    grace: Duration,
    /// The configuration that was written.
    pub config: PathBuf,
    /// The certificate that clients trust.
    pub ca_file: PathBuf,
    /// An ordinary user's token.
    pub alice: TokenKey,
    /// A superuser's token.
    pub admin: TokenKey,
}

/// Reason why the demo could not start.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The configuration cannot be written.
    #[error("{path}: cannot be written")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The folder contains a configuration that was not written by a demo.
    #[error("{0}: was not written by a demo, and a demo would replace it; choose another folder with --dir")]
    Foreign(PathBuf),
    /// The certificate.
    #[error(transparent)]
    Certificate(#[from] CertError),
    /// The store.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// An operation on the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A user.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// A token.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The product service.
    #[error(transparent)]
    Products(#[from] ProductsError),
    /// The configuration in the folder was changed and is no longer valid.
    #[error("{}", config::problem::render(.0, &[]).trim_end())]
    Config(Vec<Problem>),
    /// A port is taken.
    #[error("port {port} is in use; choose another with {option} (0 takes a free one)")]
    PortTaken {
        /// The port.
        port: u16,
        /// The option that chooses another port.
        option: &'static str,
    },
    /// The gateway.
    #[error(transparent)]
    Start(StartError),
}

/// Starts the demo in `dir`, which must exist. Reuses the files of an earlier demo.
///
/// # Errors
/// [`DemoError`]; nothing keeps running in that case.
pub async fn start(
    dir: &Path,
    ports: Ports,
    clock: Clock,
    access_log: Box<dyn Write + Send>,
) -> Result<Demo, DemoError> {
    let config = dir.join("gateway.toml");
    if std::fs::read(&config).is_ok_and(|text| !text.starts_with(MARK.as_bytes())) {
        return Err(DemoError::Foreign(config));
    }
    let made = certificate(dir, &clock)?;
    let products = products::start(dir, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let text = configuration(ports, products.address());
    std::fs::write(&config, text).map_err(|source| DemoError::Unwritable { path: config.clone(), source })?;
    let Loaded { mut settings, .. } = config::load(&config).map_err(DemoError::Config)?;
    // The curl commands that the admin application shows trust this CA, as those on the terminal do.
    settings.admin = settings.admin.map(|admin| Admin { authority: Some(made.ca_file.clone()), ..admin });

    let store = store::open(&settings.store, &settings.tokens, clock.clone()).await?;
    let password = Password::parse(PASSWORD).ok();
    let alice = NewUser { email: "alice@example.test".to_owned(), password, ..NewUser::named("alice") };
    let alice = user(&store, alice).await?;
    let password = Password::parse(ADMIN_PASSWORD).ok();
    let admin = user(&store, NewUser { staff: true, superuser: true, password, ..NewUser::named("admin") }).await?;

    let grace = settings.grace;
    let gateway = match app::start(
        settings,
        World {
            clock,
            store,
            access_log,
            process_log: None,
            configuration: Some(config.clone()),
            resolver: Resolver::system(),
        },
    )
    .await
    {
        Ok(gateway) => gateway,
        Err(error) => {
            products.stop().await;
            return Err(port_taken(error));
        }
    };
    Ok(Demo { gateway, products, grace, config, ca_file: made.ca_file, alice, admin })
}

impl Demo {
    /// Returns the address of a listener (`public`, `plain`, `internal` or `admin`).
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.gateway.address(listener)
    }

    /// Stops everything, the gateway first.
    pub async fn stop(self) {
        self.gateway.stop(self.grace).await;
        self.products.stop().await;
    }
}

/// Returns the certificate of an earlier demo in `dir`, or creates one.
///
/// # Errors
/// [`CertError`] if it cannot be created.
pub fn certificate(dir: &Path, clock: &Clock) -> Result<Made, CertError> {
    match certificate::make(dir, &Wish::default(), clock.now()) {
        Err(CertError::Exists(_)) => Ok(Made {
            ca_file: dir.join("dev-ca.pem"),
            ca_key_file: None,
            cert_file: dir.join("dev-cert.pem"),
            key_file: dir.join("dev-key.pem"),
            names: Vec::new(),
        }),
        made => made,
    }
}

/// Returns the user with a login token.
async fn user(store: &Store, new: NewUser) -> Result<TokenKey, DemoError> {
    let user = match store.accounts.find(&new.name).await? {
        // The folder is from an older demo, in which no user had a password.
        Some(user) if !user.has_password && new.password.is_some() => {
            store.accounts.set_password(user.account.id, new.password).await?;
            user
        }
        Some(user) => user,
        None => store.accounts.create(new).await?.0,
    };
    Ok(store.ledger.issue_login(user.account.id).await?.key)
}

fn configuration(ports: Ports, products: SocketAddr) -> String {
    let Ports { secure, plain, internal, admin } = ports;
    format!(
        r#"{MARK} Try the other commands on it, for instance:
#   tokengate user list --config THIS_FILE
version = 1

[listeners.public]
address      = "127.0.0.1:{secure}"
certificates = ["demo"]

[listeners.plain]
address   = "127.0.0.1:{plain}"
plaintext = "refuse"

[listeners.internal]
address  = "127.0.0.1:{internal}"
services = ["health", "metrics"]

[certificates.demo]
cert_file = "dev-cert.pem"
key_file  = "dev-key.pem"

# Nobody else needs an answer soon, and a small machine may do much at once.
[store]
timeout = "30s"

[login]

[login.browser]

[admin]
address     = "127.0.0.1:{admin}"
certificate = "demo"

[upstreams.products]
endpoints = ["http://{products}"]

[routes.products]
path_prefix = "/product_api/"
upstream    = "products"

# A token may ask this five times at once, and then once a second.
[rates.per-token]
key   = "token"
rate  = "60/min"
burst = 5

[routes.whoami]
path     = "/product_api/whoami/"
upstream = "products"
rates    = ["per-token"]

# Streams and a WebSocket, for tokens and for browsers that have signed in. They end when the token or the session ends.
[routes.live]
path_prefix = "/live/"
upstream    = "products"
credentials = ["token", "session"]
streaming   = true

# Save this file, and the gateway uses it within a second.
[reload]
watch = true

# Ctrl-C waits no longer for streams that are open.
[shutdown]
grace = "2s"

# Tests run whenever this file is read, and a failing one refuses it. To see why: tokengate explain --test NAME
[[tests]]
name     = "products need a token"
request  = "GET https://localhost/product_api/"
listener = "public"
expect   = {{ status = 401, route = "products" }}

[[tests]]
name     = "products learn who calls"
request  = "GET https://localhost/product_api/"
listener = "public"
as.user  = "alice"
expect   = {{ upstream = "products", headers = ["X-User-Name: alice"] }}

# As the seed project spells it.
[routes.products_misspelt]
path_prefix = "/porduct_api/"
upstream    = "products"
"#
    )
}

/// Names the command-line option for another port.
fn port_taken(error: StartError) -> DemoError {
    let StartError::Listen { key, address, source } = &error else { return DemoError::Start(error) };
    if source.kind() != std::io::ErrorKind::AddrInUse {
        return DemoError::Start(error);
    }
    let option = match key.as_str() {
        "listeners.public" => "--port",
        "listeners.plain" => "--plain-port",
        "admin" => "--admin-port",
        _ => "--internal-port",
    };
    DemoError::PortTaken { port: address.port(), option }
}
