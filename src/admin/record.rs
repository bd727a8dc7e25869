//! Request ids and the access log.
//!
//! Outermost layer, so that refused requests are logged too.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::{Extensions, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use super::operations::Caller;
use super::server::Client;
use crate::clock::Clock;
use crate::config::settings;
use crate::telemetry::{AccessLog, Entry, Outcome, RequestIds};
use crate::token::TokenId;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Destination of the log lines.
pub struct Records {
    log: Mutex<AccessLog>,
    ids: Mutex<RequestIds>,
    clock: Clock,
}

/// Request id.
#[derive(Clone)]
pub(super) struct RequestId(HeaderValue);

/// Caller of a request, once authenticated.
#[derive(Clone, Default)]
pub(super) struct CallerSlot(Arc<OnceLock<(Caller, Option<TokenId>)>>);

impl Records {
    /// `ids` must not be used by a worker.
    pub fn new(log: AccessLog, ids: RequestIds, clock: Clock) -> Records {
        Records { log: Mutex::new(log), ids: Mutex::new(ids), clock }
    }

    fn next_id(&self) -> HeaderValue {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).next()
    }

    fn write(&self, entry: &Entry<'_>) {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.write(entry);
        // Traffic is low, so each line is written at once.
        log.flush();
    }
}

impl RequestId {
    /// Returns the id as text; empty outside of [`record`].
    pub(super) fn of(request: &Request) -> String {
        let id = request.extensions().get::<RequestId>().and_then(|id| id.0.to_str().ok());
        id.unwrap_or_default().to_owned()
    }
}

impl CallerSlot {
    /// Records the user, and the token that authenticated the request.
    pub(super) fn note(extensions: &Extensions, caller: &Caller, token: Option<TokenId>) {
        if let Some(from) = extensions.get::<CallerSlot>() {
            // Set once: a request has one caller.
            let _ = from.0.set((caller.clone(), token));
        }
    }
}

/// Middleware around everything.
pub(super) async fn record(State(records): State<Arc<Records>>, mut request: Request, next: Next) -> Response {
    let (id, from, begun) = (records.next_id(), CallerSlot::default(), records.clock.instant());
    let (method, uri, version) = (request.method().clone(), request.uri().clone(), request.version());
    // The server inserts the client address; it is missing only in tests without a server.
    let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let peer = request.extensions().get::<Client>().map_or(unknown, |client| client.0);
    request.extensions_mut().insert(RequestId(id.clone()));
    request.extensions_mut().insert(from.clone());
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, id.clone());
    let known = from.0.get();
    let account = known.map(|(caller, _)| &caller.user.account);
    records.write(&Entry {
        time: records.clock.now(),
        request_id: id.to_str().unwrap_or_default(),
        peer,
        version: Some(version),
        method: method.as_str(),
        path: uri.path(),
        has_query: uri.query().is_some(),
        status: Some(response.status().as_u16()),
        outcome: Outcome::Answered,
        cause: None,
        route: Some(settings::Admin::NAME),
        user_id: account.map(|account| account.id.0),
        user_name: account.map(|account| account.name.as_str()),
        token_id: known.and_then(|(_, token)| *token).map(|token| token.0),
        bytes_out: response.body().size_hint().exact().unwrap_or(0),
        total: records.clock.instant().saturating_duration_since(begun),
        upstream: None,
    });
    response
}
