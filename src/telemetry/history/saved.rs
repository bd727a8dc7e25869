//! The history as bytes of a file, so that the last hour survives a restart.
//!
//! Numbers are little-endian base 128, as in [`packed`](super::packed). A file of another version, or one that is
//! damaged, is not read: the charts then begin empty.

use std::sync::Arc;
use std::time::Duration;

use super::counts::Counts;
use super::packed::{pack, read, unpack, write};
use super::{History, Kept, MAX_INTERVAL, MAX_NAMES, RouteName, SLOTS, Slot, Sums, steps};
use crate::clock::Timestamp;

/// The beginning of a file; the number is that of the format.
/// The first bytes of the file, in each version.
pub const FILE_KIND: &[u8] = b"tokengate traffic ";

const MAGIC: &[u8] = b"tokengate traffic 1\n";

/// Maximum length of the name of a route in bytes.
const MAX_NAME: usize = 1 << 10;

impl History {
    /// Returns the last hour as bytes.
    pub fn save(&self) -> Vec<u8> {
        let at = self.last_read();
        let kept = self.kept();
        let mut out = MAGIC.to_vec();
        write(&mut out, number(Counts::FIELDS));
        write(&mut out, u64::try_from(at.as_micros()).unwrap_or(0));
        write(&mut out, kept.number);
        write(&mut out, number(kept.names.len()));
        for name in kept.names.iter() {
            write_bytes(&mut out, name.as_deref().map(str::as_bytes));
        }
        write(&mut out, number(kept.slots.len()));
        for slot in &kept.slots {
            let sums = &slot.sums;
            write(&mut out, slot.number);
            write(&mut out, u64::try_from(sums.span.as_micros()).unwrap_or(u64::MAX));
            [sums.hits, sums.misses, sums.connections].into_iter().for_each(|count| write(&mut out, count));
            write_bytes(&mut out, Some(&pack(&[(0, sums.counts.clone())])));
            write_bytes(&mut out, slot.routes.as_deref());
        }
        out
    }

    /// Takes over the last hour of an earlier process, if these bytes have one and nothing was sampled yet. Returns
    /// whether they do.
    pub fn restore(&self, bytes: &[u8], now: Timestamp) -> bool {
        let Some((mut saved, at)) = parse(bytes) else { return false };
        let mut kept = self.kept();
        // A clock that was set back would move the charts into the future.
        if !kept.slots.is_empty() || at.since(now) > MAX_INTERVAL {
            return false;
        }
        saved.go_on(steps(now.since(at)));
        *kept = saved;
        true
    }
}

/// The history, and the time of its newest step.
fn parse(mut bytes: &[u8]) -> Option<(Kept, Timestamp)> {
    bytes = bytes.strip_prefix(MAGIC)?;
    let bytes = &mut bytes;
    if read(bytes)? != number(Counts::FIELDS) {
        return None;
    }
    let at = Timestamp::from_micros(i64::try_from(read(bytes)?).ok()?);
    let newest = read(bytes)?;
    let mut kept = Kept { number: newest, ..Kept::default() };
    let mut names: Vec<RouteName> = Vec::new();
    for number in 0..bounded(read(bytes)?, 2 * MAX_NAMES)? {
        let name: RouteName = match read_bytes(bytes)? {
            Some(name) if name.len() <= MAX_NAME => Some(std::str::from_utf8(name).ok()?.into()),
            Some(_) => return None,
            None => None,
        };
        kept.numbers.insert(name.clone(), number);
        names.push(name);
    }
    kept.names = Arc::new(names);
    let mut before = None;
    for _ in 0..bounded(read(bytes)?, usize::try_from(SLOTS).ok()?)? {
        let slot = read_slot(bytes)?;
        if before >= Some(slot.number) || slot.number > newest {
            return None;
        }
        before = Some(slot.number);
        kept.bytes = kept.bytes.checked_add(slot.routes.as_ref().map_or(0, |routes| routes.len()))?;
        kept.slots.push_back(slot);
    }
    (bytes.is_empty() && kept.bytes <= super::MAX_BYTES).then_some((kept, at))
}

fn read_slot(bytes: &mut &[u8]) -> Option<Slot> {
    let (number, span) = (read(bytes)?, Duration::from_micros(read(bytes)?));
    let (hits, misses, connections) = (read(bytes)?, read(bytes)?, read(bytes)?);
    let mut counts = Counts::default();
    unpack(read_bytes(bytes)??, |_, one| counts += one);
    let routes = read_bytes(bytes)?.map(Arc::from);
    Some(Slot { number, sums: Arc::new(Sums { span, counts, hits, misses, connections }), routes })
}

/// Writes a text with its length; one more, so that 0 stands for none.
fn write_bytes(out: &mut Vec<u8>, text: Option<&[u8]>) {
    write(out, text.map_or(0, |text| number(text.len()).saturating_add(1)));
    out.extend_from_slice(text.unwrap_or_default());
}

fn read_bytes<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let Some(length) = read(bytes)?.checked_sub(1) else { return Some(None) };
    let (text, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(Some(text))
}

fn bounded(number: u64, most: usize) -> Option<usize> {
    usize::try_from(number).ok().filter(|number| *number <= most)
}

fn number(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::Reach;
    use super::*;
    use crate::telemetry::{Outcome, Recorder};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000 + seconds * 1_000_000)
    }

    /// A history of some seconds, in each of which `api` and requests without a route have one more request.
    fn lived(seconds: i64) -> History {
        let (history, recorder) = (History::new(at(0)), Recorder::new());
        for second in (2..=seconds).step_by(2) {
            for _ in 0..second {
                recorder.route(&"api".into()).request(Outcome::Forwarded, Some(200), SLOT_PART, Some(SLOT_PART));
            }
            recorder.unrouted().request(Outcome::NoRoute, Some(404), SLOT_PART, None);
            recorder.cache_hit();
            history.sample(std::slice::from_ref(&recorder), at(second));
        }
        history
    }

    const SLOT_PART: Duration = Duration::from_millis(3);

    fn requests(history: &History) -> Vec<Option<u64>> {
        let points = history.window(Reach::Minutes5).of(|route| route == Some("api"));
        points.into_iter().map(|point| point.map(|point| point.counts.requests())).collect()
    }

    #[test]
    fn what_was_saved_is_there_again_and_the_time_between_is_a_gap() {
        let old = lived(20);
        let new = History::new(at(30));
        assert!(new.restore(&old.save(), at(30)));
        let (before, after) = (requests(&old), requests(&new));
        assert_eq!(before[before.len() - 10..], (1..=10).map(|n| Some(2 * n)).collect::<Vec<_>>());
        let expected: Vec<_> = (1..=10).map(|n| Some(2 * n)).chain([None; 5]).collect();
        assert_eq!(after[after.len() - 15..], expected);
        assert_eq!(new.window(Reach::Hour).by_route().0[&Some("api".into())].requests(), 110);
        // It goes on.
        let recorder = Recorder::new();
        recorder.route(&"api".into()).request(Outcome::Forwarded, Some(200), SLOT_PART, None);
        new.sample(std::slice::from_ref(&recorder), at(32));
        assert_eq!(requests(&new).last(), Some(&Some(1)));
        assert!(!new.restore(&old.save(), at(32)), "a history that has begun stays");
    }

    #[test]
    fn what_is_older_than_an_hour_or_from_the_future_is_not_shown() {
        let saved = lived(20).save();
        let late = History::new(at(4_000));
        late.restore(&saved, at(4_000));
        assert!(late.window(Reach::Hour).all().iter().all(Option::is_none));
        let early = History::new(at(-10));
        assert!(!early.restore(&saved, at(-10)));
    }

    #[test]
    fn damaged_bytes_are_not_read_and_nothing_panics() {
        let saved = lived(20).save();
        for cut in 0..saved.len() {
            assert!(!History::new(at(30)).restore(&saved[..cut], at(30)), "{cut}");
        }
        for place in 0..saved.len() {
            for flip in [1, 0x80, 0xff] {
                let mut damaged = saved.clone();
                damaged[place] ^= flip;
                History::new(at(30)).restore(&damaged, at(30));
            }
        }
        assert!(!History::new(at(30)).restore(&[&saved[..], b"x"].concat(), at(30)));
    }
}
