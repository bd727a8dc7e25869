//! Explains what would happen to a request, without sockets.
//!
//! A stand-in for a worker decides with the code that serves requests, on a generation from the same settings. It sends
//! nothing, writes nothing and counts nothing. The file's `[[tests]]` run on it (`app/file_tests.rs`).

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::request;

use super::StartError;
use super::generation;
use crate::auth::{Authenticator, Credentials, cookies};
use crate::cache::{ExposedTokens, IdentityCache, ResolverHandle, StoreUnavailable, Uses};
use crate::client::certificate::ClientCertificate;
use crate::client::{ClientConnection, ListenerPolicy, OpenConnections};
use crate::clock::{Clock, Timestamp};
use crate::config::Settings;
use crate::config::settings::{self, ListenerRole, SampleCaller, SampleRequest};
use crate::gateway::{Callers, Certified, DateHeader, Explanation, Gateway, Timers, Worker};
use crate::identity::{Denied, Identity, Verdict};
use crate::listener::sample;
use crate::route::Peer;
use crate::telemetry::{AccessLog, Recorder, RequestIds, Tracer};
use crate::token::{Account, AuthMethod, Restrictions, ShownKey, SubjectId, TokenId, TokenKey, TokenRecord};

/// The key of a made-up caller. It has the form of a generated one, and no store has it.
const SAMPLE_KEY: &str = "53616d706c65206b65792c206e6f742061207265";

/// Room for keys: far more than one request has.
const MEMORY: usize = 10_000;

/// The port of the client.
const PORT: u16 = 49_152;

/// Explains what would happen to requests. Belongs to one thread.
pub struct Explainer {
    listeners: Vec<settings::Listener>,
    /// The scheme of tokens.
    scheme: String,
    gateway: Rc<Gateway>,
    memory: Arc<IdentityCache>,
    connections: OpenConnections,
    now: Timestamp,
}

/// The sender of a request.
pub enum Caller {
    /// It has no credentials but those in the headers of the request.
    Bare,
    /// A token or session that no store needs to know.
    Sample(Box<TokenRecord>),
    /// This token.
    Key(TokenKey),
}

/// No listener would take the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoListener {
    /// None has this name.
    #[error("no listener for requests is called `{0}`")]
    Name(String),
    /// None has the port of the URL.
    #[error("no listener has port {port}; name the one that takes the request with `listener`: {}", .known.join(", "))]
    Port {
        /// The port.
        port: u16,
        /// The listeners, each with its address.
        known: Vec<String>,
    },
    /// The listener is for operators.
    #[error("the listener `{0}` serves health and metrics, and no requests for upstreams")]
    Internal(String),
    /// The request is HTTPS, and the listener is not.
    #[error("the listener `{0}` speaks HTTP without TLS")]
    NotTls(String),
}

/// An explained request.
pub struct Explained {
    /// The listener that takes it.
    pub listener: String,
    /// What happens to it.
    pub explanation: Explanation,
}

impl Explainer {
    /// Builds a generation from these settings, as a gateway would. All requests are explained as of `now`.
    ///
    /// # Errors
    /// [`StartError`], as for a gateway.
    pub fn new(settings: &Settings, now: Timestamp) -> Result<Explainer, StartError> {
        let generation = generation::stand_in(settings)?;
        // The clock stands still: what is put into memory stays known for as long as a decision takes, on any machine.
        let (clock, _) = Clock::by_hand(now);
        let memory = settings::MemoryCache { max_entries: MEMORY, ..settings::MemoryCache::default() };
        let memory = IdentityCache::new(&memory, &settings.store, now);
        let recorder = Recorder::new();
        let resolver = ResolverHandle::nowhere(Arc::clone(&memory));
        let connections = OpenConnections::new(generation.timeouts);
        let authenticator =
            Authenticator::new(Arc::clone(&memory), resolver, Uses::nowhere(), clock.clone(), Arc::clone(&recorder));
        let worker = Worker {
            authenticator,
            callers: Callers::default(),
            certified: Certified::default(),
            exposed: ExposedTokens::nowhere(),
            clock,
            recorder,
            access_log: AccessLog::off(),
            tracer: Tracer::off(),
            ids: RequestIds::new(0, 0),
            date: DateHeader::new(now),
            timers: Timers::new(std::time::Duration::ZERO),
        };
        let gateway = Gateway::new(Arc::new(generation), Rc::new(worker), None, settings.workers);
        let scheme = settings.tokens.schemes.first().map_or("Token", String::as_str).to_owned();
        Ok(Explainer { listeners: settings.listeners.clone(), scheme, gateway, memory, connections, now })
    }

    /// The gateway that decides. Benches measure it.
    pub fn gateway(&self) -> &Rc<Gateway> {
        &self.gateway
    }

    /// Explains a request. `look_up` says what the store knows of a key.
    ///
    /// # Errors
    /// [`NoListener`]: nothing would take it.
    pub async fn explain(
        &self,
        request: &SampleRequest,
        caller: &Caller,
        look_up: impl AsyncFn(&TokenKey) -> Result<Option<TokenRecord>, StoreUnavailable>,
    ) -> Result<Explained, NoListener> {
        let listener = self.listener(request)?;
        let client = self.connection(request, listener)?;
        if let (Caller::Sample(record), true, Some(_)) = (caller, client.peer.secure, listener.clients())
            && record.method == AuthMethod::Certificate
        {
            // The connection is new, so it has none.
            let _ = client.certificate.set(ClientCertificate::made_up(&record.owner.name));
        }
        let limits = &self.gateway.generation.limits;
        let head = sample::read(&self.head(request, caller, listener), limits, &client);
        self.remember(&head.parts, caller, look_up).await;
        let explanation = self.gateway.explain(&client, head.parts, head.framing.length()).await;
        Ok(Explained { listener: listener.name.clone(), explanation })
    }

    /// The listener that takes a request: the named one, else the one with its port.
    fn listener(&self, request: &SampleRequest) -> Result<&settings::Listener, NoListener> {
        let all = &self.listeners;
        let found = match &request.listener {
            Some(name) => all.iter().find(|listener| listener.name == *name),
            None => {
                let mut with_port = all.iter().filter(|listener| listener.address.port() == request.port);
                let first = with_port.clone().next();
                with_port.find(|listener| matches!(listener.role, ListenerRole::Tls(_)) == request.secure).or(first)
            }
        };
        let missing = || match &request.listener {
            Some(name) => NoListener::Name(name.clone()),
            None => {
                let known = all.iter().map(|listener| format!("{} ({})", listener.name, listener.address)).collect();
                NoListener::Port { port: request.port, known }
            }
        };
        let listener = found.ok_or_else(missing)?;
        match listener.role {
            ListenerRole::Internal { .. } => Err(NoListener::Internal(listener.name.clone())),
            ListenerRole::Plain(_) if request.secure && !listener.forward_auth => {
                Err(NoListener::NotTls(listener.name.clone()))
            }
            ListenerRole::Plain(_) | ListenerRole::Tls(_) => Ok(listener),
        }
    }

    /// The connection on which the request would come.
    fn connection(
        &self,
        request: &SampleRequest,
        listener: &settings::Listener,
    ) -> Result<Rc<ClientConnection>, NoListener> {
        let served = self.gateway.generation.listener(&listener.name);
        let served = served.ok_or_else(|| NoListener::Name(listener.name.clone()))?;
        // A listener for questions is asked by a proxy.
        let proxy = listener
            .trust
            .proxies
            .as_ref()
            .filter(|_| listener.forward_auth)
            .and_then(|proxies| proxies.addresses().next());
        let (from, local) = (SocketAddr::new(proxy.unwrap_or(request.from), PORT), listener.address);
        let own = Some(Arc::clone(&served.name));
        let (peer, name, policy): (Peer, _, &Arc<ListenerPolicy>) = match &served.tls {
            Some(tls) if request.secure => {
                let peer = Peer::tls(from, local, server_name(&request.authority), Arc::clone(&tls.names));
                (peer, own, &served.policy)
            }
            Some(tls) => (Peer::plain(from, local), None, &tls.unencrypted),
            None => (Peer::plain(from, local), own, &served.policy),
        };
        let pulse = self.connections.enter(&served.name);
        Ok(ClientConnection::new(peer, pulse, name, Arc::clone(policy)))
    }

    /// The head as a client sends it, or as a proxy asks about it.
    fn head(&self, request: &SampleRequest, caller: &Caller, listener: &settings::Listener) -> Vec<u8> {
        let named = |line: &String, name: &str| {
            line.split_once(':').is_some_and(|(written, _)| written.trim_end().eq_ignore_ascii_case(name))
        };
        let mut lines = match listener.forward_auth {
            false => vec![format!("{} {} HTTP/1.1", request.method, request.target)],
            true => vec![
                "GET /forward-auth HTTP/1.1".to_owned(),
                format!("X-Forwarded-For: {}", request.from),
                format!("X-Forwarded-Proto: {}", if request.secure { "https" } else { "http" }),
                format!("X-Forwarded-Host: {}", request.authority),
                format!("X-Forwarded-Method: {}", request.method),
                format!("X-Forwarded-Uri: {}", request.target),
            ],
        };
        if !request.headers.iter().any(|line| named(line, "host")) {
            lines.push(format!("Host: {}", request.authority));
        }
        let scheme = &self.scheme;
        match caller {
            Caller::Bare => {}
            Caller::Key(key) => lines.push(format!("Authorization: {scheme} {}", key.expose())),
            Caller::Sample(record) if record.method == AuthMethod::Token => {
                lines.push(format!("Authorization: {scheme} {SAMPLE_KEY}"));
            }
            Caller::Sample(record) if record.method == AuthMethod::Certificate => {}
            Caller::Sample(_) => lines.push(format!("Cookie: {}={SAMPLE_KEY}", cookies::SESSION_COOKIE)),
        }
        lines.extend(request.headers.iter().cloned());
        (lines.join("\r\n") + "\r\n\r\n").into_bytes()
    }

    /// Puts into memory what is known of every key in the head. What the store does not say stays unknown, which is a
    /// 503.
    async fn remember(
        &self,
        head: &request::Parts,
        caller: &Caller,
        look_up: impl AsyncFn(&TokenKey) -> Result<Option<TokenRecord>, StoreUnavailable>,
    ) {
        let now = self.now;
        // Also words that are no credentials here: what the gateway knows as a key is not passed on.
        let words = head.headers.get_all(AUTHORIZATION).iter().flat_map(Credentials::words);
        let readings = self.gateway.generation.credentials.readings(&head.headers);
        let shown = match caller {
            Caller::Sample(record) if record.method == AuthMethod::Certificate => Some(&record.owner.name),
            Caller::Bare | Caller::Sample(_) | Caller::Key(_) => None,
        };
        let shown = shown.map(|user| ShownKey::of_certificate(user));
        let keys: Vec<ShownKey<'_>> =
            readings.chain(words).chain(cookies::session(&head.headers)).chain(shown).collect();
        for key in keys {
            self.memory.forget(key.digest());
            let record = match caller {
                Caller::Sample(record) if record.digest == key.digest() => Ok(Some((**record).clone())),
                Caller::Bare | Caller::Sample(_) | Caller::Key(_) => look_up(&key.to_key()).await,
            };
            let Ok(record) = record else { continue };
            let established = record.map_or(Err(Denied::Unknown), |record| Identity::establish(&record, now));
            let verdict = established.map_or_else(Verdict::Denied, |identity| Verdict::Caller(Arc::new(identity)));
            self.memory.begin_fill(key.digest()).keep(&verdict, now);
        }
    }
}

impl Caller {
    /// A caller with a valid token or session, whose user need not exist.
    pub fn made_up(sample: &SampleCaller, now: Timestamp) -> Caller {
        let owner = Account {
            id: SubjectId(1),
            name: sample.user.clone(),
            email: String::new(),
            groups: sample.groups.clone(),
            active: true,
        };
        Caller::of_user(owner, sample, now)
    }

    /// A caller with a token or session of this user; the user in `sample` does not matter.
    pub fn of_user(owner: Account, sample: &SampleCaller, now: Timestamp) -> Caller {
        let (method, key) = match (sample.certificate, sample.session) {
            (true, _) => (AuthMethod::Certificate, Some(ShownKey::of_certificate(&owner.name).to_key())),
            (false, true) => (AuthMethod::Session, TokenKey::parse(SAMPLE_KEY).ok().map(TokenKey::into_session)),
            (false, false) => (AuthMethod::Token, TokenKey::parse(SAMPLE_KEY).ok()),
        };
        let Some(key) = key else { return Caller::Bare };
        let restrictions =
            Restrictions { read_only: sample.read_only, networks: sample.networks.clone(), ..Restrictions::default() };
        Caller::Sample(Box::new(TokenRecord {
            id: TokenId(1),
            method,
            digest: key.digest(),
            owner,
            scopes: sample.scopes.clone(),
            created: now,
            expires: None,
            revoked: None,
            restrictions,
        }))
    }
}

/// The name that a client asks for in its TLS handshake: none for an address.
fn server_name(authority: &str) -> Option<&str> {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    };
    let is_address = host.starts_with('[') || host.parse::<IpAddr>().is_ok();
    (!is_address).then_some(host)
}
