//! Hashes and compares passwords, a few at a time, without getting in anybody's way.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::{Password, fits, hash};
use crate::config::settings::Hashing;

/// How many comparisons may wait for each that is being made. Together they wait a few seconds at the very most; who
/// comes later is better told to come again.
const QUEUE: usize = 8;

/// By how much threads that hash stand back behind those that serve (`nice`). On a busy machine they get about a tenth
/// of a core each; on an idle one it makes no difference.
const STAND_BACK: i32 = 10;

/// How long a comparison that took long is remembered.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Most multiples of `failed_after` that are remembered: a machine that stood still is no dear hash.
const MOST_REMEMBERED: u32 = 10;

/// A password was neither hashed nor compared.
#[derive(Debug, thiserror::Error)]
pub enum HashingFailed {
    /// Enough others are being compared. Says nothing of the password.
    #[error("too many passwords are being compared at this moment")]
    Busy,
    /// It could not be computed.
    #[error("the password could not be hashed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Hashes and compares.
pub(in crate::store) struct Hasher {
    permits: Arc<Semaphore>,
    /// Comparisons that are being made or wait.
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

    /// A new hash to keep. Waits for as long as it takes.
    pub(in crate::store) async fn hash(&self, password: Password) -> Result<String, HashingFailed> {
        let Done { result: hashed, .. } = self.run(move || hash(&password)).await?;
        hashed.map_err(|error| HashingFailed::Failed(error.into()))
    }

    /// Does this password fit? `kept` is `None` for a user who is unknown or switched off.
    ///
    /// "No" comes `failed_after` the question, or a multiple of that, and until the slowest comparison of late would
    /// have ended it keeps the place of one: neither its own time nor that of whoever waits behind it says which kind
    /// of hash there is, or whether there is any. Waiting costs no thread.
    pub(in crate::store) async fn fits(&self, password: Password, kept: Option<String>) -> Result<bool, HashingFailed> {
        let asked = Instant::now();
        let place = self.room.try_acquire().map_err(|_| HashingFailed::Busy)?;
        let Done { result: fits, begun, permit } = self.run(move || fits(&password, kept.as_deref())).await?;
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

    /// Does `work` on a thread of its own. Dropping the future leaves the computation running, and its permit taken
    /// until it ends.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Done<T>, HashingFailed> {
        let closed = |error: AcquireError| HashingFailed::Failed(error.into());
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(closed)?;
        let begun = Instant::now();
        let (reply, done) = oneshot::channel();
        let thread = std::thread::Builder::new().name("hash".to_owned()).spawn(move || {
            // Of this thread alone, on Linux; elsewhere of the whole process. Refused, it hashes at ordinary priority.
            if cfg!(target_os = "linux") {
                let _ = rustix::process::nice(STAND_BACK);
            }
            // The asker may have left.
            let _ = reply.send(Done { result: work(), begun, permit });
        });
        thread.map_err(|error| HashingFailed::Failed(error.into()))?;
        done.await.map_err(|error| HashingFailed::Failed(error.into()))
    }
}

/// What was computed.
struct Done<T> {
    result: T,
    /// When its turn had come.
    begun: Instant,
    /// Its turn, until it is dropped.
    permit: OwnedSemaphorePermit,
}

/// When failures are told. Where some hashes are dear, or the machine is so busy that they are, failures under all
/// others take as long: what is dear shows in its first failure at most.
struct Pace {
    span: Duration,
    /// The longest that a comparison took of late, and when that was.
    slowest: Mutex<Option<(Duration, Instant)>>,
}

impl Pace {
    /// The slowest comparison of late, with one that took `elapsed` now.
    fn slowest(&self, elapsed: Duration, now: Instant) -> Duration {
        let mut slowest = self.slowest.lock().unwrap_or_else(PoisonError::into_inner);
        let known = slowest.filter(|(_, seen)| now - *seen < REMEMBERED).map_or(Duration::ZERO, |(known, _)| known);
        if elapsed >= known {
            *slowest = Some((elapsed.min(self.span.saturating_mul(MOST_REMEMBERED)), now));
        }
        elapsed.max(known)
    }

    /// How long after it was asked for an answer is told that was known `elapsed` after that, if it is "no".
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
    fn all_failures_are_told_as_late_as_the_slowest_of_late() {
        let (ms, begin) = (Duration::from_millis, Instant::now());
        let pace = Pace { span: ms(100), slowest: Mutex::default() };
        for (second, took, told) in [
            (0, 0, 100),
            (0, 100, 100),
            (1, 101, 200),
            (2, 1, 200),
            (300, 150, 200),
            // Remembered from the last time that it took so long.
            (899, 1, 200),
            (900, 1, 100),
            (901, 950, 1_000),
            (902, 60_000, 60_000),
            (903, 1, 1_000),
        ] {
            let slowest = pace.slowest(ms(took), begin + Duration::from_secs(second));
            assert_eq!(pace.told_after(ms(took), slowest), ms(told), "{second}");
        }
        // Who waited for a turn is told at the end of a span all the same.
        assert_eq!(pace.told_after(ms(130), ms(20)), ms(200));
    }

    /// Who comes behind it learns nothing of it either.
    #[tokio::test]
    async fn a_failure_keeps_its_turn_until_the_slowest_of_late_would_have_ended() {
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
    async fn beyond_a_short_queue_nobody_waits() {
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
    async fn a_hash_to_keep_waits_for_its_turn() {
        let hasher = hasher(1);
        let permit = hasher.permits.try_acquire().unwrap();
        let mut hashing = std::pin::pin!(hasher.hash(password()));
        let waited = tokio::time::timeout(Duration::from_millis(1), hashing.as_mut()).await;
        assert!(waited.is_err());
        drop(permit);
        let kept = hashing.await.unwrap();
        assert!(hasher.fits(password(), Some(kept)).await.unwrap());
    }
}
