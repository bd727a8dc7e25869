//! A correct HTTP/2 client.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::channel::{Channel, Sender};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinHandle;

use super::client::{Stream, Tls};
use super::message::{Answer, Fields};
use super::{Ask, Gateway, soon};

pub type Outgoing = UnsyncBoxBody<Bytes, Infallible>;

/// One connection.
pub struct H2 {
    sender: SendRequest<Outgoing>,
    /// Ends with the connection.
    pub driver: JoinHandle<hyper::Result<()>>,
}

/// How many of 240 requests pass (200): 20 at once on each of 12 connections.
pub async fn passed_of_a_crowd(gateway: &Gateway, key: &str) -> usize {
    let mut passed = 0;
    for _ in 0..12 {
        let mut client = H2::open(gateway).await;
        let ask = || tokio::spawn(client.begin(Ask::get("/api/x").token(key).http2()));
        for answer in std::iter::repeat_with(ask).take(20).collect::<Vec<_>>() {
            passed += usize::from(answer.await.unwrap().unwrap().status() == 200);
        }
    }
    passed
}

impl H2 {
    pub async fn open(gateway: &Gateway) -> H2 {
        let tls = Tls { alpn: vec![b"h2"], ..Tls::default() };
        let stream = soon("handshake", tls.connect(gateway)).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        H2::over(stream).await.unwrap()
    }

    /// Over a TLS connection, which the gateway may have closed.
    pub async fn over(stream: impl Stream + 'static) -> hyper::Result<H2> {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        Ok(H2 { sender, driver: tokio::spawn(connection) })
    }

    pub async fn ask(&mut self, ask: &Ask) -> Answer {
        match self.send(ask.http2()).await {
            Ok(response) => collect(response).await,
            Err(error) => panic!("{ask:?} was not answered: {error:?}"),
        }
    }

    /// Begins a request in parallel to others.
    pub fn begin(
        &mut self,
        request: Request<Outgoing>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + Send + use<> {
        self.sender.send_request(request)
    }

    pub async fn send(&mut self, request: Request<Outgoing>) -> hyper::Result<Response<Incoming>> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }
}

/// A request whose body the test sends piece by piece.
pub fn streaming(ask: &Ask) -> (Sender<Bytes, Infallible>, Request<Outgoing>) {
    let (sender, body) = Channel::new(1);
    let (head, _) = ask.http2().into_parts();
    (sender, Request::from_parts(head, body.boxed_unsync()))
}

impl Ask {
    pub fn http2(&self) -> Request<Outgoing> {
        let mut request =
            Request::builder().method(self.method.as_str()).uri(format!("https://localhost{}", self.target));
        for (name, value) in &self.fields {
            request = request.header(name.as_str(), value.as_slice());
        }
        let body = match &self.body {
            None => Empty::new().boxed_unsync(),
            Some(body) if self.trailers.is_empty() => Full::new(Bytes::from(body.clone())).boxed_unsync(),
            Some(body) => {
                let (mut sender, channel) = Channel::new(2);
                let pair = |(name, value): &(String, String)| (name.parse().unwrap(), value.parse().unwrap());
                let (body, trailers) = (Bytes::from(body.clone()), self.trailers.iter().map(pair).collect());
                tokio::spawn(async move {
                    // If the request was refused, the body has no receiver.
                    let _ = sender.send_data(body).await;
                    let _ = sender.send_trailers(trailers).await;
                });
                channel.boxed_unsync()
            }
        };
        request.body(body).unwrap()
    }
}

/// Reads a response to its end.
pub async fn collect(response: Response<Incoming>) -> Answer {
    let (head, mut incoming) = response.into_parts();
    let fields = |map: &http::HeaderMap| {
        let text = |value: &http::HeaderValue| value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
        Fields(map.iter().map(|(name, value)| (name.to_string(), text(value))).collect())
    };
    let mut answer =
        Answer { status: head.status.as_u16(), fields: fields(&head.headers), complete: true, ..Answer::default() };
    while let Some(frame) = soon("body", incoming.frame()).await {
        match frame {
            Err(_) => {
                answer.complete = false;
                break;
            }
            Ok(frame) => {
                if let Some(data) = frame.data_ref() {
                    answer.body.extend_from_slice(data);
                } else if let Some(trailers) = frame.trailers_ref() {
                    answer.trailers = fields(trailers);
                }
            }
        }
    }
    answer
}
