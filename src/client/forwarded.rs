//! Where a request came from, if a trusted proxy forwards it: `X-Forwarded-For`, `-Proto` and `-Host`, or `Forwarded`
//! (RFC 7239).
//!
//! A client can send any of these headers, and each proxy adds to what it got. So the addresses are read from the
//! right: the last one that is not a trusted proxy's is the client. What stands to the left of it is ignored. Only one
//! of the two families is read; the other one may be the client's own. A header that a trusted proxy should have
//! written and that cannot be read is refused.

use std::net::{IpAddr, SocketAddr};

use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::forward_auth::BadQuestion;
use crate::config::settings::{ForwardedFamily, ProxyTrust};
use crate::route::Peer;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

/// What the proxies say about a request.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The client, in place of the other end of the connection.
    pub peer: Peer,
    /// The host that the client asked for; `None`: as in the request.
    pub host: Option<HeaderValue>,
}

/// A header of a trusted proxy that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadForwarded {
    /// An address is not an IP address.
    #[error("a proxy forwards a client address that cannot be read")]
    Address,
    /// The scheme is not http or https, or it is not clear which entry is the client's.
    #[error("a proxy forwards a scheme that cannot be read")]
    Scheme,
    /// The host is not a host, or it is not clear which entry is the client's.
    #[error("a proxy forwards a host that cannot be read")]
    Host,
    /// `Forwarded` breaks the grammar of RFC 7239.
    #[error("the Forwarded header is malformed")]
    Syntax,
    /// It asks about a request, and does not say clearly which one.
    #[error(transparent)]
    Question(#[from] BadQuestion),
}

/// One proxy's entry: what it got from whom.
#[derive(Default)]
struct Hop {
    address: Option<String>,
    scheme: Option<String>,
    host: Option<String>,
}

/// Reads where a request on a connection of `peer` came from. `None`: the connection is the client's own, or no proxy
/// says anything.
///
/// # Errors
/// [`BadForwarded`]; the request must be refused.
pub fn read(trust: &ProxyTrust, peer: &Peer, fields: &HeaderMap) -> Result<Option<Origin>, BadForwarded> {
    let Some(proxies) = trust.proxies.as_ref().filter(|proxies| proxies.contain(peer.address.ip())) else {
        return Ok(None);
    };
    let hops = match trust.family {
        ForwardedFamily::XForwarded => x_forwarded(fields)?,
        ForwardedFamily::Forwarded => forwarded(fields)?,
    };
    if hops.is_empty() {
        return Ok(None);
    }
    let mut address = peer.address;
    let (mut scheme, mut host) = (None, None);
    for hop in hops.iter().rev() {
        let Some(text) = &hop.address else {
            // An entry without an address: only the scheme and the host are known.
            (scheme, host) = (hop.scheme.as_deref(), hop.host.as_deref());
            break;
        };
        address = self::address(text).ok_or(BadForwarded::Address)?;
        (scheme, host) = (hop.scheme.as_deref(), hop.host.as_deref());
        if !proxies.contain(address.ip()) {
            break;
        }
    }
    let secure = match scheme {
        None => peer.secure,
        Some(scheme) if scheme.eq_ignore_ascii_case("https") => true,
        Some(scheme) if scheme.eq_ignore_ascii_case("http") => false,
        Some(_) => return Err(BadForwarded::Scheme),
    };
    let host = host.map(|host| {
        let is_host = host.parse::<Authority>().is_ok_and(|authority| !authority.as_str().contains('@'));
        HeaderValue::try_from(host).ok().filter(|_| is_host).ok_or(BadForwarded::Host)
    });
    // The name in the TLS handshake is what the proxy asked for, not the client.
    Ok(Some(Origin { peer: Peer { secure, ..Peer::plain(address, peer.local) }, host: host.transpose()? }))
}

/// An IP address, with or without a port.
fn address(text: &str) -> Option<SocketAddr> {
    let of = |address: IpAddr, port| Some(SocketAddr::new(address.to_canonical(), port));
    if let Ok(address) = text.parse::<IpAddr>() {
        return of(address, 0);
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return of(IpAddr::V6(inner.parse().ok()?), 0);
    }
    let address: SocketAddr = text.parse().ok()?;
    let has_zone = matches!(address, SocketAddr::V6(address) if address.scope_id() != 0);
    if has_zone { None } else { of(address.ip(), address.port()) }
}

/// Maximum number of proxies in one chain. Each of them can have a copy of the other values.
const MAX_HOPS: usize = 64;

/// The members of a list header, over all its lines; `None`: it is not text, or has more members than a chain has hops.
fn members(fields: &HeaderMap, name: &HeaderName) -> Option<Vec<String>> {
    let mut members = Vec::new();
    for line in fields.get_all(name) {
        let line = line.to_str().ok()?;
        let room = MAX_HOPS + 1 - members.len();
        members.extend(line.split(',').take(room).map(|member| member.trim_matches([' ', '\t']).to_owned()));
        if members.len() > MAX_HOPS {
            return None;
        }
    }
    Some(members)
}

fn x_forwarded(fields: &HeaderMap) -> Result<Vec<Hop>, BadForwarded> {
    let addresses = members(fields, &X_FORWARDED_FOR).ok_or(BadForwarded::Address)?;
    let mut hops: Vec<Hop> =
        addresses.into_iter().map(|address| Hop { address: Some(address), ..Hop::default() }).collect();
    let schemes = members(fields, &X_FORWARDED_PROTO).ok_or(BadForwarded::Scheme)?;
    let hosts = members(fields, &X_FORWARDED_HOST).ok_or(BadForwarded::Host)?;
    if hops.is_empty() && !(schemes.is_empty() && hosts.is_empty()) {
        hops.push(Hop::default());
    }
    set_each(&mut hops, schemes, |hop| &mut hop.scheme).ok_or(BadForwarded::Scheme)?;
    set_each(&mut hops, hosts, |hop| &mut hop.host).ok_or(BadForwarded::Host)?;
    Ok(hops)
}

/// Sets a value of each hop: one value is for all hops; otherwise there must be one for each.
fn set_each(hops: &mut [Hop], values: Vec<String>, of: impl Fn(&mut Hop) -> &mut Option<String>) -> Option<()> {
    match &values[..] {
        [] => {}
        [one] => hops.iter_mut().for_each(|hop| *of(hop) = Some(one.clone())),
        all if all.len() == hops.len() => {
            hops.iter_mut().zip(values).for_each(|(hop, value)| *of(hop) = Some(value));
        }
        _ => return None,
    }
    Some(())
}

/// The elements of `Forwarded`, in the order of the proxies.
fn forwarded(fields: &HeaderMap) -> Result<Vec<Hop>, BadForwarded> {
    let mut hops = Vec::new();
    for line in fields.get_all(FORWARDED) {
        let mut rest = line.to_str().map_err(|_| BadForwarded::Syntax)?.trim_matches([' ', '\t']);
        loop {
            let mut hop = Hop::default();
            let end = element(rest, &mut hop).ok_or(BadForwarded::Syntax)?;
            hops.push(hop);
            if hops.len() > MAX_HOPS {
                return Err(BadForwarded::Syntax);
            }
            match end {
                Some(behind) => rest = behind,
                None => break,
            }
        }
    }
    Ok(hops)
}

/// Reads one element. Returns what follows its comma; `None`: it is the last one.
fn element<'t>(text: &'t str, hop: &mut Hop) -> Option<Option<&'t str>> {
    let blank = [' ', '\t'];
    let mut rest = text;
    loop {
        let (name, behind) = token(rest)?;
        let (value, behind) = value(behind.strip_prefix('=')?)?;
        let place = match name.to_ascii_lowercase().as_str() {
            "for" => Some(&mut hop.address),
            "proto" => Some(&mut hop.scheme),
            "host" => Some(&mut hop.host),
            _ => None,
        };
        if let Some(place) = place {
            if place.is_some() {
                return None;
            }
            *place = Some(value);
        }
        let behind = behind.trim_start_matches(blank);
        match behind.chars().next() {
            None => return Some(None),
            Some(',') => return Some(Some(behind.get(1..)?.trim_start_matches(blank))),
            Some(';') => rest = behind.get(1..)?.trim_start_matches(blank),
            Some(_) => return None,
        }
    }
}

fn token(text: &str) -> Option<(&str, &str)> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let end = text.bytes().position(|byte| !is_token(byte)).unwrap_or(text.len());
    text.split_at_checked(end).filter(|(token, _)| !token.is_empty())
}

/// A token or a quoted string.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return token(text).map(|(token, rest)| (token.to_owned(), rest));
    };
    let (mut value, mut is_escaped) = (String::new(), false);
    for (at, letter) in quoted.char_indices() {
        match letter {
            '"' if !is_escaped => return Some((value, quoted.get(at + 1..)?)),
            '\\' if !is_escaped => is_escaped = true,
            _ => {
                value.push(letter);
                is_escaped = false;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Networks;

    fn said(family: ForwardedFamily, from: &str, lines: &[(&str, &str)]) -> Result<String, BadForwarded> {
        let proxies = Networks::parse("10.0.0.0/8, 2001:db8::/32").unwrap();
        let trust = ProxyTrust { proxies, family, protocol: false };
        let peer = Peer::plain(SocketAddr::new(from.parse().unwrap(), 1), "127.0.0.1:80".parse().unwrap());
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            fields.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        read(&trust, &peer, &fields).map(|origin| match origin {
            None => "-".to_owned(),
            Some(Origin { peer, host }) => {
                let scheme = if peer.secure { "https" } else { "http" };
                let host = host.map_or(String::new(), |host| format!(" {}", host.to_str().unwrap()));
                format!("{} {scheme}{host}", peer.address)
            }
        })
    }

    #[test]
    fn a_chain_has_a_bounded_number_of_proxies() {
        let chain = |count: usize| format!("{}203.0.113.7", "10.0.0.1, ".repeat(count));
        let family = ForwardedFamily::XForwarded;
        assert!(said(family, "10.0.0.2", &[("x-forwarded-for", &chain(63))]).is_ok());
        let long = said(family, "10.0.0.2", &[("x-forwarded-for", &chain(64))]);
        assert_eq!(long, Err(BadForwarded::Address));
        let element = "for=10.0.0.1, ".repeat(64) + "for=203.0.113.7";
        let long = said(ForwardedFamily::Forwarded, "10.0.0.2", &[("forwarded", &element)]);
        assert_eq!(long, Err(BadForwarded::Syntax));
    }

    #[test]
    fn the_last_address_that_is_not_a_trusted_proxys_is_the_client() {
        use BadForwarded::Address;
        for (value, client) in [
            ("203.0.113.7", Ok("203.0.113.7:0 http")),
            ("203.0.113.7:4711", Ok("203.0.113.7:4711 http")),
            ("1.1.1.1, 203.0.113.7", Ok("203.0.113.7:0 http")),
            ("1.1.1.1, 203.0.113.7, 10.9.9.9", Ok("203.0.113.7:0 http")),
            ("10.1.1.1, 203.0.113.7, 10.9.9.9", Ok("203.0.113.7:0 http")),
            ("10.1.1.1, 10.9.9.9", Ok("10.1.1.1:0 http")),
            ("evil\"<>, 203.0.113.7", Ok("203.0.113.7:0 http")),
            (", 203.0.113.7", Ok("203.0.113.7:0 http")),
            ("::ffff:203.0.113.7", Ok("203.0.113.7:0 http")),
            ("203.0.113.7, ::ffff:10.0.0.1", Ok("203.0.113.7:0 http")),
            ("2a00::1, 2001:db8::1", Ok("[2a00::1]:0 http")),
            ("[2a00::1]", Ok("[2a00::1]:0 http")),
            ("[2a00::1]:80", Ok("[2a00::1]:80 http")),
            ("", Err(Address)),
            ("unknown", Err(Address)),
            ("203.0.113.7,", Err(Address)),
            ("203.0.113.7, unknown", Err(Address)),
            ("203.0.113.7, unknown, 10.9.9.9", Err(Address)),
            ("localhost", Err(Address)),
            ("203.0.113.7/32", Err(Address)),
            ("203.0.113.07", Err(Address)),
            ("203.0.113.7 10.9.9.9", Err(Address)),
            ("fe80::1%eth0", Err(Address)),
            ("[fe80::1%2]:80", Err(Address)),
        ] {
            let read = said(ForwardedFamily::XForwarded, "10.0.0.1", &[("x-forwarded-for", value)]);
            assert_eq!(read.as_deref(), client.as_deref(), "{value}");
        }
    }

    #[test]
    fn only_trusted_proxies_are_believed_and_one_family_of_headers_is_read() {
        use ForwardedFamily::{Forwarded, XForwarded};
        let both = [("x-forwarded-for", "203.0.113.7"), ("forwarded", "for=198.51.100.1")];
        for (family, from, client) in [
            (XForwarded, "10.0.0.1", "203.0.113.7:0 http"),
            (Forwarded, "10.0.0.1", "198.51.100.1:0 http"),
            (XForwarded, "192.0.2.1", "-"),
            (Forwarded, "192.0.2.1", "-"),
        ] {
            assert_eq!(said(family, from, &both).as_deref(), Ok(client), "{family:?} {from}");
        }
        assert_eq!(said(Forwarded, "10.0.0.1", &both[..1]).as_deref(), Ok("-"));
        assert_eq!(said(XForwarded, "10.0.0.1", &both[1..]).as_deref(), Ok("-"));
        let two = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "203.0.113.7")];
        assert_eq!(said(XForwarded, "10.0.0.1", &two).as_deref(), Ok("203.0.113.7:0 http"), "lines are one list");
    }

    #[test]
    fn scheme_and_host_are_those_of_the_clients_entry() {
        use BadForwarded::{Host, Scheme};
        for (addresses, scheme, host, read) in [
            ("203.0.113.7", "https", "shop.test", Ok("203.0.113.7:0 https shop.test")),
            ("203.0.113.7", "HTTPS", "shop.test:8443", Ok("203.0.113.7:0 https shop.test:8443")),
            ("203.0.113.7, 10.9.9.9", "https, http", "shop.test", Ok("203.0.113.7:0 https shop.test")),
            ("1.1.1.1, 203.0.113.7", "https, http", "shop.test", Ok("203.0.113.7:0 http shop.test")),
            ("203.0.113.7, 10.9.9.9", "https, http, http", "shop.test", Err(Scheme)),
            ("203.0.113.7", "https, http", "shop.test", Err(Scheme)),
            ("203.0.113.7", "ws", "shop.test", Err(Scheme)),
            ("203.0.113.7", "", "shop.test", Err(Scheme)),
            ("203.0.113.7", "https", "user@shop.test", Err(Host)),
            ("203.0.113.7", "https", "shop.test/x", Err(Host)),
            ("203.0.113.7", "https", "shop.test, evil.test", Err(Host)),
            ("203.0.113.7", "https", "", Err(Host)),
        ] {
            let lines = [("x-forwarded-for", addresses), ("x-forwarded-proto", scheme), ("x-forwarded-host", host)];
            let said = said(ForwardedFamily::XForwarded, "10.0.0.1", &lines);
            assert_eq!(said.as_deref(), read.as_deref(), "{addresses} {scheme} {host}");
        }
        let alone = said(ForwardedFamily::XForwarded, "10.0.0.1", &[("x-forwarded-proto", "https")]);
        assert_eq!(alone.as_deref(), Ok("10.0.0.1:1 https"));
    }

    #[test]
    fn forwarded_is_read_by_its_grammar() {
        use BadForwarded::{Address, Syntax};
        for (value, read) in [
            ("for=203.0.113.7", Ok("203.0.113.7:0 http")),
            ("For=\"203.0.113.7:80\";PROTO=https;host=shop.test", Ok("203.0.113.7:80 https shop.test")),
            ("for=\"[2a00::1]:80\";by=10.0.0.1", Ok("[2a00::1]:80 http")),
            ("for=1.1.1.1;proto=http, for=203.0.113.7;proto=https, for=10.9.9.9", Ok("203.0.113.7:0 https")),
            ("for=203.0.113.7 ; proto=https", Ok("203.0.113.7:0 https")),
            ("proto=https", Ok("10.0.0.1:1 https")),
            ("for=203.0.113.7;ext=\"a,b;for=1.1.1.1\"", Ok("203.0.113.7:0 http")),
            ("for=unknown", Err(Address)),
            ("for=_hidden, for=10.9.9.9", Err(Address)),
            ("for=[2a00::1]", Err(Syntax)),
            ("for=203.0.113.7;for=1.1.1.1", Err(Syntax)),
            ("for=203.0.113.7,", Err(Syntax)),
            ("for =203.0.113.7", Err(Syntax)),
            ("for", Err(Syntax)),
            ("", Err(Syntax)),
            // A client's quotation mark cannot swallow what a proxy adds.
            ("for=\", for=203.0.113.7", Err(Syntax)),
            ("for=\", for=\"203.0.113.7:80\"", Err(Syntax)),
            ("for=\"a\\, for=\"203.0.113.7:80\"", Err(Syntax)),
            ("for=\"1.1.1.1\"x, for=203.0.113.7", Err(Syntax)),
        ] {
            let said = said(ForwardedFamily::Forwarded, "10.0.0.1", &[("forwarded", value)]);
            assert_eq!(said.as_deref(), read.as_deref(), "{value}");
        }
    }
}
