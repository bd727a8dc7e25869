//! Explanations agree with the gateway: requests are drawn at random, explained, and then really sent through a gateway
//! with the same settings, which are drawn too.
//!
//! `EXPLAINED=10000 SEED=1 cargo test --test all explain::agree` tries more and other requests.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use rustls::ClientConfig;
use tokengate::app::explain::{Caller, Explained, Explainer};
use tokengate::cache::StoreUnavailable;
use tokengate::config::Settings;
use tokengate::config::settings::{ExposedToken, ListenerRole, Plaintext, SampleRequest};
use tokengate::gateway::explanation::End;
use tokengate::store::{NewUser, Password};
use tokengate::token::TokenKey;
use tokio::net::TcpStream;

use super::draw::{Keys, configuration, placed, request};
use crate::support::client::{Tls, connect};
use crate::support::dice::{Dice, number};
use crate::support::gateway::{listener, plain};
use crate::support::http2::H2;
use crate::support::{Ask, Gateway, Origin, PATIENCE, Site, Wire, eventually};

/// Requests by default, and for each configuration.
const REQUESTS: usize = 2_000;
const EACH: usize = 25;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What the access log must say of a request: its route and its outcome. `None`: it depends on the body.
type Logged = (Option<Arc<str>>, Option<&'static str>);

async fn gateway(origin: &Origin) -> Gateway {
    let mut site = Site::before(origin);
    let second = site.add_certificate("second", &["two.test"]);
    site = site.with(|settings| {
        settings.listeners.push(listener("closed", plain(Plaintext::Refuse, ExposedToken::Mark)));
        for listener in &mut settings.listeners {
            if let ListenerRole::Tls(tls) = &mut listener.role {
                tls.certificates.push(second);
            }
        }
    });
    site.start().await
}

/// Valid and invalid keys, and texts that are no keys.
async fn keys(gateway: &Gateway) -> Keys {
    let clock = gateway.clock();
    let mut tokens = vec![gateway.issue("alice").await, gateway.issue("zażółć gęślą").await];
    tokens.push(gateway.issue_named("alice", "read", None, &clock).await);
    tokens.push(gateway.issue_named("bob", "read write", None, &clock).await);
    tokens.push(gateway.issue_named("bob", "read write", Some(Duration::from_secs(1)), &clock).await);
    let revoked = gateway.issue_named("bob", "read write", None, &clock).await;
    gateway.revoke(&revoked).await;
    let inactive = gateway.issue("carol").await;
    let carol = gateway.user("carol").await;
    gateway.store.accounts.deactivate(carol).await.unwrap();
    tokens.extend([revoked, inactive, "0".repeat(40), "ä".to_owned(), "a,b=c".to_owned()]);
    let password = || Password::parse("correct horse 9").unwrap();
    let dora = NewUser { password: Some(password()), groups: vec!["sales".to_owned()], ..NewUser::named("dora") };
    gateway.store.accounts.create(dora).await.unwrap();
    let store = gateway.store.sessions.clone().unwrap();
    let open = async |ttl| store.open("dora", password(), ttl).await.unwrap().unwrap().expose().to_owned();
    let sessions = vec![
        open(Duration::from_secs(86_400)).await,
        open(Duration::from_secs(86_400)).await,
        open(Duration::from_secs(1)).await,
        "f".repeat(40),
        "a b".to_owned(),
    ];
    gateway.hand.advance(Duration::from_secs(5));
    Keys { tokens, sessions }
}

/// The bytes of a request, with a body if its head announces one.
fn bytes(request: &SampleRequest) -> Vec<u8> {
    let named = |line: &&String, name: &str| line.to_ascii_lowercase().starts_with(&format!("{name}:"));
    let mut out = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
    if !request.headers.iter().any(|line| named(&line, "host")) {
        out += &format!("Host: {}\r\n", request.authority);
    }
    out += &(request.headers.join("\r\n") + "\r\n");
    out = out.replace("\r\n\r\n", "\r\n") + "\r\n";
    let has = |text: &str| request.headers.iter().any(|line| line.eq_ignore_ascii_case(text));
    if has("transfer-encoding: chunked") {
        // Shorter than every limit: a chunked body that is too long is noticed when it comes.
        out += "2\r\nhi\r\n0\r\n\r\n";
    } else if has("content-length: 5") {
        out += "hello";
    }
    out.into_bytes()
}

/// Sends a request on a connection of its own. Returns the status and the headers of the response; `None`: there is none.
async fn send(gateway: &Gateway, tls: &Arc<ClientConfig>, request: &SampleRequest) -> Option<(u16, HeaderMap)> {
    let to = match request.port {
        port if port == gateway.address().port() => gateway.address(),
        port if port == gateway.plain_address().port() => gateway.plain_address(),
        _ => gateway.listener("closed").unwrap(),
    };
    let mut wire = if request.secure {
        let name = request.authority.split(':').next().unwrap();
        Wire::over(connect(to, tls, name).await.unwrap())
    } else {
        Wire::over(TcpStream::connect(to).await.unwrap())
    };
    // A gateway that refuses a request may close before it has read it.
    let _ = wire.try_send(bytes(request)).await;
    let (status, head) = loop {
        let (status, head) = wire.next_head().await?;
        if status / 100 != 1 || status == 101 {
            break (status, head);
        }
    };
    let end = head.answer_end(status, request.method == "HEAD");
    let _ = wire.0.body(end, |_| ()).await;
    let pairs = head.fields.0.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    Some((status, pairs.collect()))
}

/// The headers that an upstream receives, sorted, without those that depend on the moment.
fn lines<'a>(fields: impl Iterator<Item = (&'a str, String)>, without: &[&str]) -> Vec<(String, String)> {
    let mut lines: Vec<_> = fields
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .map(|(name, value)| if name == "x-request-id" { (name, String::new()) } else { (name, value) })
        .filter(|(name, _)| !without.contains(&name.as_str()))
        .collect();
    lines.sort();
    lines
}

/// What differs between the explanation and what happened.
fn differences(
    explained: &Explained,
    sent: &Option<(u16, HeaderMap)>,
    seen: Option<&crate::support::origin::Request>,
    without_framing: bool,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut compare = |what: &str, explained: String, happened: String| {
        if explained != happened {
            wrong.push(format!("{what}: explained {explained}, happened {happened}"));
        }
    };
    let Some((status, fields)) = sent else { return vec!["no response".to_owned()] };
    match &explained.explanation.end {
        End::Forwarded(forwarded) => {
            let Some(seen) = seen else { return vec![format!("not forwarded, but {status}")] };
            compare("status", "200".to_owned(), status.to_string());
            compare("method", forwarded.request.method().to_string(), seen.method.clone());
            compare("target", forwarded.request.uri().to_string(), seen.target.clone());
            // The length of a buffered body is known when it is complete.
            let framing: &[&str] = if without_framing { &["content-length", "transfer-encoding"] } else { &[] };
            let latin = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
            let told = forwarded.request.headers().iter().map(|(name, value)| (name.as_str(), latin(value.as_bytes())));
            let came = seen.fields.0.iter().map(|(name, value)| (name.as_str(), value.clone()));
            compare("headers", format!("{:#?}", lines(told, framing)), format!("{:#?}", lines(came, framing)));
        }
        End::Answered | End::Asked(_) => compare("forwarded", "no".to_owned(), seen.map_or("no", |_| "yes").to_owned()),
        End::Refused(refused) => {
            compare("forwarded", "no".to_owned(), seen.map_or("no", |_| "yes").to_owned());
            compare("status", refused.status.as_u16().to_string(), status.to_string());
            for name in ["www-authenticate", "allow", "location", "retry-after", "content-type"] {
                compare(name, format!("{:?}", refused.headers.get(name)), format!("{:?}", fields.get(name)));
            }
        }
    }
    wrong
}

/// What the access log says: route and outcome by request id.
fn logged(text: &str) -> HashMap<String, (Option<String>, String)> {
    let word = |line: &str, name: &str| {
        line.split(' ').find_map(|word| word.strip_prefix(&format!("{name}="))).map(str::to_owned)
    };
    let entry = |line: &str| Some((word(line, "id")?, (word(line, "route"), word(line, "outcome")?)));
    text.lines().filter_map(entry).collect()
}

#[tokio::test]
async fn explanations_and_the_gateway_agree() {
    let (seed, count) = (number("SEED", 1), usize::try_from(number("EXPLAINED", 0)).unwrap());
    let count = if count == 0 { REQUESTS } else { count };
    let mut dice = Dice(seed);
    let origin = Origin::answering("ok").await;
    let gateway = gateway(&origin).await;
    let keys = keys(&gateway).await;
    let tls = Tls::default().config(&gateway);
    let ports = |name: &str| gateway.listener(name).unwrap().port();
    let look_up = async |key: &TokenKey| gateway.store.tokens.find(key).await.map_err(|_| StoreUnavailable);
    let mut wanted: HashMap<String, (usize, Logged)> = HashMap::new();
    let (mut outcomes, mut wrong) = (BTreeMap::<&str, usize>::new(), Vec::new());
    let (mut explainer, mut settings) = (None, None);
    for case in 0..count {
        if case % EACH == 0 {
            gateway
                .reload(|next| {
                    configuration(&mut dice, next);
                    settings = Some(placed(next, &ports));
                })
                .await
                .unwrap();
            explainer = Some(Explainer::new(settings.as_ref().unwrap(), gateway.clock().now()).unwrap());
        }
        let (explainer, settings) = (explainer.as_ref().unwrap(), settings.as_ref().unwrap());
        let request = request(&mut dice, &keys, &ports, HERE);
        let explained = explainer.explain(&request, &Caller::Bare, &look_up).await.unwrap();
        let before = origin.count();
        let sent = send(&gateway, &tls, &request).await;
        let seen = (origin.count() > before).then(|| origin.last());
        let route = explained.explanation.route.clone();
        let taken = settings.routes.iter().find(|known| Some(&known.name) == route.as_ref());
        let buffered = taken.is_some_and(|route| route.buffer_request);
        let outcome = match &explained.explanation.end {
            End::Forwarded(_) => Some("forwarded"),
            End::Answered | End::Asked(_) => None,
            End::Refused(refused) => Some(refused.outcome.code()),
        };
        *outcomes.entry(outcome.unwrap_or("answered")).or_default() += 1;
        if let Some(id) = sent.as_ref().and_then(|(_, fields)| fields.get("x-request-id")) {
            wanted.insert(id.to_str().unwrap().to_owned(), (case, (route, outcome)));
        }
        let different = differences(&explained, &sent, seen.as_ref(), buffered);
        if !different.is_empty() {
            let routes = &settings.routes;
            wrong.push(format!("case {case}: {request:#?}\n{different:#?}\n{taken:#?}\nof {} routes", routes.len()));
        }
        assert!(wrong.len() < 3, "seed {seed}:\n{}", wrong.join("\n\n"));
    }
    assert!(wrong.is_empty(), "seed {seed}:\n{}", wrong.join("\n\n"));
    // A test in which nearly everything is refused, or for one reason, would say little.
    assert!(outcomes["forwarded"] > count / 6 && outcomes.len() >= 18, "{outcomes:?}");
    let what = format!("the log has the {} requests", wanted.len());
    eventually(PATIENCE, &what, || async {
        let log = logged(&gateway.log.text());
        wanted.keys().all(|id| log.contains_key(id))
    })
    .await;
    let log = logged(&gateway.log.text());
    for (id, (case, (route, outcome))) in &wanted {
        let (logged_route, logged_outcome) = &log[id];
        assert_eq!(logged_route.as_deref(), route.as_deref(), "seed {seed}, case {case}");
        assert!(outcome.is_none_or(|outcome| outcome == logged_outcome), "seed {seed}, case {case}: {logged_outcome}");
    }
}

/// The same request over HTTP/2, if it can be sent so.
fn over_http2(request: &SampleRequest) -> Option<Ask> {
    let of_connection = ["connection", "keep-alive", "te", "transfer-encoding", "upgrade", "host", "content-length"];
    let uri = format!("https://localhost{}", request.target);
    if !request.target.starts_with('/') || uri.parse::<http::Uri>().is_err() {
        return None;
    }
    let mut ask = Ask::new(&request.method, &request.target);
    for line in &request.headers {
        let (name, value) = line.split_once(':').unwrap();
        if name.contains(' ') || of_connection.contains(&name.to_ascii_lowercase().as_str()) {
            return None;
        }
        ask = ask.field(name, value.trim());
    }
    Some(ask)
}

#[tokio::test]
async fn explanations_hold_for_http2_too() {
    let (seed, count) = (number("SEED", 1), usize::try_from(number("EXPLAINED", 2_000)).unwrap() / 4);
    let mut dice = Dice(seed);
    let origin = Origin::answering("ok").await;
    let gateway = gateway(&origin).await;
    let keys = keys(&gateway).await;
    let ports = |name: &str| gateway.listener(name).unwrap().port();
    let look_up = async |key: &TokenKey| gateway.store.tokens.find(key).await.map_err(|_| StoreUnavailable);
    let (mut asked, mut forwarded) = (0, 0);
    for _ in 0..count.div_ceil(EACH) {
        let mut settings = None;
        let next = |next: &mut Settings| {
            configuration(&mut dice, next);
            // Pseudo-headers are not counted, and the line with the host of HTTP/1.1 is.
            next.limits.header_count = 100;
            settings = Some(placed(next, &ports));
        };
        gateway.reload(next).await.unwrap();
        let settings = settings.unwrap();
        let explainer = Explainer::new(&settings, gateway.clock().now()).unwrap();
        let mut connection = H2::open(&gateway).await;
        for _ in 0..EACH {
            let drawn = request(&mut dice, &keys, &ports, HERE);
            let Some(ask) = over_http2(&drawn) else { continue };
            let (authority, listener) = ("localhost".to_owned(), Some("public".to_owned()));
            let sample = SampleRequest { secure: true, authority, listener, ..drawn };
            let explained = explainer.explain(&sample, &Caller::Bare, &look_up).await.unwrap();
            let before = origin.count();
            let answer = connection.ask(&ask).await;
            let seen = (origin.count() > before).then(|| origin.last());
            let pairs = answer.fields.0.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            let sent = Some((answer.status, pairs.collect()));
            // The client library says `Content-Length: 0` where HTTP/1.1 says nothing.
            let different = differences(&explained, &sent, seen.as_ref(), true);
            assert!(different.is_empty(), "seed {seed}: {sample:#?}\n{different:#?}");
            (asked, forwarded) = (asked + 1, forwarded + usize::from(seen.is_some()));
        }
    }
    assert!(asked > count / 3 && forwarded > count / 12, "{asked} asked, {forwarded} forwarded");
}
