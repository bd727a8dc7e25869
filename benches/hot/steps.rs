//! The steps. `benches/hot.rs` says what is done with them.

use std::hint::black_box;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::BytesMut;
use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Version};

use tokengate::auth::{Credentials, KeyForm};
use tokengate::cache::IdentityCache;
use tokengate::clock::Timestamp;
use tokengate::config::settings::{IdentityFields, MemoryCache, PathPattern, Route, Store, StoreUrl};
use tokengate::gateway::Callers;
use tokengate::gateway::fields::{FieldPolicy, forwarded};
use tokengate::http1::{Answer, Asked, Event, Framing, Limits, write_head};
use tokengate::identity::{Identity, Verdict};
use tokengate::listener::hpack::{Decoder, write_literal};
use tokengate::route::{Peer, RouteTable, Target};
use tokengate::telemetry::{
    AccessLogFormat, AccessRules, Entry, LogFormat, LogSink, LogTemplate, LogWriter, Outcome, Recorder, Redact,
    RequestIds,
};
use tokengate::token::{Account, AuthMethod, Restrictions, ScopeSet, SubjectId, TokenDigest, TokenId, TokenRecord};

use super::Meter;
use super::refused::Site;

const KEY: &str = "9944b09199c62bcf9418ad846dd0e4bbdfc6ee4b";
const URI_BYTES: usize = 8 << 10;
const NOW: Timestamp = Timestamp::from_micros(1_795_499_584_000_000);

/// All steps, in the order of a request.
pub fn all(meter: &mut impl Meter) {
    header_block(meter);
    target(meter);
    route(meter);
    token(meter);
    headers(meter);
    callers(meter);
    upstream(meter);
    log(meter);
    refused(meter);
}

/// The header block of a request over HTTP/2: the first of a connection, and one with fields in the table.
fn header_block(meter: &mut impl Meter) {
    let mut block = Vec::new();
    let head = head("/product_api/7/");
    let pseudo =
        [(":method", "GET"), (":scheme", "https"), (":authority", "api.example.com"), (":path", "/product_api/7/")];
    for (name, value) in pseudo {
        write_literal(&mut block, name.as_bytes(), value.as_bytes());
    }
    for (name, value) in head.headers.iter().filter(|(name, _)| *name != HOST && *name != "connection") {
        write_literal(&mut block, name.as_str().as_bytes(), value.as_bytes());
    }
    meter.step(
        "HTTP/2 header block",
        || block,
        |_| Decoder::default(),
        |block, decoder| {
            let mut length = 0;
            decoder.read(block, |name, value| length += name.len() + value.len()).unwrap();
            length
        },
    );
}

fn target(meter: &mut impl Meter) {
    for (name, path) in [("short", "/product_api/7/"), ("escaped", "/product_api/caf%C3%A9/7/?page=2&q=a%20b")] {
        meter.step(
            &format!("target, {name}"),
            || (head(path), peer()),
            |_| (),
            |(head, peer), ()| Target::read(black_box(head), URI_BYTES, peer).is_ok(),
        );
    }
}

fn route(meter: &mut impl Meter) {
    for count in [1, 100, 10_000] {
        meter.step(
            &format!("route, of {count}"),
            || {
                let table = RouteTable::build((0..count).map(route_settings).collect());
                // A target borrows from its head, and a step cannot have both.
                let head = Box::leak(Box::new(head(&format!("/service-{}/products/7/", count / 2))));
                (table, Target::read(head, URI_BYTES, &peer()).unwrap())
            },
            |_| (),
            |(table, target), ()| table.find(black_box(target)).unwrap().index,
        );
    }
}

fn token(meter: &mut impl Meter) {
    let schemes: [Box<str>; 1] = ["Token".into()];
    for tokens in [1, 1_000, 100_000] {
        meter.step(
            &format!("token check, hit among {tokens}"),
            || (memory(tokens), head("/product_api/7/")),
            |_| (),
            |(memory, head), ()| {
                let shown = Credentials::read(black_box(&head.headers), &schemes, KeyForm::Bare).unwrap().unwrap();
                let verdict = memory.get(shown.digest(), NOW);
                assert!(matches!(verdict, Some(Verdict::Caller(_))));
                verdict
            },
        );
    }
}

fn headers(meter: &mut impl Meter) {
    let policy = FieldPolicy::compile(&IdentityFields::default());
    let host = HeaderValue::from_static("api.example.com");
    let ids = RequestIds::new(7, 0);
    let input = |head: &HeaderMap| head.clone();
    let sift = |fields: &mut HeaderMap| policy.sift(fields, &[], false).unwrap();
    meter.step("headers, removed", || head("/product_api/7/").headers, input, |_, fields| sift(fields));
    meter.step(
        "headers, identity added",
        || (head("/product_api/7/").headers, identity()),
        |(head, _)| head.clone(),
        |(_, identity), fields| policy.add(fields, Some(identity)),
    );
    meter.step(
        "headers, all",
        || (head("/product_api/7/").headers, identity(), peer()),
        |(head, ..)| head.clone(),
        |(_, identity, peer), fields| {
            sift(fields);
            forwarded::set(fields, peer, host.clone(), None, ids.next());
            policy.add(fields, Some(identity));
        },
    );
}

/// The cost of watching for the end of the token in an exchange, with a thousand others.
fn callers(meter: &mut impl Meter) {
    meter.step(
        "a place among the running exchanges",
        || {
            let (callers, identity, head) = (Callers::default(), Arc::new(identity()), head("/product_api/7/"));
            let credentials = head.headers.get(AUTHORIZATION).unwrap().clone();
            for _ in 0..1_000 {
                callers.enter(Arc::clone(&identity), credentials.clone(), None);
            }
            (callers, identity, credentials)
        },
        |_| (),
        |(callers, identity, credentials), ()| {
            let cx = Context::from_waker(Waker::noop());
            let place = callers.enter(Arc::clone(identity), credentials.clone(), None);
            // Once for the head of the response, twice for its body.
            let ended = [(); 3].map(|()| callers.poll_ended(black_box(place), &cx));
            black_box((ended, callers.leave(place)));
        },
    );
}

/// What is written to an endpoint and read from it.
fn upstream(meter: &mut impl Meter) {
    meter.step(
        "request head, written",
        || {
            let mut head = head("/product_api/7/");
            FieldPolicy::compile(&IdentityFields::default()).add(&mut head.headers, Some(&identity()));
            head
        },
        |_| Vec::with_capacity(1 << 10),
        |head, out| write_head(out, &head.method, &head.uri, &head.headers, Framing::None),
    );
    let body = "x".repeat(500);
    let start = "HTTP/1.1 200 OK\r\nServer: gunicorn\r\nDate: Tue, 24 Nov 2026 10:00:00 GMT\r\nConnection: keep-alive\r\n\
        Content-Type: application/json\r\nAllow: GET, HEAD, OPTIONS\r\nX-Frame-Options: DENY\r\nVary: Accept, Cookie\r\n";
    for (name, text) in [
        ("with a length", format!("{start}Content-Length: 500\r\n\r\n{body}")),
        ("in chunks", format!("{start}Transfer-Encoding: chunked\r\n\r\n1f4\r\n{body}\r\n0\r\n\r\n")),
    ] {
        meter.step(
            &format!("response, read, {name}"),
            || text,
            |text| BytesMut::from(text.as_str()),
            |_, buffer| {
                let limits = Limits { head_bytes: 64 << 10, head_count: 100 };
                let mut answer = Answer::new(Asked::default(), limits);
                while !matches!(black_box(answer.next(buffer).unwrap().unwrap()), Event::End) {}
            },
        );
    }
}

fn log(meter: &mut impl Meter) {
    let entry = Entry {
        time: NOW,
        request_id: "0000000000007000000001",
        peer: SocketAddr::from(([192, 0, 2, 7], 40_000)),
        version: Some(Version::HTTP_11),
        method: "GET",
        path: "/product_api/7/",
        has_query: false,
        status: Some(200),
        outcome: Outcome::Forwarded,
        cause: None,
        route: Some("products"),
        user_id: Some(1001),
        user_name: Some("alice"),
        token_id: Some(7),
        bytes_out: 500,
        total: Duration::from_micros(1_234),
        upstream: Some(Duration::from_micros(1_001)),
    };
    let template =
        LogTemplate::parse("{ip} {user} [{time}] \"{method} {path} HTTP/{http}\" {status} {bytes} {ms}").unwrap();
    for (name, format) in [
        ("text", LogFormat::Text),
        ("JSON", LogFormat::Json),
        ("names of ECS", LogFormat::Ecs),
        ("template", LogFormat::Template(template)),
    ] {
        meter.step(
            &format!("log line, {name}"),
            || {
                let formats = AccessLogFormat::default();
                formats.set(Some(AccessRules { format: format.clone(), sample: 1, redact: Redact::default() }));
                let writer = LogWriter::start(io::sink(), LogSink::default(), formats).unwrap();
                let log = writer.worker(&Recorder::new());
                (log, writer)
            },
            |_| (),
            |(log, _), ()| log.write(black_box(&entry)),
        );
    }
    meter.step("request id", || RequestIds::new(7, 0), |_| (), |ids, ()| ids.next());
}

/// Whole requests that the gateway answers itself.
fn refused(meter: &mut impl Meter) {
    for (name, path, status) in [("401", "/product_api/7/", 401), ("400", "/product_api/../7/", 400)] {
        meter.step(
            &format!("a request refused with {name}"),
            || Site::new(peer(), NOW),
            |_| {
                let mut head = head(path);
                head.headers.remove(AUTHORIZATION);
                Some(head)
            },
            |site, head| assert_eq!(site.serve(head.take().unwrap()), status),
        );
    }
}

/// A request as API clients send them.
fn head(path: &str) -> Parts {
    let request = Request::get(path)
        .header(HOST, "api.example.com")
        .header("user-agent", "HTTPie/3.2.4")
        .header("accept", "application/json")
        .header("accept-encoding", "gzip, deflate")
        .header("connection", "keep-alive")
        .header("authorization", format!("Token {KEY}"));
    request.body(()).unwrap().into_parts().0
}

fn peer() -> Peer {
    Peer::plain("192.0.2.7:40000".parse().unwrap(), "192.0.2.1:443".parse().unwrap())
}

fn route_settings(number: usize) -> Route {
    Route::to(&format!("service-{number}"), PathPattern::Prefix(format!("/service-{number}/")))
}

/// A cache with [`KEY`] and other tokens, `tokens` in all.
fn memory(tokens: usize) -> Arc<IdentityCache> {
    // Room for all of them in every shard.
    let settings = MemoryCache { max_entries: tokens * 2 + 64, ..MemoryCache::default() };
    let store = Store::at(StoreUrl::Sqlite("unused".into()), "unused".into());
    let memory = IdentityCache::new(&settings, &store, NOW);
    let verdict = Verdict::Caller(Arc::new(identity()));
    for other in 1..tokens {
        memory.begin_fill(TokenDigest::of(&other.to_be_bytes())).keep(&verdict, NOW);
    }
    memory.begin_fill(TokenDigest::of(KEY.as_bytes())).keep(&verdict, NOW);
    memory
}

fn identity() -> Identity {
    let owner = Account {
        id: SubjectId(1001),
        name: "alice".to_owned(),
        email: "alice@example.com".to_owned(),
        groups: vec!["staff".to_owned()],
        active: true,
    };
    let record = TokenRecord {
        id: TokenId(7),
        method: AuthMethod::Token,
        digest: TokenDigest::of(KEY.as_bytes()),
        owner,
        scopes: ScopeSet::parse("read write").unwrap(),
        created: NOW,
        expires: None,
        revoked: None,
        restrictions: Restrictions::default(),
    };
    Identity::establish(&record, NOW).unwrap()
}
