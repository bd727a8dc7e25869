//! The budget of retries: an upstream that is dying does not get each request twice.

use std::collections::HashMap;
use std::net::SocketAddr;

use h2::Reason;
use tokengate::config::settings::{Balance, ClientShare, Protocol};
use tokio::task::JoinSet;

use crate::support::client::{Tls, connect};
use crate::support::h2_origin::{Act, H2Origin, Seen};
use crate::support::{Ask, Gateway, Origin, Site, Step, Wire};

/// Requests in one test, of which one in four has an effect.
const REQUESTS: usize = 800;
const CLIENTS: usize = 8;
/// The reserve of a worker, and one for each ten requests.
const MOST_RETRIES: usize = 100 + REQUESTS / 10;

async fn before(endpoints: &[SocketAddr], protocol: Protocol) -> Gateway {
    let site = Site::before_all(endpoints).with(|settings| {
        let upstream = &mut settings.upstreams[0];
        (upstream.protocol, upstream.balance) = (protocol, Balance::RoundRobin);
        // An ejection would hide what is tested here.
        (upstream.ejection, upstream.client_share) = (None, ClientShare::Unlimited);
    });
    site.start().await
}

/// Sends all requests, each of which fails. Returns how many have no effect.
async fn all_fail(gateway: &Gateway) -> usize {
    let (at, tls) = (gateway.address(), Tls::default().config(gateway));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let tls = std::sync::Arc::clone(&tls);
        clients.spawn(async move {
            let mut safe = 0;
            for number in 0..REQUESTS / CLIENTS {
                let has_effect = number % 4 == 0;
                let ask = match has_effect {
                    true => Ask::post(&format!("/public/post-{client}-{number}"), "body"),
                    false => Ask::get(&format!("/public/get-{client}-{number}")),
                };
                let mut wire = Wire::over(connect(at, &tls, "localhost").await.unwrap());
                assert_eq!(wire.ask(ask.bytes()).await.status, 502);
                safe += usize::from(!has_effect);
            }
            safe
        });
    }
    clients.join_all().await.into_iter().sum()
}

#[tokio::test]
async fn a_dying_upstream_gets_a_tenth_of_its_requests_again_and_none_with_effects() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let ones = [Origin::doing(vec![Step::Close]).await, Origin::doing(vec![Step::Close]).await];
        // The end of a connection would hide how many requests were sent on it.
        let fails = |_: &Seen| Act::Reset(Reason::INTERNAL_ERROR);
        let twos = [H2Origin::scripted(100, fails).await, H2Origin::scripted(100, fails).await];
        let endpoints = match protocol {
            Protocol::Http1 => ones.each_ref().map(Origin::address),
            Protocol::Http2 => twos.each_ref().map(H2Origin::address),
        };
        let gateway = before(&endpoints, protocol).await;
        let safe = all_fail(&gateway).await;
        let of_one = ones.iter().flat_map(Origin::requests).map(|seen| seen.target);
        let of_two = twos.iter().flat_map(H2Origin::requests).map(|seen| seen.target);
        let mut seen: HashMap<String, usize> = HashMap::new();
        for target in of_one.chain(of_two) {
            *seen.entry(target).or_default() += 1;
        }
        let retried = seen.values().filter(|count| **count > 1).count();
        assert!((100..=MOST_RETRIES).contains(&retried), "{protocol:?}: {retried} of {safe} were sent again");
        for (target, count) in &seen {
            let most = if target.contains("post") { 1 } else { 2 };
            assert!(*count <= most, "{protocol:?} {target}: seen {count} times");
        }
    }
}
