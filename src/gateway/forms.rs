//! Reads the bodies of logins and forms completely, into memory that is wiped.
//!
//! Memory grows only with the bytes that arrive, not with the announced length. A login needs no credentials to begin.
//! So the number and the bytes of incomplete bodies are limited, per client and for all together.

use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;

use http_body::Body as _;
use zeroize::Zeroizing;

use super::Refusal;
use crate::client::ClientBody;
use crate::config::settings;
use crate::limits::{Budget, Client, Full, Hold};
use crate::upstream::{BodyFault, OutgoingBody};

/// Maximum size of all incomplete bodies, and of those of one client, in bytes; raised if `login.max_body` is larger.
const MAX_BYTES: usize = 32 << 20;
const MAX_BYTES_PER_CLIENT: usize = 4 << 20;
/// The first allocation in bytes.
const FIRST_ALLOCATION: usize = 512;

/// The limits for incomplete bodies; shared by all workers.
#[derive(Clone)]
pub struct Forms {
    places: Arc<Budget>,
    bytes: Arc<Budget>,
}

/// The place of one incomplete body.
pub(super) struct Expected {
    _place: Hold,
    bytes: Hold,
}

/// A complete body; wiped when dropped.
pub(super) struct Text {
    text: Zeroizing<Vec<u8>>,
    expected: Expected,
}

impl Forms {
    /// Creates the limits of these settings.
    pub fn new(settings: &settings::Login) -> Forms {
        let longest = usize::try_from(settings.max_body).unwrap_or(usize::MAX).saturating_mul(2);
        Forms {
            places: Budget::new(settings.max_pending, settings.max_pending_per_client),
            bytes: Budget::new(MAX_BYTES.max(longest), MAX_BYTES_PER_CLIENT.max(longest)),
        }
    }

    /// Takes a place for a body of this client.
    ///
    /// # Errors
    /// [`Refusal::Pending`] if there are too many incomplete bodies.
    pub(super) fn begin(&self, client: Client) -> Result<Expected, Refusal> {
        let place = self.places.take(client, 1).map_err(Refusal::Pending)?;
        Ok(Expected { _place: place, bytes: self.bytes.take(client, 0).map_err(Refusal::Pending)? })
    }
}

impl Expected {
    /// Reads a body to its end.
    ///
    /// # Errors
    /// [`Refusal::Body`] if it is too long, too slow or damaged, [`Refusal::Pending`] if it exceeds the memory limits.
    pub(super) async fn read(self, body: ClientBody, settings: &settings::Login) -> Result<Text, Refusal> {
        if body.declared_length().is_some_and(|length| length > settings.max_body) {
            return Err(BodyFault::TooLarge.into());
        }
        let most = usize::try_from(settings.max_body).unwrap_or(usize::MAX);
        let mut text = Text { text: Zeroizing::default(), expected: self };
        let mut body = pin!(streaming(body, settings));
        while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            if let Ok(data) = frame?.into_data() {
                text.push(&data, most).map_err(Refusal::Pending)?;
            }
        }
        Ok(text)
    }

    /// Whether a body is empty. Waits for its first byte if the length is not announced.
    ///
    /// # Errors
    /// As [`Expected::read`].
    pub(super) async fn is_empty(&self, body: ClientBody, settings: &settings::Login) -> Result<bool, Refusal> {
        if let Some(length) = body.declared_length() {
            return Ok(length == 0);
        }
        let mut body = pin!(streaming(body, settings));
        while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            if frame?.data_ref().is_some_and(|data| !data.is_empty()) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Text {
    /// Adds a piece; `most` is the maximum length of the body.
    fn push(&mut self, piece: &[u8], most: usize) -> Result<(), Full> {
        let length = self.text.len().saturating_add(piece.len());
        if length > self.text.capacity() {
            let room = length.saturating_mul(2).clamp(FIRST_ALLOCATION, most.max(FIRST_ALLOCATION)).max(length);
            self.expected.bytes.grow(room - self.text.capacity())?;
            // Does not use `reserve`, which would leave behind a copy that is not wiped.
            let mut larger = Zeroizing::new(Vec::with_capacity(room));
            larger.extend_from_slice(&self.text);
            self.text = larger;
        }
        self.text.extend_from_slice(piece);
        Ok(())
    }
}

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.text
    }
}

fn streaming(body: ClientBody, settings: &settings::Login) -> OutgoingBody {
    OutgoingBody::streaming(body, settings.max_body, settings.request_body_timeout, settings.body_rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u8) -> Client {
        Client::of([192, 0, 2, number].into())
    }

    fn text(forms: &Forms, number: u8) -> Text {
        Text { text: Zeroizing::default(), expected: forms.begin(client(number)).unwrap() }
    }

    #[test]
    fn memory_grows_with_the_bytes_that_have_arrived() {
        let settings = settings::Login { max_body: 1 << 20, ..settings::Login::default() };
        let most = 1 << 20;
        let mut text = text(&Forms::new(&settings), 1);
        assert_eq!(text.text.capacity(), 0);
        let mut whole = Vec::new();
        for number in 0..=255_u8 {
            let piece = vec![number; 4_000];
            text.push(&piece, most).unwrap();
            whole.extend_from_slice(&piece);
            assert!(text.text.capacity() <= whole.len() * 2, "{} for {}", text.text.capacity(), whole.len());
        }
        assert!(*text == *whole);
        assert!(text.text.capacity() <= most);
    }

    #[test]
    fn neither_one_client_nor_all_together_take_more_bytes_than_there_are() {
        let settings = settings::Login {
            max_body: 64 << 10,
            max_pending: usize::MAX,
            max_pending_per_client: usize::MAX,
            ..settings::Login::default()
        };
        let (forms, piece, most) = (Forms::new(&settings), vec![b'x'; 64 << 10], 64 << 10);
        let mut held = Vec::new();
        let mut full = 0;
        for number in 1..=9 {
            for _ in 0..100 {
                let mut text = text(&forms, number);
                match text.push(&piece, most) {
                    Ok(()) => held.push(text),
                    Err(Full::ForClient) => assert!(number < 8),
                    Err(Full::ForAll) => full += 1,
                }
            }
        }
        assert_eq!((held.len(), full), (508, 140));
        drop(held);
        assert_eq!(text(&forms, 9).push(&piece, most), Ok(()));
    }
}
