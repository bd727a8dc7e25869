//! Hashes and compares passwords, a few at a time, without getting in anybody's way.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{AcquireError, Semaphore, oneshot};
use tokio::time::Instant;

use super::{Password, fits, hash};
use crate::config::settings::Hashing;

/// How many comparisons may wait for each that is being made. Together they wait a few seconds at the very most; who
/// comes later is better told to come again.
const QUEUE: usize = 8;

/// By how much threads that hash stand back behind those that serve (`nice`). On a busy machine they get about a tenth of
/// a core each; on an idle one it makes no difference.
const STAND_BACK: i32 = 10;

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
    failed_after: Duration,
}

impl Hasher {
    pub(in crate::store) fn new(settings: &Hashing) -> Hasher {
        let at_once = settings.at_once.max(1);
        Hasher {
            permits: Arc::new(Semaphore::new(at_once)),
            room: Semaphore::new(at_once.saturating_mul(1 + QUEUE)),
            failed_after: settings.failed_after,
        }
    }

    /// A new hash to keep. Waits for as long as it takes.
    pub(in crate::store) async fn hash(&self, password: Password) -> Result<String, HashingFailed> {
        let (hashed, _) = self.run(move || hash(&password)).await?;
        hashed.map_err(|error| HashingFailed::Failed(error.into()))
    }

    /// Does this password fit? `kept` is `None` for a user who is unknown or switched off.
    ///
    /// "No" comes `failed_after` the work began, or a multiple of that: the time says neither which kind of hash there is
    /// nor whether there is any. Waiting costs no thread and keeps nobody else from being compared.
    pub(in crate::store) async fn fits(&self, password: Password, kept: Option<String>) -> Result<bool, HashingFailed> {
        let place = self.room.try_acquire().map_err(|_| HashingFailed::Busy)?;
        let (fits, begun) = self.run(move || fits(&password, kept.as_deref())).await?;
        drop(place);
        if !fits {
            tokio::time::sleep_until(begun + next_multiple(self.failed_after, begun.elapsed())).await;
        }
        Ok(fits)
    }

    /// Does `work` on a thread of its own, and says when it began. Dropping the future leaves the computation running, and
    /// its permit taken until it ends.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, Instant), HashingFailed> {
        let closed = |error: AcquireError| HashingFailed::Failed(error.into());
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(closed)?;
        let begun = Instant::now();
        let (reply, done) = oneshot::channel();
        let thread = std::thread::Builder::new().name("hash".to_owned()).spawn(move || {
            // Of this thread alone, on Linux; elsewhere of the whole process. Refused, it hashes at ordinary priority.
            if cfg!(target_os = "linux") {
                let _ = rustix::process::nice(STAND_BACK);
            }
            let result = work();
            drop(permit);
            // The asker may have left.
            let _ = reply.send(result);
        });
        thread.map_err(|error| HashingFailed::Failed(error.into()))?;
        let result = done.await.map_err(|error| HashingFailed::Failed(error.into()))?;
        Ok((result, begun))
    }
}

/// The first multiple of `span` that is not before `elapsed`.
fn next_multiple(span: Duration, elapsed: Duration) -> Duration {
    let spans = elapsed.as_nanos().div_ceil(span.as_nanos().max(1)).max(1);
    u32::try_from(spans).map_or(elapsed, |spans| span.saturating_mul(spans))
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
    fn a_failure_is_told_at_multiples_of_its_time() {
        let ms = Duration::from_millis;
        for (elapsed, told) in [(0, 100), (1, 100), (100, 100), (101, 200), (950, 1000)] {
            assert_eq!(next_multiple(ms(100), ms(elapsed)), ms(told));
        }
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
