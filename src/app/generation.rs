//! Builds a [`Generation`] from settings, reusing state of the previous one.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::StartError;
use super::file_tests;
use super::token_services::TokenServices;
use crate::acme::Challenges;
use crate::auth::{CredentialRules, Refused};
use crate::client::{self, ListenerPolicy, PlaintextAnswer};
use crate::clock::Clock;
use crate::config::Settings;
use crate::config::settings::{self, Acme, AcmeChallenge, ExposedToken, ListenerRole, Plaintext, TlsListener};
use crate::gateway::fields::FieldPolicy;
use crate::gateway::{
    Forms, Generation, ListenerTls, LoginEndpoint, Member, PagesEndpoint, ServedListener, UpstreamSpec,
};
use crate::listener::tls;
use crate::login::{Issuer, IssuerHandle, Offers};
use crate::rates::Rates;
use crate::route::RouteTable;
use crate::store::{Store, Via};
use crate::upstream::{ClientTls, EndpointSpec, Resolver, Spool};

/// The inputs that all generations of one process share.
pub(super) struct Builder {
    pub store: Store,
    pub clock: Clock,
    pub services: TokenServices,
    /// One ticketer for the process, so that TLS sessions can be resumed on every worker and after a reload.
    pub ticketer: tls::Ticketer,
    /// Resolves the names of endpoints.
    pub resolver: Resolver,
    /// The answers to challenges of a CA.
    pub challenges: Arc<Challenges>,
}

/// A generation, and the state that the next one may reuse.
pub(super) struct Built {
    pub settings: Arc<Settings>,
    pub generation: Arc<Generation>,
    /// The addresses of the listeners.
    pub addresses: HashMap<String, SocketAddr>,
    refused: Refused,
    /// `None`: logins are not configured.
    issuer: Option<IssuerHandle>,
}

impl Builder {
    /// Builds the next generation. `addresses` are those of the listeners. Changes nothing that `before` uses, so a
    /// failure has no effect on it.
    ///
    /// Reuses counters of rate limits, memory for forms, and resolved addresses if their settings are unchanged.
    ///
    /// # Errors
    /// [`StartError`] names the part that cannot be built.
    pub(super) async fn build(
        &self,
        settings: Settings,
        before: Option<&Built>,
        addresses: &HashMap<String, SocketAddr>,
    ) -> Result<Built, StartError> {
        if let Err(none) = &self.store.sessions
            && settings.login.as_ref().is_some_and(|login| login.browser.is_some())
        {
            return Err(StartError::NoSessions(none.clone()));
        }
        let rules = Rules::build(&settings, addresses, &self.ticketer, &self.challenges)?;
        file_tests::run(&settings)?;
        let same = |is_same: fn(&Settings, &Settings) -> bool| before.filter(|old| is_same(&old.settings, &settings));
        let refused = match same(|a, b| a.limits.wrong_keys == b.limits.wrong_keys) {
            Some(old) => old.refused.clone(),
            None => Refused::new(settings.limits.wrong_keys),
        };
        let spool = match same(|a, b| a.spool == b.spool) {
            Some(old) => old.generation.spool.clone(),
            None => Spool::new(&settings.spool, Arc::clone(&self.services.counts)),
        };
        if settings.routes.iter().any(|route| route.buffer_request) {
            spool.probe().map_err(|source| StartError::Spool { folder: settings.spool.folder.clone(), source })?;
        }
        let forms = match same(|a, b| a.login == b.login) {
            Some(old) => old.generation.forms.clone(),
            None => Forms::new(&settings.login.clone().unwrap_or_default()),
        };
        let upstreams = upstreams(&settings, before, &self.resolver).await?;
        // Nothing below can fail.
        let issuer = match same(|a, b| a.login == b.login) {
            Some(old) => old.issuer.clone(),
            None => settings.login.as_ref().map(|login| {
                let (issuer, handle) = Issuer::new(self.store.clone(), Via::Public, login, self.clock.clone());
                // Ends when the last generation that uses it is dropped.
                tokio::spawn(issuer.run());
                handle
            }),
        };
        let counts = before.map(|old| &old.generation.rates);
        let rates = Rates::build(
            &settings,
            counts,
            (self.services.shared_rates.as_ref(), self.services.quotas.as_ref()),
            &self.services.counts,
        );
        let number = before.map_or(1, |old| old.generation.number + 1);
        let parts = Parts { refused: refused.clone(), issuer: issuer.clone(), forms, spool, upstreams, rates };
        let generation = rules.with(&settings, number, parts);
        let (settings, generation, addresses) = (Arc::new(settings), Arc::new(generation), addresses.clone());
        Ok(Built { settings, generation, addresses, refused, issuer })
    }

    /// Builds the TLS configuration of the admin application, if there is one.
    ///
    /// # Errors
    /// As [`tls::config`].
    pub(super) fn admin_tls(&self, settings: &Settings) -> Result<Option<TlsAcceptor>, StartError> {
        let Some(admin) = &settings.admin else { return Ok(None) };
        let (http1, http2, tls12) = (true, false, true);
        let certificates = vec![admin.certificate];
        let (hsts, exposed_token, clients) = (None, ExposedToken::Ignore, None);
        let listener = TlsListener { certificates, http1, http2, tls12, hsts, exposed_token, clients };
        let config = tls::config(&listener, &settings.certificates, Arc::clone(&self.ticketer), None)?;
        Ok(Some(config.into()))
    }
}

/// What a generation decides by, from the settings alone. Everything that can be wrong with it is in here.
struct Rules {
    listeners: Vec<ServedListener>,
    routes: RouteTable,
    challenges: Option<Arc<Challenges>>,
}

/// What a generation uses besides: counts, memory, and the tasks behind handles.
struct Parts {
    refused: Refused,
    issuer: Option<IssuerHandle>,
    forms: Forms,
    spool: Spool,
    upstreams: Vec<UpstreamSpec>,
    rates: Rates,
}

/// A generation that decides as one from these settings would, and serves nothing: it counts nothing, resolves no
/// names, and no task is behind it. Its listeners have the addresses of the settings.
///
/// # Errors
/// [`StartError`], as [`Builder::build`].
pub(super) fn stand_in(settings: &Settings) -> Result<Generation, StartError> {
    let addresses = settings.listeners.iter().map(|listener| (listener.name.clone(), listener.address)).collect();
    let rules = Rules::build(settings, &addresses, &tls::ticketer()?, &Arc::default())?;
    let parts = Parts {
        refused: Refused::new(None),
        issuer: settings.login.as_ref().map(|_| IssuerHandle::nowhere()),
        forms: Forms::new(&settings.login.clone().unwrap_or_default()),
        spool: Spool::new(&settings.spool, Arc::default()),
        rates: Rates::default(),
        upstreams: settings.upstreams.iter().map(unconnected).collect::<Result<_, _>>()?,
    };
    Ok(rules.with(settings, 0, parts))
}

impl Rules {
    fn build(
        settings: &Settings,
        addresses: &HashMap<String, SocketAddr>,
        ticketer: &tls::Ticketer,
        challenges: &Arc<Challenges>,
    ) -> Result<Rules, StartError> {
        let routes = RouteTable::build(settings.routes.clone());
        let answered = |acme: &Acme| acme.uses(AcmeChallenge::TlsAlpn).then(|| Arc::clone(challenges));
        let by_handshake = settings.acme.as_ref().and_then(answered);
        let listeners = Rules::listeners(settings, addresses, ticketer, by_handshake.as_ref())?;
        Ok(Rules { listeners, routes, challenges: settings.acme.as_ref().map(|_| Arc::clone(challenges)) })
    }

    fn with(self, settings: &Settings, number: u64, parts: Parts) -> Generation {
        let Parts { refused, issuer, forms, spool, upstreams, rates } = parts;
        Generation {
            number,
            listeners: self.listeners,
            routes: self.routes,
            rates,
            fields: FieldPolicy::with_portals(
                &settings.identity,
                settings.routes.iter().filter_map(|route| route.portal.as_ref()).flat_map(|portal| &portal.headers),
            ),
            credentials: CredentialRules::new(&settings.tokens.schemes, refused),
            pages: pages(settings, issuer.as_ref()),
            login: settings.login.clone().zip(issuer).map(|(settings, issuer)| LoginEndpoint { settings, issuer }),
            forms,
            spool,
            upstreams,
            limits: Arc::new(settings.limits.clone()),
            timeouts: settings.timeouts,
            challenges: self.challenges,
        }
    }

    fn listeners(
        settings: &Settings,
        addresses: &HashMap<String, SocketAddr>,
        ticketer: &tls::Ticketer,
        challenges: Option<&Arc<Challenges>>,
    ) -> Result<Vec<ServedListener>, StartError> {
        let https = settings.listeners.iter().find(|listener| matches!(listener.role, ListenerRole::Tls(_)));
        let https_port = https.and_then(|listener| addresses.get(&listener.name)).map_or(443, SocketAddr::port);
        let served = |listener: &settings::Listener| {
            let (trust, forward_auth) = (listener.trust.clone(), listener.forward_auth);
            let (policy, tls) = match &listener.role {
                ListenerRole::Internal { .. } => return Ok(None),
                ListenerRole::Tls(settings_of) => {
                    let (ticketer, challenges) = (Arc::clone(ticketer), challenges.cloned());
                    let config = tls::config(settings_of, &settings.certificates, ticketer, challenges)?;
                    let names = Arc::new(tls::names(settings_of, &settings.certificates));
                    let hsts = settings_of.hsts.map(|age| format!("max-age={}", age.as_secs()));
                    let hsts = hsts.and_then(|value| HeaderValue::try_from(value).ok());
                    let plaintext =
                        client::Plaintext { answer: PlaintextAnswer::WrongPort, exposed: settings_of.exposed_token };
                    let unencrypted = Arc::new(ListenerPolicy {
                        hsts: None,
                        plaintext: Some(plaintext),
                        trust: trust.clone(),
                        requires_certificate: false,
                        forward_auth,
                    });
                    let clients = settings_of.clients.clone();
                    let tls = ListenerTls { acceptor: config.into(), names, clients, unencrypted };
                    let requires_certificate =
                        settings_of.clients.as_ref().is_some_and(|clients| clients.authorities.is_required());
                    let policy = ListenerPolicy { hsts, plaintext: None, trust, requires_certificate, forward_auth };
                    (policy, Some(tls))
                }
                ListenerRole::Plain(plain) => (
                    ListenerPolicy {
                        hsts: None,
                        plaintext: plaintext(plain.plaintext, plain.exposed_token, https_port),
                        trust,
                        requires_certificate: false,
                        forward_auth,
                    },
                    None,
                ),
            };
            Ok(Some(ServedListener { name: listener.name.as_str().into(), policy: Arc::new(policy), tls }))
        };
        settings.listeners.iter().filter_map(|listener| served(listener).transpose()).collect()
    }
}

fn plaintext(policy: Plaintext, exposed: ExposedToken, https_port: u16) -> Option<client::Plaintext> {
    match policy {
        Plaintext::Serve => None,
        Plaintext::Refuse => Some(client::Plaintext { answer: PlaintextAnswer::Refuse, exposed }),
        Plaintext::Redirect => Some(client::Plaintext { answer: PlaintextAnswer::Redirect(https_port), exposed }),
    }
}

fn pages(settings: &Settings, issuer: Option<&IssuerHandle>) -> Option<PagesEndpoint> {
    let login = settings.login.clone()?;
    let named = settings.store.url.keeps_named_tokens();
    // A store without named tokens is a Django database, which keeps the passwords too.
    let offers = Offers { recoverable: settings.tokens.recoverable, named, passwords: named };
    Some(PagesEndpoint::new(login.browser.clone()?, login, issuer?.clone(), offers))
}

/// An upstream whose names are not resolved.
fn unconnected(upstream: &settings::Upstream) -> Result<UpstreamSpec, StartError> {
    let tls = upstream.tls.as_ref().map(|tls| ClientTls::new(tls, upstream.protocol)).transpose()?;
    let member = |endpoint: &settings::Endpoint| Member {
        spec: Arc::new(EndpointSpec::of(endpoint, tls.as_ref(), upstream.protocol)),
        tally: Arc::default(),
        weight: endpoint.weight,
    };
    let members = upstream.endpoints.iter().map(member).collect();
    Ok(UpstreamSpec { settings: upstream.clone(), members, ejecting: Arc::default() })
}

/// The upstreams with their endpoints. Endpoints of the previous generation keep their state. New names are resolved in
/// parallel. Names that cannot be resolved are retried later (`app/resolve.rs`).
async fn upstreams(
    settings: &Settings,
    before: Option<&Built>,
    resolver: &Resolver,
) -> Result<Vec<UpstreamSpec>, StartError> {
    let mut asked = JoinSet::new();
    let mut all = Vec::new();
    for upstream in &settings.upstreams {
        let old = before.and_then(|old| old.generation.upstreams.iter().find(|old| old.settings.name == upstream.name));
        let tls = upstream.tls.as_ref().map(|tls| {
            let of_old = old.and_then(UpstreamSpec::tls).filter(|old| old.is_of(tls, upstream.protocol));
            of_old.map_or_else(|| ClientTls::new(tls, upstream.protocol), |old| Ok(old.clone()))
        });
        let tls = tls.transpose()?;
        let mut members = Vec::new();
        for endpoint in &upstream.endpoints {
            let (spec, weight) = (EndpointSpec::of(endpoint, tls.as_ref(), upstream.protocol), endpoint.weight);
            let member = match old.and_then(|old| old.member_at(&spec)) {
                Some(known) if *known.spec == spec => Member { weight, ..known.clone() },
                // Its connections cannot be used again. What is known about the machine can.
                Some(known) => {
                    let spec = EndpointSpec { location: known.spec.location.clone(), ..spec };
                    Member { spec: Arc::new(spec), tally: Arc::clone(&known.tally), weight }
                }
                None => {
                    if let Some(addresses) = spec.addresses().cloned() {
                        let (upstream, resolver) = (upstream.name.clone(), resolver.clone());
                        asked.spawn(async move {
                            let found = addresses.look_up(&resolver).await;
                            found.map_err(|error| (addresses.name().0, upstream, error))
                        });
                    }
                    Member { spec: Arc::new(spec), tally: Arc::default(), weight }
                }
            };
            members.push(member);
        }
        let ejecting = old.map(|old| Arc::clone(&old.ejecting)).unwrap_or_default();
        all.push(UpstreamSpec { settings: upstream.clone(), members, ejecting });
    }
    while let Some(answer) = asked.join_next().await {
        if let Ok(Err((host, upstream, error))) = answer {
            tracing::warn!(upstream, host, %error, "an endpoint's host cannot be resolved; requests for it get 503");
        }
    }
    Ok(all)
}
