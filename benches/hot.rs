//! The cost of our own steps of a request on a cache hit, each measured separately: parsing the target, finding the
//! route, establishing the caller, and the headers for the endpoint.
//!
//! `cargo bench --bench hot`. Measures wall time: use it for orders of magnitude and for comparisons on one quiet
//! machine. `bench/compare` measures whole requests.

#![expect(clippy::unwrap_used, reason = "a panic here is a failed measurement")]

use std::hint::black_box;
use std::sync::Arc;
use std::task::{Context, Waker};

use criterion::{BatchSize, BenchmarkId, Criterion};
use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use http::{HeaderValue, Request};

use tokengate::auth::{Credentials, KeyForm};
use tokengate::cache::IdentityCache;
use tokengate::clock::Timestamp;
use tokengate::config::settings::{IdentityFields, MemoryCache, PathPattern, Route, Store, StoreUrl};
use tokengate::gateway::Callers;
use tokengate::gateway::fields::{FieldPolicy, forwarded};
use tokengate::identity::{Identity, Verdict};
use tokengate::route::{Peer, RouteTable, Target};
use tokengate::telemetry::RequestIds;
use tokengate::token::{Account, AuthMethod, Restrictions, ScopeSet, SubjectId, TokenDigest, TokenId, TokenRecord};

const KEY: &str = "9944b09199c62bcf9418ad846dd0e4bbdfc6ee4b";
const URI_BYTES: usize = 8 << 10;
const NOW: Timestamp = Timestamp::from_micros(1_795_499_584_000_000);

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    target(&mut criterion);
    route(&mut criterion);
    authenticate(&mut criterion);
    prepare(&mut criterion);
    callers(&mut criterion);
    criterion.final_summary();
}

fn target(criterion: &mut Criterion) {
    let peer = peer();
    let mut group = criterion.benchmark_group("Target::read");
    for (name, path) in [("short", "/product_api/7/"), ("escaped", "/product_api/caf%C3%A9/7/?page=2&q=a%20b")] {
        let head = head(path);
        group.bench_function(name, |bench| {
            bench.iter(|| black_box(Target::read(black_box(&head), URI_BYTES, &peer).is_ok()));
        });
    }
}

fn route(criterion: &mut Criterion) {
    let peer = peer();
    let mut group = criterion.benchmark_group("RouteTable::find");
    for count in [1, 100, 10_000] {
        let table = RouteTable::build((0..count).map(route_settings).collect());
        let head = head(&format!("/service-{}/products/7/", count / 2));
        let target = Target::read(&head, URI_BYTES, &peer).unwrap();
        group.bench_function(BenchmarkId::from_parameter(count), |bench| {
            bench.iter(|| black_box(table.find(black_box(&target)).unwrap().index));
        });
    }
}

fn authenticate(criterion: &mut Criterion) {
    let schemes: [Box<str>; 1] = ["Token".into()];
    let head = head("/product_api/7/");
    let mut group = criterion.benchmark_group("authenticate on a hit");
    for tokens in [1, 1_000, 100_000] {
        let memory = memory(tokens);
        group.bench_function(BenchmarkId::from_parameter(tokens), |bench| {
            bench.iter(|| {
                let shown = Credentials::read(black_box(&head.headers), &schemes, KeyForm::Bare).unwrap().unwrap();
                let verdict = memory.get(shown.digest(), NOW);
                assert!(matches!(black_box(verdict), Some(Verdict::Caller(_))));
            });
        });
    }
}

fn prepare(criterion: &mut Criterion) {
    let (peer, identity, ids) = (peer(), identity(), RequestIds::new(7, 0));
    let policy = FieldPolicy::compile(&IdentityFields::default());
    let host = HeaderValue::from_static("api.example.com");
    criterion.bench_function("fields of a request", |bench| {
        bench.iter_batched_ref(
            || head("/product_api/7/").headers,
            |fields| {
                policy.sift(fields, &[], false).unwrap();
                forwarded::set(fields, &peer, host.clone(), None, ids.next());
                policy.add(fields, Some(&identity));
            },
            // Few enough to stay in the CPU cache, like a request that has just arrived.
            BatchSize::NumIterations(32),
        );
    });
}

/// The cost of watching for the end of the token in an exchange, with a thousand others.
fn callers(criterion: &mut Criterion) {
    let (callers, identity, head) = (Callers::default(), Arc::new(identity()), head("/product_api/7/"));
    let credentials = head.headers.get(AUTHORIZATION).unwrap();
    let enter = || callers.enter(Arc::clone(&identity), credentials.clone(), None);
    for _ in 0..1_000 {
        enter();
    }
    let cx = Context::from_waker(Waker::noop());
    criterion.bench_function("a place among the callers", |bench| {
        bench.iter(|| {
            let place = enter();
            // Once for the head of the response, twice for its body.
            let ended = [(); 3].map(|()| callers.poll_ended(black_box(place), &cx));
            black_box((ended, callers.leave(place)));
        });
    });
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
