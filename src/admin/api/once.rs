//! Creations that are done once, however often they are asked for.
//!
//! A client that lost the answer sends the request again with the same `Idempotency-Key` and gets the same answer. What
//! was answered is kept in the memory of this process: a restart forgets it, and another gateway does not know it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body::Body as _;
use zeroize::Zeroizing;

use super::Api;
use super::caller::Known;
use super::problem::{Code, Problem};
use crate::clock::{Clock, Timestamp};

/// What names a request for its client.
pub(super) const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Stands in an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Longest key in characters.
const LONGEST_KEY: usize = 255;
/// How long an answer is kept.
const KEEP: Duration = Duration::from_secs(86_400);
/// Most answers that are kept; the oldest gives way.
const ANSWERS: usize = 1_000;
/// Longest answer in bytes that is kept: far more than any creation answers.
const LONGEST_ANSWER: usize = 256 << 10;

/// A SHA-256.
type Digest = [u8; 32];

/// What was answered to whom.
pub(super) struct Once {
    clock: Clock,
    entries: Mutex<HashMap<Digest, Entry>>,
}

struct Entry {
    since: Timestamp,
    /// Of everything that the request says.
    request: Digest,
    /// `None`: it is under way.
    answer: Option<Arc<Answer>>,
}

/// Wiped when nobody needs it any more, since there may be a key in it.
struct Answer {
    status: StatusCode,
    fields: HeaderMap,
    body: Zeroizing<Vec<u8>>,
}

/// A request under way. Dropped without an answer, it is as if it had never come.
struct UnderWay {
    once: Arc<Once>,
    place: Digest,
}

enum Begun {
    First(UnderWay),
    Again(Arc<Answer>),
}

/// Around creations.
pub(super) async fn once(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    match find(&api.once, request).await {
        Ok((request, None)) => next.run(request).await,
        Ok((_, Some(Begun::Again(answer)))) => answer.again(),
        Ok((request, Some(Begun::First(under_way)))) => {
            // A client that leaves does not stop it: it asks again, and has to find what was done.
            let work = tokio::spawn(async move { under_way.keep(next.run(request).await).await });
            work.await.unwrap_or_else(|_| Problem::unavailable().into_response())
        }
        Err(problem) => problem.into_response(),
    }
}

/// What the key of a request says, if it has one.
async fn find(once: &Arc<Once>, request: Request) -> Result<(Request, Option<Begun>), Problem> {
    let Some(key) = key(request.headers())? else { return Ok((request, None)) };
    let Some(known) = request.extensions().get::<Known>() else { return Ok((request, None)) };
    let (token, rights) = (known.token.0.to_be_bytes(), [u8::from(known.caller.needs_superuser().is_ok())]);
    let place = digest(&[&token, &rights, key.as_bytes()]);
    let (parts, body) = request.into_parts();
    let said = Request::from_parts(parts.clone(), body);
    let body = Bytes::from_request(said, &()).await.map_err(|rejection| {
        let code = if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE { Code::TooLarge } else { Code::Malformed };
        Problem::new(code, rejection.body_text())
    })?;
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let request = digest(&[parts.method.as_str().as_bytes(), target.as_bytes(), &body]);
    let begun = once.begin(place, request)?;
    Ok((Request::from_parts(parts, Body::from(body)), Some(begun)))
}

fn key(fields: &HeaderMap) -> Result<Option<HeaderValue>, Problem> {
    let mut lines = fields.get_all(KEY).iter();
    let Some(key) = lines.next() else { return Ok(None) };
    let fits = (1..=LONGEST_KEY).contains(&key.len()) && key.as_bytes().iter().all(u8::is_ascii_graphic);
    if lines.next().is_some() || !fits {
        return Err(Problem::invalid("Idempotency-Key", "send one, of 1 to 255 visible ASCII characters"));
    }
    Ok(Some(key.clone()))
}

/// Of several texts, so that no two lists of them are one.
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
        entries.retain(|_, entry| entry.answer.is_none() || now.since(entry.since) < KEEP);
        if let Some(entry) = entries.get(&place) {
            if entry.request != request {
                return Err(Problem::new(
                    Code::KeyReused,
                    "this Idempotency-Key came with another request; take a new one",
                ));
            }
            return entry.answer.as_ref().map(Arc::clone).map(Begun::Again).ok_or_else(Problem::under_way);
        }
        if entries.len() >= ANSWERS {
            let answered = entries.iter().filter(|(_, entry)| entry.answer.is_some());
            let oldest = answered.min_by_key(|(_, entry)| entry.since).map(|(place, _)| *place);
            let oldest = oldest.ok_or_else(|| Problem::throttled(Duration::from_secs(1)))?;
            entries.remove(&oldest);
        }
        entries.insert(place, Entry { since: now, request, answer: None });
        Ok(Begun::First(UnderWay { once: Arc::clone(self), place }))
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Digest, Entry>> {
        // An entry is never left half-way.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnderWay {
    /// Keeps the answer of a creation that was done. Any other may be tried again.
    async fn keep(self, response: Response) -> Response {
        let fits =
            response.body().size_hint().upper().is_some_and(|size| size <= u64::try_from(LONGEST_ANSWER).unwrap_or(0));
        if !response.status().is_success() || !fits {
            return response;
        }
        let (parts, body) = response.into_parts();
        let Ok(body) = axum::body::to_bytes(body, LONGEST_ANSWER).await else {
            return Problem::unavailable().into_response();
        };
        let mut fields = parts.headers.clone();
        fields.remove(header::CONTENT_LENGTH);
        let answer = Answer { status: parts.status, fields, body: Zeroizing::new(body.to_vec()) };
        if let Some(entry) = self.once.entries().get_mut(&self.place) {
            entry.answer = Some(Arc::new(answer));
        }
        Response::from_parts(parts, Body::from(body))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut entries = self.once.entries();
        if entries.get(&self.place).is_some_and(|entry| entry.answer.is_none()) {
            entries.remove(&self.place);
        }
    }
}

impl Answer {
    fn again(&self) -> Response {
        let mut response = (self.status, Body::from(self.body.to_vec())).into_response();
        response.headers_mut().extend(self.fields.clone());
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Arc<Answer> {
        Arc::new(Answer { status: StatusCode::CREATED, fields: HeaderMap::new(), body: Zeroizing::default() })
    }

    fn finish(once: &Arc<Once>, place: u8) {
        let begun = once.begin([place; 32], [0; 32]);
        assert!(matches!(begun, Ok(Begun::First(_))), "{place}");
        // Dropped here, it is forgotten; so it has its answer first.
        once.entries().get_mut(&[place; 32]).unwrap().answer = Some(answer());
        drop(begun);
    }

    #[test]
    fn an_answer_is_kept_for_a_day() {
        let (clock, hand) = Clock::by_hand(Timestamp::from_micros(0));
        let once = Once::new(clock);
        finish(&once, 1);
        hand.advance(KEEP - Duration::from_secs(1));
        assert!(matches!(once.begin([1; 32], [0; 32]), Ok(Begun::Again(_))));
        hand.advance(Duration::from_secs(1));
        assert!(matches!(once.begin([1; 32], [0; 32]), Ok(Begun::First(_))));
    }

    #[test]
    fn a_request_that_ended_without_an_answer_may_be_tried_again() {
        let once = Once::new(Clock::system());
        let first = once.begin([1; 32], [0; 32]);
        assert!(once.begin([1; 32], [0; 32]).is_err_and(|problem| format!("{problem:?}").contains("UnderWay")));
        drop(first);
        assert!(matches!(once.begin([1; 32], [0; 32]), Ok(Begun::First(_))));
    }

    #[test]
    fn the_oldest_answer_gives_way_and_what_is_under_way_does_not() {
        let (clock, hand) = Clock::by_hand(Timestamp::from_micros(0));
        let once = Once::new(clock);
        let under_way = once.begin([0; 32], [0; 32]);
        hand.advance(Duration::from_secs(1));
        finish(&once, 1);
        hand.advance(Duration::from_secs(1));
        for number in 2..u64::try_from(ANSWERS).unwrap() {
            let place = digest(&[&number.to_be_bytes()]);
            once.entries().insert(place, Entry { since: once.clock.now(), request: place, answer: Some(answer()) });
        }
        finish(&once, 2);
        let entries = once.entries();
        assert_eq!(entries.len(), ANSWERS);
        assert!(entries.contains_key(&[0; 32]) && !entries.contains_key(&[1; 32]));
        drop(entries);
        drop(under_way);
    }
}
