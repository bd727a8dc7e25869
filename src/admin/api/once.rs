//! Idempotent creations (`Idempotency-Key`).
//!
//! A client that lost the response retries with the same `Idempotency-Key` and gets the same response. Responses are
//! kept in the memory of this process: a restart drops them, and other gateways do not have them.
//!
//! A replay reveals a key. [`Call::once`] therefore checks the caller's current permissions first, and replays only
//! resources that still exist and are still valid.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::caller::Call;
use super::problem::{Code, Problem};
use super::{at, request};
use crate::admin::operations::{Acting, OperationError, TokenState};
use crate::clock::{Clock, Timestamp};
use crate::token::{SubjectId, TokenId};

/// Request header that carries the client's key.
pub(super) const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Response header that marks a replay.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Maximum length of the header in characters.
const MAX_KEY: usize = 255;
/// How long a response is kept.
const RETENTION: Duration = Duration::from_secs(86_400);
/// Maximum number of kept responses; the oldest is evicted.
const ANSWERS: usize = 1_000;

/// A SHA-256.
type Digest = [u8; 32];

/// A user or token that a request creates.
pub(super) trait Creation: Send + 'static {
    /// Checks whether the caller may create it now.
    fn may(&self, acting: &Acting<'_>) -> impl Future<Output = Result<(), OperationError>> + Send;

    /// Creates it.
    fn make(self, acting: &Acting<'_>) -> impl Future<Output = Result<Made, OperationError>> + Send;
}

/// The created resource and its response. Wiped on drop, since the response may contain a key.
pub(super) struct Made {
    user: Option<SubjectId>,
    token: Option<TokenId>,
    location: String,
    body: Zeroizing<Vec<u8>>,
}

/// The `Idempotency-Key` of a request, if any, and a digest of the whole request.
pub(super) struct Name(Option<(HeaderValue, Digest)>);

/// The JSON body of a creation, with its idempotency key.
pub(super) struct Said<T>(pub Name, pub T);

/// The kept responses.
pub(super) struct Once {
    clock: Clock,
    entries: Mutex<HashMap<Digest, Entry>>,
}

struct Entry {
    since: Timestamp,
    /// Digest of the whole request.
    request: Digest,
    /// `None`: the request is in progress.
    made: Option<Arc<Made>>,
}

/// A request in progress. Dropped without a response, it is removed, so that a retry starts again.
struct UnderWay {
    once: Arc<Once>,
    place: Digest,
}

enum Begun {
    First(UnderWay),
    Again(Arc<Made>),
}

impl Call {
    /// Creates a resource, or replays the response if the same token sent the same request before.
    ///
    /// # Errors
    /// [`Problem`], also if the caller has lost the permission to create it, or if the created resource was deleted.
    pub(super) async fn once<C: Creation>(self, Name(name): Name, creation: C) -> Result<Response, Problem> {
        creation.may(&self.acting()).await?;
        let Some((key, request)) = name else { return Ok(creation.make(&self.acting()).await?.answer()) };
        let place = digest(&[&self.token().0.to_be_bytes(), key.as_bytes()]);
        let under_way = match self.api.once.begin(place, request)? {
            Begun::Again(made) => return made.again(&self).await,
            Begun::First(under_way) => under_way,
        };
        // Runs to its end even if the client disconnects: the retry must find the result.
        let work = tokio::spawn(async move {
            let made = Arc::new(creation.make(&self.acting()).await?);
            under_way.keep(&made);
            Ok(made.answer())
        });
        work.await.unwrap_or_else(|_| Err(Problem::unavailable()))
    }
}

impl Made {
    pub(super) fn user(id: SubjectId, token: Option<TokenId>, body: &impl Serialize) -> Made {
        Made { user: Some(id), token, location: at(&format!("/users/{id}")), body: json(body) }
    }

    pub(super) fn token(id: TokenId, body: &impl Serialize) -> Made {
        Made { user: None, token: Some(id), location: at(&format!("/tokens/{id}")), body: json(body) }
    }

    fn answer(&self) -> Response {
        let fields = [(header::CONTENT_TYPE, "application/json"), (header::LOCATION, self.location.as_str())];
        (StatusCode::CREATED, fields, Body::from(self.body.to_vec())).into_response()
    }

    async fn again(&self, call: &Call) -> Result<Response, Problem> {
        self.check_still(&call.acting(), call.api.operations.clock().now()).await?;
        let mut response = self.answer();
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        Ok(response)
    }

    /// Refuses to show a deleted user, or the key of a revoked or expired token.
    async fn check_still(&self, acting: &Acting<'_>, now: Timestamp) -> Result<(), Problem> {
        let gone = |what| {
            let detail = format!("{what}, which the first request with this Idempotency-Key created; use a new key");
            Problem::new(Code::Conflict, detail)
        };
        if let Some(id) = self.user {
            match acting.user(id).await {
                Err(OperationError::UnknownUser(_)) => return Err(gone(format!("user {id} was deleted"))),
                user => drop(user?),
            }
        }
        let Some(id) = self.token else { return Ok(()) };
        let state = match acting.token(id).await {
            Err(OperationError::UnknownToken) => return Err(gone(format!("token {id} was deleted"))),
            token => TokenState::of(&token?, now),
        };
        match state {
            TokenState::Revoked => Err(gone(format!("token {id} was revoked"))),
            TokenState::Expired => Err(gone(format!("token {id} has expired"))),
            TokenState::Live | TokenState::OwnerInactive | TokenState::Disabled => Ok(()),
        }
    }
}

/// Texts and numbers are always JSON.
fn json(body: &impl Serialize) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(serde_json::to_vec(body).unwrap_or_default())
}

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Name, Problem> {
        let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
        let said = digest(&[parts.method.as_str().as_bytes(), target.as_bytes()]);
        Ok(Name(key(&parts.headers)?.map(|key| (key, said))))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Said<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Said<T>, Problem> {
        let (mut parts, body) = request.into_parts();
        let Name(name) = Name::from_request_parts(&mut parts, state).await?;
        let whole = Request::from_parts(parts.clone(), body);
        let body = Bytes::from_request(whole, state).await.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(),
            _ => Problem::new(Code::Malformed, "the body is incomplete or malformed"),
        })?;
        let name = name.map(|(key, said)| (key, digest(&[&said, &body])));
        let request::Body(said) = request::Body::from_request(Request::from_parts(parts, body.into()), state).await?;
        Ok(Said(Name(name), said))
    }
}

fn key(fields: &HeaderMap) -> Result<Option<HeaderValue>, Problem> {
    let mut lines = fields.get_all(KEY).iter();
    let Some(key) = lines.next() else { return Ok(None) };
    let fits = (1..=MAX_KEY).contains(&key.len()) && key.as_bytes().iter().all(u8::is_ascii_graphic);
    if lines.next().is_some() || !fits {
        return Err(Problem::invalid("Idempotency-Key", "send one header with 1 to 255 visible ASCII characters"));
    }
    Ok(Some(key.clone()))
}

/// Digest of several texts, each with its length, so that different lists never collide.
fn digest(parts: &[&[u8]]) -> Digest {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in parts {
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

impl Once {
    pub(super) fn new(clock: Clock) -> Arc<Once> {
        Arc::new(Once { clock, entries: Mutex::default() })
    }

    fn begin(self: &Arc<Once>, place: Digest, request: Digest) -> Result<Begun, Problem> {
        let now = self.clock.now();
        let mut entries = self.entries();
        entries.retain(|_, entry| entry.made.is_none() || now.since(entry.since) < RETENTION);
        if let Some(entry) = entries.get(&place) {
            if entry.request != request {
                return Err(Problem::new(
                    Code::KeyReused,
                    "this Idempotency-Key was used for another request; use a new one",
                ));
            }
            return entry.made.as_ref().map(Arc::clone).map(Begun::Again).ok_or_else(Problem::under_way);
        }
        if entries.len() >= ANSWERS {
            let answered = entries.iter().filter(|(_, entry)| entry.made.is_some());
            let oldest = answered.min_by_key(|(_, entry)| entry.since).map(|(place, _)| *place);
            let oldest = oldest.ok_or_else(|| Problem::throttled(Duration::from_secs(1)))?;
            entries.remove(&oldest);
        }
        entries.insert(place, Entry { since: now, request, made: None });
        Ok(Begun::First(UnderWay { once: Arc::clone(self), place }))
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Digest, Entry>> {
        // A panic cannot leave an entry half-written.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnderWay {
    fn keep(&self, made: &Arc<Made>) {
        if let Some(entry) = self.once.entries().get_mut(&self.place) {
            entry.made = Some(Arc::clone(made));
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut entries = self.once.entries();
        if entries.get(&self.place).is_some_and(|entry| entry.made.is_none()) {
            entries.remove(&self.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> Arc<Made> {
        Arc::new(Made::token(TokenId(1), &()))
    }

    fn finish(once: &Arc<Once>, place: u8) {
        let begun = once.begin([place; 32], [0; 32]);
        assert!(matches!(begun, Ok(Begun::First(_))), "{place}");
        // Dropping removes the entry, so store the response first.
        once.entries().get_mut(&[place; 32]).unwrap().made = Some(made());
        drop(begun);
    }

    #[test]
    fn a_response_is_stored_for_a_day() {
        let (clock, hand) = Clock::by_hand(Timestamp::from_micros(0));
        let once = Once::new(clock);
        finish(&once, 1);
        hand.advance(RETENTION - Duration::from_secs(1));
        assert!(matches!(once.begin([1; 32], [0; 32]), Ok(Begun::Again(_))));
        hand.advance(Duration::from_secs(1));
        assert!(matches!(once.begin([1; 32], [0; 32]), Ok(Begun::First(_))));
    }

    #[test]
    fn a_request_that_ended_without_a_response_can_be_retried() {
        let once = Once::new(Clock::system());
        let first = once.begin([1; 32], [0; 32]);
        assert!(once.begin([1; 32], [0; 32]).is_err_and(|problem| format!("{problem:?}").contains("UnderWay")));
        drop(first);
        assert!(matches!(once.begin([1; 32], [0; 32]), Ok(Begun::First(_))));
    }

    #[test]
    fn the_oldest_response_is_evicted_and_a_request_in_progress_is_not() {
        let (clock, hand) = Clock::by_hand(Timestamp::from_micros(0));
        let once = Once::new(clock);
        let under_way = once.begin([0; 32], [0; 32]);
        hand.advance(Duration::from_secs(1));
        finish(&once, 1);
        hand.advance(Duration::from_secs(1));
        for number in 2..u64::try_from(ANSWERS).unwrap() {
            let place = digest(&[&number.to_be_bytes()]);
            once.entries().insert(place, Entry { since: once.clock.now(), request: place, made: Some(made()) });
        }
        finish(&once, 2);
        let entries = once.entries();
        assert_eq!(entries.len(), ANSWERS);
        assert!(entries.contains_key(&[0; 32]) && !entries.contains_key(&[1; 32]));
        drop(entries);
        drop(under_way);
    }
}
