//! `[listeners.NAME]`: the addresses that clients connect to.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::access;
use super::client_certificates::{ClientCertificates, ClientKeys};
use super::document::Document;
use super::names::Names;
use super::reader::{Named, Table};
use super::upstreams::is_foreign;
use super::value::{Fault, Key};
use crate::token::Networks;

/// One address that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name in the file.
    pub name: String,
    /// The local address; port 0 takes any free one.
    pub address: SocketAddr,
    /// The proxies that may say where a connection or request comes from.
    pub trust: ProxyTrust,
    /// Whether its requests are questions of these proxies about requests of theirs. They are never forwarded.
    pub forward_auth: bool,
    /// What the listener does.
    pub role: ListenerRole,
}

/// The proxies in front of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyTrust {
    /// Their addresses; `None`: there are none.
    pub proxies: Option<Networks>,
    /// The headers in which they name the client.
    pub family: ForwardedFamily,
    /// Whether each connection begins with a PROXY header. Connections from other addresses are closed.
    pub protocol: bool,
}

/// The headers in which proxies name the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedFamily {
    /// `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`.
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl ProxyTrust {
    /// No proxy is trusted.
    pub const NONE: ProxyTrust = ProxyTrust { proxies: None, family: ForwardedFamily::XForwarded, protocol: false };
}

/// What a listener does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerRole {
    /// HTTPS.
    Tls(TlsListener),
    /// Unencrypted HTTP.
    Plain(PlainListener),
    /// Health and metrics for operators; never requests for upstreams.
    Internal {
        /// Whether it serves `/health`.
        health: bool,
        /// Whether it serves `/metrics`.
        metrics: bool,
    },
}

/// Settings of an HTTPS listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsListener {
    /// Indices into [`super::Settings::certificates`]; clients without SNI get the first. Never empty.
    pub certificates: Vec<usize>,
    /// Whether it offers HTTP/1.1.
    pub http1: bool,
    /// Whether it offers HTTP/2.
    pub http2: bool,
    /// Whether it accepts TLS 1.2 in addition to 1.3.
    pub tls12: bool,
    /// `Strict-Transport-Security: max-age`; `None`: not sent.
    pub hsts: Option<Duration>,
    /// What happens to a live token that was sent to the TLS port without TLS.
    pub exposed_token: ExposedToken,
    /// The certificates of clients; `None`: clients are not asked for one.
    pub clients: Option<Arc<ClientCertificates>>,
}

/// Settings of an unencrypted listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainListener {
    /// What happens to requests.
    pub plaintext: Plaintext,
    /// What happens to a live token that was sent unencrypted.
    pub exposed_token: ExposedToken,
}

/// What an unencrypted listener does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plaintext {
    /// Responds 403 to every request.
    Refuse,
    /// Redirects GET and HEAD without credentials to the same target on `https` (308); responds 403 to all others.
    Redirect,
    /// Serves requests as an HTTPS listener does; loopback addresses only.
    Serve,
}

/// What happens to a live token that was sent unencrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExposedToken {
    /// No action.
    Ignore,
    /// The store records when the token was exposed.
    Mark,
    /// The token is revoked.
    Revoke,
}

impl Listener {
    /// The certificates of its clients; `None`: they are not asked for one.
    pub fn clients(&self) -> Option<&ClientCertificates> {
        match &self.role {
            ListenerRole::Tls(tls) => tls.clients.as_deref(),
            ListenerRole::Plain(_) | ListenerRole::Internal { .. } => None,
        }
    }

    /// Replaces the certificates of its clients, if there are any.
    pub fn renew_clients(&mut self, clients: Option<ClientCertificates>) {
        if let (ListenerRole::Tls(tls), Some(clients)) = (&mut self.role, clients) {
            tls.clients = Some(Arc::new(clients));
        }
    }

    /// Whether the address is a loopback address.
    pub fn is_loopback(&self) -> bool {
        match self.address.ip() {
            IpAddr::V4(ip) => ip.is_loopback(),
            IpAddr::V6(ip) => ip.is_loopback(),
        }
    }
}

/// `[listeners]`
pub(super) fn read(root: &Table<'_>, certificates: &Names) -> Vec<Listener> {
    let named = root.named("listeners", |name, table| listener(name, table, certificates));
    if named.is_empty() {
        let mend = "add [listeners.public] with `address` and `certificates`".to_owned();
        root.document().problem(None, Some("listeners"), "no listener is configured".to_owned(), Some(mend));
    }
    refuse_equal_addresses(root.document(), &named);
    named.into_iter().filter_map(|listener| listener.value).collect()
}

fn listener(name: &str, table: &Table<'_>, certificates: &Names) -> Option<Listener> {
    let address = table.key("address").required("add `address = \"0.0.0.0:443\"`").parse(|text| {
        let example = "write an IP address with a port, such as \"0.0.0.0:443\" or \"[::]:443\"";
        text.parse::<SocketAddr>().map_err(|_| Fault::new("is not an address with a port", example))
    });
    table.needs_one_of(&["certificates", "plaintext", "services"]);
    let (chain, plaintext, services) = (table.key("certificates"), table.key("plaintext"), table.key("services"));
    let offered = services.choices(&SERVICES, &[]);
    let forward_auth = offered.contains(&Service::ForwardAuth);
    let (is_tls, is_internal) = (chain.is_set(), services.is_set() && !forward_auth);
    let for_tls = |name| table.key(name).only_if(is_tls);
    let (protocols, min_tls) = (for_tls("protocols"), for_tls("min_tls"));
    let hsts = table.key("hsts").only_if(is_tls && !forward_auth).or_word("off");
    let exposed_token = table.key("exposed_token").only_if(!services.is_set());
    let client_keys = ClientKeys::of(table, is_tls && !forward_auth);
    // All keys are read, whatever the listener does, so that all of them are known.
    let clients = client_keys.read(table);
    let tls = TlsListener { clients, ..tls(&chain, &protocols, &min_tls, &hsts, certificates) };
    let plain = plain(&plaintext, address);
    let trust = trust(table, is_internal, forward_auth);
    let fates = [("ignore", ExposedToken::Ignore), ("mark", ExposedToken::Mark), ("revoke", ExposedToken::Revoke)];
    let fate = exposed_token.choice(&fates, ExposedToken::Mark);

    let role = match (chain.is_set(), plaintext.is_set(), services.is_set()) {
        (true, false, is_service) if is_service == forward_auth => {
            ListenerRole::Tls(TlsListener { exposed_token: fate, hsts: tls.hsts.filter(|_| !forward_auth), ..tls })
        }
        (false, true, false) => {
            only_for("certificates", &[&protocols, &min_tls, &hsts]);
            only_for("certificates", &client_keys.all());
            ListenerRole::Plain(PlainListener { plaintext: plain, exposed_token: fate })
        }
        (false, false, true) => {
            only_for("certificates", &[&protocols, &min_tls, &hsts]);
            only_for("certificates", &client_keys.all());
            only_for("certificates` or `plaintext", &[&exposed_token]);
            match forward_auth {
                true => {
                    let exposed_token = ExposedToken::Ignore;
                    ListenerRole::Plain(PlainListener { plaintext: Plaintext::Serve, exposed_token })
                }
                false => ListenerRole::Internal {
                    health: offered.contains(&Service::Health),
                    metrics: offered.contains(&Service::Metrics),
                },
            }
        }
        (false, false, false) => {
            let mend = "add `certificates` for HTTPS, `plaintext` for unencrypted HTTP, or `services` for health, \
                        metrics and questions of proxies";
            table.problem("this listener has no purpose", mend);
            return None;
        }
        _ => {
            let mend = "make one listener for each";
            table.problem("only one of `certificates`, `plaintext` and `services` is allowed", mend);
            return None;
        }
    };
    if forward_auth {
        let [ca, mode, crl, by] = client_keys.all();
        refuse_beside_forward_auth(&services, &offered, &trust, [&hsts, &exposed_token, ca, mode, crl, by], is_tls);
    }
    Some(Listener { name: name.to_owned(), address: address?, trust, forward_auth, role })
}

/// A service of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Health,
    Metrics,
    ForwardAuth,
}

const SERVICES: [(&str, Service); 3] =
    [("health", Service::Health), ("metrics", Service::Metrics), ("forward-auth", Service::ForwardAuth)];

fn refuse_beside_forward_auth(
    services: &Key<'_>,
    offered: &[Service],
    trust: &ProxyTrust,
    others: [&Key<'_>; 6],
    is_tls: bool,
) {
    if offered.len() > 1 {
        services.problem("`forward-auth` needs a listener of its own", "make one listener for each");
    }
    if trust.proxies.is_none() {
        let mend = "add `trusted_proxies` with the addresses of the proxies that ask, such as [\"127.0.0.1\"]";
        services.problem("`forward-auth` answers known proxies only", mend);
    }
    let foreign = trust.proxies.iter().flat_map(Networks::addresses).find(|address| is_foreign(*address));
    if let Some(address) = foreign.filter(|_| !is_tls) {
        let what = format!("tokens come unencrypted from {address}, which is neither a loopback nor a private address");
        services.warning(what, "add `certificates`, so that proxies ask over HTTPS");
    }
    for key in others.iter().filter(|key| is_tls && key.is_set()) {
        key.problem("has no effect on questions of proxies", "remove it");
    }
}

fn trust(table: &Table<'_>, is_internal: bool, forward_auth: bool) -> ProxyTrust {
    let proxies = table.key("trusted_proxies").only_if(!is_internal);
    let serves = !is_internal && !forward_auth;
    let (family, protocol) = (table.key("forwarded_header"), table.key("proxy_protocol").only_if(serves));
    let family = family.only_if(proxies.is_set() && serves);
    let trusted = access::networks(&proxies);
    let families = [("x-forwarded-for", ForwardedFamily::XForwarded), ("forwarded", ForwardedFamily::Forwarded)];
    let trust = ProxyTrust {
        family: family.choice(&families, ForwardedFamily::XForwarded),
        protocol: protocol.bool(false),
        proxies: trusted,
    };
    if is_internal {
        only_for("certificates` or `plaintext", &[&proxies, &family, &protocol]);
    } else if forward_auth {
        for key in [&family, &protocol].into_iter().filter(|key| key.is_set()) {
            key.problem("has no effect on questions of proxies", "remove it");
        }
    } else if trust.proxies.is_none() {
        let mend = "add `trusted_proxies` with the addresses of the proxies, such as [\"10.0.0.0/8\"]";
        let is_used = [(&family, trust.family == ForwardedFamily::Forwarded), (&protocol, trust.protocol)];
        is_used.iter().filter(|(_, is_used)| *is_used).for_each(|(key, _)| key.problem("no proxy is trusted", mend));
    }
    let is_everybody =
        |networks: &Networks| [[0, 0, 0, 0], [255, 255, 255, 255]].iter().all(|ip| networks.contain(IpAddr::from(*ip)));
    if trust.proxies.as_ref().is_some_and(is_everybody) {
        proxies.warning(
            "every client can choose the address that it seems to come from",
            "list the addresses of the proxies only",
        );
    }
    trust
}

fn only_for(role: &str, keys: &[&Key<'_>]) {
    for key in keys.iter().filter(|key| key.is_set()) {
        key.problem(format!("is only allowed together with `{role}`"), "remove it");
    }
}

fn tls(chain: &Key<'_>, protocols: &Key<'_>, min_tls: &Key<'_>, hsts: &Key<'_>, names: &Names) -> TlsListener {
    let certificates = names.find_all(chain);
    let both = [Protocol::H1, Protocol::H2];
    let chosen = protocols.choices(&[("h1", Protocol::H1), ("h2", Protocol::H2)], &both);
    TlsListener {
        certificates,
        http1: chosen.contains(&Protocol::H1),
        http2: chosen.contains(&Protocol::H2),
        tls12: min_tls.choice(&[("1.2", true), ("1.3", false)], true),
        hsts: hsts.optional_duration(Some(Duration::from_secs(365 * 86_400))),
        exposed_token: ExposedToken::Mark,
        clients: None,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    H1,
    H2,
}

fn plain(plaintext: &Key<'_>, address: Option<SocketAddr>) -> Plaintext {
    let ways = [("refuse", Plaintext::Refuse), ("redirect", Plaintext::Redirect), ("serve", Plaintext::Serve)];
    let way = plaintext.optional_choice(&ways).unwrap_or(Plaintext::Refuse);
    if way == Plaintext::Serve && address.is_some_and(|address| !address.ip().is_loopback()) {
        let mend = "use \"refuse\" or \"redirect\", or listen on 127.0.0.1";
        plaintext.problem("`serve` would send tokens over the network unencrypted", mend);
    }
    way
}

fn refuse_equal_addresses(document: &Document<'_>, listeners: &[Named<Listener>]) {
    let mut placed: Vec<_> =
        listeners.iter().filter_map(|named| Some((named, named.value.as_ref()?.address))).collect();
    placed.sort_by_key(|(named, _)| named.line);
    for (index, (named, address)) in placed.iter().enumerate() {
        let earlier = placed.iter().take(index).find(|(_, other)| other == address && address.port() != 0);
        if let Some((other, _)) = earlier {
            let (key, other) = (format!("listeners.{}", named.name), &other.name);
            let what = format!("`{address}` is already used by listeners.{other}");
            document.problem(named.line, Some(&key), what, Some("choose another port".to_owned()));
        }
    }
}
