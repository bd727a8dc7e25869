//! A gateway of one test: settings that the test can change, then the running gateway.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderName;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;
use tokengate::app::{self, Changes, ReloadError, Running, Stopped, World};
use tokengate::clock::{Clock, Hand};
use tokengate::config::Settings;
use tokengate::config::settings::{
    self, Auth, ConnectionTimeouts, Endpoint, EndpointAddress, ExposedToken, ForwardAuthorization, IdentityFields,
    Limits, Listener, ListenerRole, PathPattern, PlainListener, Plaintext, Reload, Route, TlsListener, Upstream,
};
use tokengate::demo::certificate::{self, Wish};
use tokengate::store::{self, NamedToken, NewUser, Store, TokenRef};
use tokengate::telemetry::log;
use tokengate::tls::Certificate;
use tokengate::token::{ScopeSet, SubjectId, TokenKey};
use tokengate::upstream::Resolver;

use super::{AMPLE, Origin, PATIENCE, eventually};

/// A gateway before its start: folder, settings, clock. Its timeouts are long: a test about a timeout sets it.
pub struct Site {
    pub settings: Settings,
    pub roots: RootCertStore,
    pub hand: Hand,
    /// The file that a reload reads.
    pub configuration: Option<PathBuf>,
    /// Resolves the names of endpoints.
    pub resolver: Resolver,
    clock: Clock,
    folder: TempDir,
}

impl Site {
    /// With one endpoint: `/api/` requires a token, `/public/` ignores it, `/optional/` accepts one, `/scoped/`
    /// requires one with the scope `admin`.
    pub fn before(origin: &Origin) -> Site {
        Site::before_all(&[origin.address()])
    }

    /// With several endpoints of one upstream.
    pub fn before_all(endpoints: &[SocketAddr]) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let (clock, hand) = Clock::by_hand(Clock::system().now());
        let database = settings::StoreUrl::Sqlite(folder.path().join("tokengate.db"));
        let settings = Settings {
            files: Vec::new(),
            workers: 1,
            listeners: vec![
                listener("public", ListenerRole::Tls(tls(vec![0]))),
                listener("plain", plain(Plaintext::Serve, ExposedToken::Mark)),
            ],
            certificates: Vec::new(),
            acme: None,
            store: settings::Store {
                max_connections: 2,
                timeout: PATIENCE,
                unknown_per_second: u32::MAX,
                ..settings::Store::at(database, folder.path().join("tokengate.key"))
            },
            memory: settings::MemoryCache { max_entries: 10_000, ..settings::MemoryCache::default() },
            redis: None,
            tokens: settings::Tokens { issue_on_user_create: false, max_per_user: 100, ..settings::Tokens::default() },
            login: None,
            identity: IdentityFields {
                user_email: Some(HeaderName::from_static("x-user-email")),
                ..IdentityFields::default()
            },
            upstreams: vec![upstream(endpoints)],
            rates: Vec::new(),
            quotas: Vec::new(),
            own_rates: settings::OwnRateRule::default(),
            routes: vec![
                route("api", "/api/", Auth::Required),
                route("public", "/public/", Auth::None),
                route("optional", "/optional/", Auth::Optional),
                Route { scopes: ScopeSet::parse("admin").unwrap(), ..route("scoped", "/scoped/", Auth::Required) },
            ],
            spool: settings::Spool::default(),
            // Fewer connections than by default, for machines with a low limit of open files. Tests send many invalid
            // keys from one address.
            limits: Limits { connections: 500, wrong_keys: None, ..Limits::default() },
            timeouts: ConnectionTimeouts { handshake: AMPLE, request_headers: AMPLE, idle: AMPLE, write: AMPLE },
            admin: None,
            log: settings::Log {
                level: tracing::Level::DEBUG,
                json: false,
                access: true,
                access_format: tokengate::telemetry::LogFormat::Text,
                access_to: settings::AccessTarget::Stdout,
                sample: 1,
                redact: Vec::new(),
            },
            traces: None,
            grace: Duration::from_secs(25),
            shutdown_delay: Duration::ZERO,
            reload: Reload::default(),
            resolve_every: AMPLE,
            tests: Vec::new(),
            control: None,
        };
        let mut site = Site {
            settings,
            roots: RootCertStore::empty(),
            hand,
            configuration: None,
            resolver: Resolver::system(),
            clock,
            folder,
        };
        site.add_certificate("default", &["one.test", "*.wild.test"]);
        site
    }

    /// Adds a certificate; returns its index in the settings.
    pub fn add_certificate(&mut self, name: &str, names: &[&str]) -> usize {
        let wish = Wish { names: names.iter().map(|name| (*name).to_owned()).collect(), ..Wish::default() };
        let made = certificate::make(&self.folder.path().join(name), &wish, self.clock.now()).unwrap();
        self.roots.add(CertificateDer::from_pem_file(&made.ca_file).unwrap()).unwrap();
        self.settings.certificates.push(Certificate::read(name, &made.cert_file, &made.key_file).unwrap());
        self.settings.certificates.len() - 1
    }

    /// The same with changed settings.
    pub fn with(mut self, change: impl FnOnce(&mut Settings)) -> Site {
        change(&mut self.settings);
        self
    }

    /// The gateway's clock.
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    pub async fn start(self) -> Gateway {
        self.start_with(|store| store).await
    }

    /// Starts with the store that `wrap` returns; the test keeps the original store.
    pub async fn start_with(self, wrap: impl FnOnce(Store) -> Store) -> Gateway {
        let Site { settings, roots, hand, configuration, resolver, clock, folder } = self;
        let store = store::open(&settings.store, &settings.tokens, clock.clone()).await.unwrap();
        let log = Captured::default();
        let world = World {
            clock,
            store: wrap(store.clone()),
            access_log: Box::new(log.clone()),
            process_log: None,
            configuration,
            resolver,
        };
        let database = match &settings.store.url {
            settings::StoreUrl::Sqlite(path) => path.clone(),
            settings::StoreUrl::Postgres(_) | settings::StoreUrl::Django(_) => PathBuf::new(),
        };
        let clock = world.clock.clone();
        let running = app::start(settings, world).await.unwrap();
        Gateway { running, store, hand, clock, roots: Arc::new(roots), log, database, folder }
    }
}

/// A running gateway.
pub struct Gateway {
    running: Running,
    clock: Clock,
    pub store: Store,
    pub hand: Hand,
    pub roots: Arc<RootCertStore>,
    pub log: Captured,
    /// The SQLite file; empty for a database server.
    pub database: PathBuf,
    folder: TempDir,
}

impl Gateway {
    /// Starts [`Site::before`].
    pub async fn before(origin: &Origin) -> Gateway {
        Site::before(origin).start().await
    }

    /// The HTTPS listener.
    pub fn address(&self) -> SocketAddr {
        self.running.address("public").unwrap()
    }

    /// The unencrypted listener.
    pub fn plain_address(&self) -> SocketAddr {
        self.running.address("plain").unwrap()
    }

    /// The admin application.
    pub fn admin_address(&self) -> SocketAddr {
        self.running.address("admin").unwrap()
    }

    /// The CA file of the first certificate, for clients.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("default/dev-ca.pem")
    }

    /// The login token of a user, who is created if needed.
    pub async fn issue(&self, user: &str) -> String {
        let owner = self.user(user).await;
        self.store.ledger.issue_login(owner).await.unwrap().key.expose().to_owned()
    }

    /// A named token with scopes; `ends_in` is its lifetime.
    pub async fn issue_named(&self, user: &str, scopes: &str, ends_in: Option<Duration>, clock: &Clock) -> String {
        let scopes = ScopeSet::parse(scopes).unwrap();
        let expires = ends_in.map(|span| clock.now().after(span));
        let order = NamedToken { name: "test".to_owned(), expires, scopes, ..NamedToken::default() };
        self.store.ledger.issue_named(self.user(user).await, &order).await.unwrap().key.expose().to_owned()
    }

    /// The id of a user, who is created if needed.
    pub async fn user(&self, name: &str) -> SubjectId {
        if let Some(user) = self.store.accounts.find(name).await.unwrap() {
            return user.account.id;
        }
        self.store.accounts.create(NewUser::named(name)).await.unwrap().0.account.id
    }

    pub async fn revoke(&self, key: &str) {
        let digest = TokenKey::parse(key).unwrap().digest();
        self.store.ledger.revoke(TokenRef::Digest(digest)).await.unwrap();
    }

    /// Takes over another configuration: the present one, changed.
    pub async fn reload(&self, change: impl FnOnce(&mut Settings)) -> Result<Changes, ReloadError> {
        let mut settings = Settings::clone(&self.running.settings());
        change(&mut settings);
        self.running.reload(settings).await
    }

    /// Opens the file of the access log again.
    pub fn reopen_logs(&self) {
        self.running.reopen_logs();
    }

    /// The address of a listener; `None` if there is none of this name.
    pub fn listener(&self, name: &str) -> Option<SocketAddr> {
        self.running.address(name)
    }

    /// The settings in use.
    pub fn settings(&self) -> Arc<Settings> {
        self.running.settings()
    }

    /// The metrics page.
    pub fn metrics(&self) -> String {
        self.running.metrics()
    }

    /// The number in the line of the metrics page with this prefix; 0 if there is none.
    pub fn metric(&self, begin: &str) -> u64 {
        let page = self.metrics();
        let line = page.lines().find_map(|line| line.strip_prefix(begin)).unwrap_or(" 0");
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// The gateway's clock.
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// How many requests of a route had this outcome.
    pub fn outcome(&self, route: &str, outcome: &str) -> u64 {
        self.metric(&format!("tokengate_requests_total{{route=\"{route}\",outcome=\"{outcome}\"}}"))
    }

    /// Waits until this many requests of a route had this outcome; a request is counted after its response was sent.
    pub async fn has_counted(&self, route: &str, outcome: &str, count: u64) {
        let what = format!("{count} requests to {route} end as {outcome}");
        eventually(PATIENCE, &what, || async { self.outcome(route, outcome) == count }).await;
    }

    /// Takes a traffic sample for the admin application.
    pub fn sample_traffic(&self) {
        self.running.sample_traffic();
    }

    /// The token cache.
    pub fn memory(&self) -> &tokengate::cache::IdentityCache {
        self.running.memory()
    }

    pub fn cached_tokens(&self) -> usize {
        self.running.memory().len()
    }

    /// Stops as on SIGTERM, and keeps the folder of the store.
    pub async fn stop_and_keep(self, grace: Duration) -> TempDir {
        self.running.stop(grace).await;
        self.folder
    }

    /// Stops as on SIGTERM.
    pub async fn stop(self, grace: Duration) -> Stopped {
        self.running.stop(grace).await
    }
}

/// A log sink that a test can read.
#[derive(Clone, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// The log of this thread, until the guard is dropped. For tests whose runtime has only this thread.
    pub fn of_this_thread() -> (Captured, tracing::subscriber::DefaultGuard) {
        let said = Captured::default();
        let writer = said.clone();
        let (subscriber, _log) = log::subscriber(tracing::Level::INFO, false, move || writer.clone());
        (said, tracing::subscriber::set_default(subscriber))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub fn listener(name: &str, role: ListenerRole) -> Listener {
    let trust = settings::ProxyTrust::NONE;
    Listener { name: name.to_owned(), address: "127.0.0.1:0".parse().unwrap(), trust, forward_auth: false, role }
}

pub fn tls(certificates: Vec<usize>) -> TlsListener {
    TlsListener {
        certificates,
        http1: true,
        http2: true,
        tls12: true,
        hsts: Some(Duration::from_secs(600)),
        exposed_token: ExposedToken::Mark,
        clients: None,
    }
}

pub fn plain(plaintext: Plaintext, exposed_token: ExposedToken) -> ListenerRole {
    ListenerRole::Plain(PlainListener { plaintext, exposed_token })
}

fn upstream(endpoints: &[SocketAddr]) -> Upstream {
    let endpoint = |address: &SocketAddr| {
        Endpoint::at(address.to_string(), EndpointAddress::Tcp(address.ip().to_string(), address.port()))
    };
    let endpoints = endpoints.iter().map(endpoint).collect();
    Upstream {
        idle_timeout: AMPLE,
        connect_timeout: PATIENCE,
        wait_timeout: PATIENCE,
        ..Upstream::of("origin", endpoints)
    }
}

pub fn route(name: &str, prefix: &str, auth: Auth) -> Route {
    Route {
        auth,
        forward_authorization: ForwardAuthorization::default_for(auth),
        request_body_timeout: AMPLE,
        response_headers_timeout: AMPLE,
        response_body_timeout: AMPLE,
        ..Route::to(name, PathPattern::Prefix(prefix.to_owned()))
    }
}
