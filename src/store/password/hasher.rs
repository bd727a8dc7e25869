//! Hashes and compares passwords on a bounded number of threads.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::{Password, fits, hash};
use crate::config::settings::Hashing;

/// Maximum number of queued comparisons per running one. The queue takes a few seconds at most; further requests are
/// rejected.
const QUEUE: usize = 8;

/// The `nice` value of hashing threads. On a busy machine each gets about a tenth of a core; on an idle one it has no
/// effect.
const NICE: i32 = 10;

/// How long a slow comparison is remembered.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Maximum remembered duration, in multiples of `failed_after`: a longer one means that the machine was suspended, not
/// that the hash is expensive.
const MAX_REMEMBERED: u32 = 10;

/// A password was neither hashed nor compared.
#[derive(Debug, thiserror::Error)]
pub enum HashingFailed {
    /// The queue is full. Says nothing about the password.
    #[error("too many passwords are being compared at this moment")]
    Busy,
    /// The computation failed.
    #[error("the password could not be hashed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Hashes and compares passwords.
pub(in crate::store) struct Hasher {
    permits: Arc<Semaphore>,
    /// Running and queued comparisons.
    room: Semaphore,
    pace: Pace,
}

impl Hasher {
    pub(in crate::store) fn new(settings: &Hashing) -> Hasher {
        let at_once = settings.at_once.max(1);
        Hasher {
            permits: Arc::new(Semaphore::new(at_once)),
            room: Semaphore::new(at_once.saturating_mul(1 + QUEUE)),
            pace: Pace { span: settings.failed_after, slowest: Mutex::default() },
        }
    }

    /// Hashes a new password. Waits for as long as it takes.
    pub(in crate::store) async fn hash(&self, password: Password) -> Result<String, HashingFailed> {
        let Done { result: hashed, .. } = self.run(move || hash(&password)).await?;
        hashed.map_err(|error| HashingFailed::Failed(error.into()))
    }

    /// Compares a password. `stored` is `None` for a user who is unknown or inactive.
    ///
    /// "No" is returned `failed_after` the request, or a multiple of that. It also holds its place in the queue until
    /// the slowest recent comparison would have ended. So neither its own time nor the waiting time of others reveals
    /// the kind of hash, or whether one exists. Waiting uses no thread.
    pub(in crate::store) async fn fits(
        &self,
        password: Password,
        stored: Option<String>,
    ) -> Result<bool, HashingFailed> {
        let asked = Instant::now();
        let place = self.room.try_acquire().map_err(|_| HashingFailed::Busy)?;
        let Done { result: fits, begun, permit } = self.run(move || fits(&password, stored.as_deref())).await?;
        let now = Instant::now();
        let slowest = self.pace.slowest(now - begun, now);
        if !fits {
            tokio::time::sleep_until(begun + slowest.min(self.pace.span)).await;
        }
        drop((permit, place));
        if !fits {
            tokio::time::sleep_until(asked + self.pace.told_after(Instant::now() - asked, slowest)).await;
        }
        Ok(fits)
    }

    /// Runs `work` on its own thread. If the future is dropped, the computation continues and keeps its permit until it
    /// ends.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Done<T>, HashingFailed> {
        let closed = |error: AcquireError| HashingFailed::Failed(error.into());
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(closed)?;
        let begun = Instant::now();
        let (reply, done) = oneshot::channel();
        let thread = std::thread::Builder::new().name("hash".to_owned()).spawn(move || {
            // On Linux it applies to this thread only, elsewhere to the whole process. If refused, hashing runs at
            // normal priority.
            if cfg!(target_os = "linux") {
                let _ = rustix::process::nice(NICE);
            }
            // The caller may have gone.
            let _ = reply.send(Done { result: work(), begun, permit });
        });
        thread.map_err(|error| HashingFailed::Failed(error.into()))?;
        done.await.map_err(|error| HashingFailed::Failed(error.into()))
    }
}

/// The result of a computation.
struct Done<T> {
    result: T,
    /// When it started.
    begun: Instant,
    /// Its permit, until dropped.
    permit: OwnedSemaphorePermit,
}

/// Decides when failures are reported. If some hashes are slow, or the machine is busy, all failures take equally long.
/// So only the first failure of a slow hash can be recognised.
struct Pace {
    span: Duration,
    /// The longest recent comparison, and its time.
    slowest: Mutex<Option<(Duration, Instant)>>,
}

impl Pace {
    /// Returns the longest recent comparison, including one that took `elapsed` now.
    fn slowest(&self, elapsed: Duration, now: Instant) -> Duration {
        let mut slowest = self.slowest.lock().unwrap_or_else(PoisonError::into_inner);
        let known = slowest.filter(|(_, seen)| now - *seen < REMEMBERED).map_or(Duration::ZERO, |(known, _)| known);
        if elapsed >= known {
            *slowest = Some((elapsed.min(self.span.saturating_mul(MAX_REMEMBERED)), now));
        }
        elapsed.max(known)
    }

    /// Returns the time after the request at which a "no" that was known after `elapsed` is reported.
    fn told_after(&self, elapsed: Duration, slowest: Duration) -> Duration {
        let spans = elapsed.max(slowest).as_nanos().div_ceil(self.span.as_nanos().max(1)).max(1);
        u32::try_from(spans).map_or(elapsed, |spans| self.span.saturating_mul(spans))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hasher(at_once: usize) -> Hasher {
        Hasher::new(&Hashing { at_once, failed_after: Duration::from_millis(1) })
    }

    fn password() -> Password {
        Password::parse("x").unwrap()
    }

    #[test]
    fn all_failures_take_as_long_as_the_slowest_recent_one() {
        let (ms, begin) = (Duration::from_millis, Instant::now());
        let pace = Pace { span: ms(100), slowest: Mutex::default() };
        for (second, took, told) in [
            (0, 0, 100),
            (0, 100, 100),
            (1, 101, 200),
            (2, 1, 200),
            (300, 150, 200),
            // Remembered from the last comparison that took this long.
            (899, 1, 200),
            (900, 1, 100),
            (901, 950, 1_000),
            (902, 60_000, 60_000),
            (903, 1, 1_000),
        ] {
            let slowest = pace.slowest(ms(took), begin + Duration::from_secs(second));
            assert_eq!(pace.told_after(ms(took), slowest), ms(told), "{second}");
        }
        // A failure that waited for a permit is reported at a multiple of `failed_after` too.
        assert_eq!(pace.told_after(ms(130), ms(20)), ms(200));
    }

    /// The next request in the queue must not reveal it either.
    #[tokio::test]
    async fn a_failure_keeps_its_place_until_the_slowest_recent_one_would_have_ended() {
        let slowest = Duration::from_millis(300);
        let hasher = Hasher::new(&Hashing { at_once: 1, failed_after: slowest });
        let begin = Instant::now();
        hasher.pace.slowest(slowest, begin);
        let next = async {
            let _turn = hasher.permits.acquire().await.unwrap();
            begin.elapsed()
        };
        let (told, waited) = tokio::join!(hasher.fits(password(), None), next);
        assert!(!told.unwrap() && waited >= slowest, "{waited:?}");
    }

    #[tokio::test]
    async fn requests_beyond_a_short_queue_are_refused() {
        let hasher = Arc::new(hasher(1));
        let permit = hasher.permits.try_acquire().unwrap();
        let ask = || {
            let hasher = Arc::clone(&hasher);
            tokio::spawn(async move { hasher.fits(password(), Some("!".to_owned())).await })
        };
        let asking: Vec<_> = (0..=QUEUE).map(|_| ask()).collect();
        let all_there = async {
            while hasher.room.available_permits() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), all_there).await.unwrap();
        assert!(matches!(hasher.fits(password(), None).await, Err(HashingFailed::Busy)));
        drop(permit);
        for asked in asking {
            assert!(matches!(asked.await.unwrap(), Ok(false)));
        }
        assert!(matches!(hasher.fits(password(), None).await, Ok(false)), "there is room again");
    }

    #[tokio::test]
    async fn a_new_hash_waits_for_its_turn() {
        let hasher = hasher(1);
        let permit = hasher.permits.try_acquire().unwrap();
        let mut hashing = std::pin::pin!(hasher.hash(password()));
        let waited = tokio::time::timeout(Duration::from_millis(1), hashing.as_mut()).await;
        assert!(waited.is_err());
        drop(permit);
        let stored = hashing.await.unwrap();
        assert!(hasher.fits(password(), Some(stored)).await.unwrap());
    }
}
