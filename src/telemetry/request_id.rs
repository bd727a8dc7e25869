//! Request ids, to find a request in the logs of the gateway and of upstreams.
//!
//! Each worker numbers its requests. A random prefix per process separates the ids of different processes and runs.
//! Used for `X-Request-Id` and the access log. Ids are predictable, so no security may depend on them.

use std::cell::Cell;

use http::HeaderValue;

/// Characters of an id: 13 for the process (64 bits), 2 for the worker, 7 for the count (35 bits).
const LENGTH: usize = 22;
const PROCESS: usize = 13;
const WORKER: usize = 2;

/// Makes the ids of one worker.
#[derive(Debug)]
pub struct RequestIds {
    /// An id with count 0.
    template: [u8; LENGTH],
    next: Cell<u64>,
}

impl RequestIds {
    /// Creates ids that begin with `process`, a random number shared by all workers of the process.
    ///
    /// `worker` distinguishes the workers; only its lowest ten bits are used.
    pub fn new(process: u64, worker: u16) -> RequestIds {
        let mut template = [b'0'; LENGTH];
        let (process_part, rest) = template.split_at_mut(PROCESS);
        let (worker_part, _) = rest.split_at_mut(WORKER);
        write_base32(process_part, process);
        write_base32(worker_part, u64::from(worker));
        RequestIds { template, next: Cell::new(0) }
    }

    /// Returns the next id: 22 digits and lower-case letters.
    pub fn next(&self) -> HeaderValue {
        let count = self.next.get();
        self.next.set(count.wrapping_add(1));
        let mut id = self.template;
        let (_, count_part) = id.split_at_mut(PROCESS + WORKER);
        write_base32(count_part, count);
        // Digits and letters are always a valid header value.
        let mut id = HeaderValue::from_bytes(&id).unwrap_or_else(|_| HeaderValue::from_static("-"));
        // No id occurs twice. This keeps them out of the compression table of HTTP/2, where each would replace a header
        // that does.
        id.set_sensitive(true);
        id
    }
}

/// Fills `out` with the lowest digits of `number`, highest first.
fn write_base32(out: &mut [u8], mut number: u64) {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    for place in out.iter_mut().rev() {
        let digit = usize::try_from(number % 32).ok().and_then(|digit| DIGITS.get(digit));
        *place = digit.copied().unwrap_or(b'0');
        number /= 32;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_id_is_the_process_the_worker_and_the_count() {
        let ids = RequestIds::new(u64::MAX, 33);
        assert_eq!(ids.next(), "fvvvvvvvvvvvv110000000");
        assert_eq!(ids.next(), "fvvvvvvvvvvvv110000001");
        assert_eq!(RequestIds::new(0, 0).next().len(), 22);
    }

    #[test]
    fn no_two_workers_or_processes_share_an_id() {
        let mut seen = HashSet::new();
        for (process, worker) in [(1, 0), (1, 1), (1, 1023), (2, 0), (1 << 63, 0)] {
            let ids = RequestIds::new(process, worker);
            for _ in 0..2_000 {
                assert!(seen.insert(ids.next()), "{process} {worker}");
            }
        }
    }
}
