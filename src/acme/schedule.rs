//! When a certificate is renewed, and when a failed order is repeated. Pure.

use std::time::Duration;

use crate::clock::Timestamp;

/// The longest pause between failed orders.
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3_600);
/// How often the CA is asked for its window if it does not say.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(6 * 3_600);

/// The time in which the CA wants a certificate renewed (RFC 9773).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub start: Timestamp,
    pub end: Timestamp,
}

/// When a certificate is renewed: at a point of the CA's window, else after two thirds of its validity. `spot`, from 0
/// to 1, spreads certificates over the window.
pub(super) fn renewal(begin: Timestamp, end: Timestamp, window: Option<Window>, spot: f64) -> Timestamp {
    let lifetime = end.since(begin);
    let own = begin.after(lifetime / 3 * 2);
    let wanted = window.filter(|window| window.end > window.start);
    let wanted = wanted.map(|window| window.start.after(window.end.since(window.start).mul_f64(spot.clamp(0.0, 1.0))));
    // A window that ends after the certificate would leave clients without a valid one.
    wanted.filter(|wanted| *wanted < end).unwrap_or(own)
}

/// The pause after this number of failures in a row, at least one. It doubles each time, and is up to a quarter longer,
/// so that gateways which failed together do not return together.
pub(super) fn pause(first: Duration, failures: u32, spot: f64) -> Duration {
    let doubled = first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(30)));
    doubled.min(LONGEST_PAUSE.max(first)).mul_f64(1.0 + spot.clamp(0.0, 1.0) / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn day(day: i64) -> Timestamp {
        Timestamp::from_micros(day * DAY * 1_000_000)
    }

    #[test]
    fn a_certificate_is_renewed_in_the_window_of_the_ca_or_after_two_thirds_of_its_life() {
        let window = |start, end| Some(Window { start: day(start), end: day(end) });
        for (window, spot, renewed) in [
            (None, 0.3, day(60)),
            (window(70, 72), 0.0, day(70)),
            (window(70, 72), 0.5, day(71)),
            (window(70, 72), 9.0, day(72)),
            // The CA wants it back at once.
            (window(-9, -8), 0.5, day(-9).after(Duration::from_secs(43_200))),
            // Not a window; after the end.
            (window(72, 72), 0.5, day(60)),
            (window(72, 70), 0.5, day(60)),
            (window(89, 100), 0.5, day(60)),
        ] {
            assert_eq!(renewal(day(0), day(90), window, spot), renewed, "{window:?} {spot}");
        }
        assert_eq!(renewal(day(5), day(5), None, 0.5), day(5));
    }

    #[test]
    fn pauses_double_up_to_six_hours_and_are_spread() {
        let first = Duration::from_secs(120);
        let pauses: Vec<u64> = (1..=9).map(|failures| pause(first, failures, 0.0).as_secs()).collect();
        assert_eq!(pauses, [120, 240, 480, 960, 1_920, 3_840, 7_680, 15_360, 21_600]);
        assert_eq!(pause(first, u32::MAX, 1.0), Duration::from_secs(27_000));
        assert_eq!(pause(first, 1, 1.0), Duration::from_secs(150));
        let day = Duration::from_secs(86_400);
        assert_eq!(pause(day, 5, 0.0), day, "a longer first pause is respected");
    }
}
