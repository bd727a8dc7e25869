//! What a client writes into forwarding headers does not change the address that a trusted proxy adds behind it.
//!
//! The input is the value that the client sent.

use http::{HeaderMap, HeaderName, HeaderValue};
use tokengate::client::forwarded::{Origin, read};
use tokengate::config::settings::{ForwardedFamily, ProxyTrust};
use tokengate::route::Peer;
use tokengate::token::Networks;

pub fn run(bytes: &[u8]) {
    for (family, name, added) in [
        (ForwardedFamily::XForwarded, "x-forwarded-for", "203.0.113.7"),
        (ForwardedFamily::Forwarded, "forwarded", "for=203.0.113.7"),
        (ForwardedFamily::Forwarded, "forwarded", "for=\"203.0.113.7:0\""),
    ] {
        let proxies = Networks::parse("10.0.0.0/8").expect("a network");
        let trust = ProxyTrust { proxies, family, protocol: false };
        let peer = Peer::plain(([10, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 1).into());
        let name = HeaderName::from_static(name);
        let said = |lines: &[&[u8]]| {
            let mut fields = HeaderMap::new();
            for line in lines {
                fields.append(&name, HeaderValue::from_bytes(line).ok()?);
            }
            read(&trust, &peer, &fields).ok().flatten().map(|Origin { peer, .. }| peer.address)
        };
        let joined = [bytes, b", ", added.as_bytes()].concat();
        for client in [said(&[&joined]), said(&[bytes, added.as_bytes()])].into_iter().flatten() {
            assert_eq!(client.ip().to_string(), "203.0.113.7", "{:?}", String::from_utf8_lossy(bytes));
        }
        // On its own, any value is an address or refused.
        let _ = said(&[bytes]);
    }
}
