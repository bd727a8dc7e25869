//! The CA says when it wants a certificate renewed (ARI, RFC 9773). Pebble of this version does not, so a server in
//! front of it adds that.

use std::sync::{Arc, Mutex};

use base64ct::{Base64UrlUnpadded, Encoding};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokengate::clock::Timestamp;
use tokengate::config::settings::AcmeChallenge;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::*;

/// The server in front of Pebble.
struct Front {
    port: u16,
    /// What it answers to questions about renewal.
    window: Mutex<(Timestamp, Timestamp)>,
    /// The paths of those questions.
    asked: Mutex<Vec<String>>,
    /// The certificates that orders say they replace.
    replaced: Mutex<Vec<String>>,
}

impl Front {
    async fn start(pebble: &Pebble, tasks: &mut JoinSet<()>) -> Arc<Front> {
        let issued = pebble.authority().issue("front", &["localhost"]).read();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let resolver = rustls::sign::SingleCertAndKey::from(Arc::clone(&issued.key));
        let acceptor = TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_cert_resolver(Arc::new(resolver))));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let nothing = Timestamp::from_micros(0);
        let front = Arc::new(Front {
            port,
            window: Mutex::new((nothing, nothing)),
            asked: Mutex::default(),
            replaced: Mutex::default(),
        });
        let (served, behind, client) = (Arc::clone(&front), pebble.directory(), pebble.client());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (front, behind, client, acceptor) =
                    (Arc::clone(&served), behind.clone(), client.clone(), acceptor.clone());
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| {
                        let (front, behind, client) = (Arc::clone(&front), behind.clone(), client.clone());
                        async move { Ok::<_, std::io::Error>(front.answer(request, &behind, &client).await) }
                    });
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        front
    }

    fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        behind: &str,
        client: &tokengate::https::HttpsClient,
    ) -> Response<Full<Bytes>> {
        let (mut head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        if path.starts_with("/renewal/") {
            self.asked.lock().unwrap().push(path);
            let (start, end) = *self.window.lock().unwrap();
            let window = json!({ "suggestedWindow": { "start": start.to_string(), "end": end.to_string() } });
            return Response::builder().header(RETRY_AFTER, "21600").body(window.to_string().into()).unwrap();
        }
        let body = body.collect().await.unwrap().to_bytes();
        let replaces = self.replaces(&body);
        let url = behind.replace("/dir", &head.uri.to_string());
        head.uri = url.parse().unwrap();
        head.headers.remove(CONTENT_LENGTH);
        // Pebble builds its URLs from the Host header.
        head.headers.insert(HOST, format!("localhost:{}", self.port).parse().unwrap());
        let answered = client.send(Request::from_parts(head, Full::new(body))).await.unwrap();
        let (mut head, body) = answered.into_parts();
        head.headers.remove(CONTENT_LENGTH);
        let is_json =
            head.headers.get(CONTENT_TYPE).is_some_and(|media| media.as_bytes().starts_with(b"application/json"));
        let body = match serde_json::from_slice::<Value>(&body) {
            Ok(mut value) if is_json => {
                // Pebble names itself in URLs by its own port.
                let pebble = behind.replace("/dir", "");
                if path == "/dir" {
                    value["renewalInfo"] = format!("https://localhost:{}/renewal", self.port).into();
                }
                if let Some(replaced) = replaces {
                    self.replaced.lock().unwrap().push(replaced.clone());
                    value["replaces"] = replaced.into();
                }
                value.to_string().replace(&pebble, &format!("https://localhost:{}", self.port)).into()
            }
            _ => body,
        };
        Response::from_parts(head, Full::new(body))
    }

    /// The certificate that a signed order says it replaces.
    fn replaces(&self, body: &[u8]) -> Option<String> {
        let signed: Value = serde_json::from_slice(body).ok()?;
        let payload = Base64UrlUnpadded::decode_vec(signed["payload"].as_str()?).ok()?;
        let payload: Value = serde_json::from_slice(&payload).ok()?;
        payload["replaces"].as_str().map(str::to_owned)
    }
}

#[tokio::test]
async fn the_ca_chooses_the_time_of_a_renewal() {
    let origin = Origin::answering("hello").await;
    let pebble = Pebble::start(&[]).await;
    let mut tasks = JoinSet::new();
    let front = Front::start(&pebble, &mut tasks).await;
    let folder = tempfile::tempdir().unwrap();
    let acme = Acme { directory: front.directory(), ..ca(&pebble, folder.path(), AcmeChallenge::Http, &[NAME]) };
    // Later than two thirds of the validity.
    let begin = tokengate::clock::Clock::system().now();
    let (start, end) = (begin.after(DAY * 70), begin.after(DAY * 72));
    *front.window.lock().unwrap() = (start, end);
    let gateway = start_at(&origin, &pebble, acme.clone()).await;
    has_counted(&gateway, "issued_total", 1).await;
    let due = || i64::try_from(count(&gateway, "renewal_timestamp_seconds")).unwrap();
    let in_window = || async {
        gateway.hand.advance(Duration::from_secs(1));
        (start.as_seconds()..=end.as_seconds()).contains(&due())
    };
    eventually(PATIENCE, "the window of the CA is known", in_window).await;
    let asked = front.asked.lock().unwrap()[0].clone();
    assert_eq!(asked.split('.').count(), 2, "key identifier and serial number: {asked}");

    // The CA changes its mind: it will revoke the certificate. It is asked again after its pause.
    let past = gateway.clock().now().before(DAY);
    *front.window.lock().unwrap() = (past.before(DAY), past);
    let before = fs::read(acme.file("main")).unwrap();
    gateway.hand.advance(Duration::from_secs(21_600));
    has_counted(&gateway, "issued_total", 2).await;
    // The window is for the certificate before; Pebble gives every one the same answer, so it is not asked for long.
    *front.window.lock().unwrap() = (start, end);
    assert_ne!(fs::read(acme.file("main")).unwrap(), before);
    let replaced = front.replaced.lock().unwrap().clone();
    assert_eq!(
        asked.strip_prefix("/renewal/"),
        replaced.first().map(String::as_str),
        "the order says what it replaces"
    );
}

async fn start_at(origin: &Origin, pebble: &Pebble, acme: Acme) -> Gateway {
    super::start(origin, pebble, acme).await
}
