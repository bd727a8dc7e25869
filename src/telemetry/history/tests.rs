use super::*;
use crate::clock::{Clock, Hand};
use crate::telemetry::Outcome;

struct Site {
    recorders: [Arc<Recorder>; 2],
    history: History,
    clock: Clock,
    hand: Hand,
}

impl Site {
    fn new(most_bytes: usize) -> Site {
        let (clock, hand) = Clock::by_hand(Timestamp::from_micros(1_800_000_000_000_000));
        let history = History::within(clock.now(), most_bytes);
        Site { recorders: [Recorder::new(), Recorder::new()], history, clock, hand }
    }

    fn answer(&self, worker: usize, route: u32, status: u16, count: u64) {
        let upstream = (status != 401).then_some(Duration::from_millis(2));
        for _ in 0..count {
            let took = Duration::from_millis(3);
            self.recorders[worker].route(&name(route).unwrap()).request(
                Outcome::Forwarded,
                Some(status),
                took,
                upstream,
            );
        }
    }

    fn step(&self, after: Duration) {
        self.hand.advance(after);
        self.history.sample(&self.recorders, self.clock.now());
    }
}

/// The name of a route in these tests.
fn name(route: u32) -> RouteName {
    Some(format!("route-{route}").into())
}

fn requests(points: &[Option<Point>]) -> Vec<Option<u64>> {
    points.iter().map(|point| point.as_ref().map(|point| point.counts.requests())).collect()
}

#[test]
fn a_point_has_the_counts_of_all_workers_since_the_previous_one() {
    let site = Site::new(MAX_BYTES);
    site.answer(0, 0, 200, 6);
    site.answer(1, 0, 401, 2);
    site.answer(1, 1, 503, 4);
    site.recorders[0].cache_hit();
    site.recorders[0].connection_accepted();
    site.step(SLOT);
    site.answer(0, 0, 200, 10);
    site.recorders[1].cache_miss();
    site.step(SLOT);
    let window = site.history.window(Reach::Minutes5);
    let all = window.all();
    assert_eq!(all.len(), 150);
    assert_eq!(requests(&all[147..]), [None, Some(12), Some(10)]);
    let (first, second) = (all[148].as_ref().unwrap(), all[149].as_ref().unwrap());
    assert_eq!((first.counts.watched(401), first.counts.watched(503)), (2, 4));
    assert_eq!(first.per_second(first.counts.requests()), 6.0);
    assert_eq!((first.hit_rate(), second.hit_rate(), second.connections), (Some(1.0), Some(0.0), 1));
    assert_eq!(requests(&window.of(|route| route == Some("route-0"))[148..]), [Some(8), Some(10)]);
    let (sums, span) = window.by_route();
    assert_eq!(sums.values().map(Counts::requests).collect::<Vec<_>>(), [18, 4]);
    assert_eq!((sums[&name(0)].upstream.count(), span), (16, 2 * SLOT));
}

#[test]
fn requests_without_a_route_have_no_name() {
    let site = Site::new(MAX_BYTES);
    site.recorders[0].unrouted().request(Outcome::NoRoute, Some(404), SLOT, None);
    site.step(SLOT);
    let (sums, _) = site.history.window(Reach::Hour).by_route();
    assert_eq!(sums[&None].requests(), 1);
}

#[test]
fn ever_new_names_do_not_add_up_and_the_totals_stay() {
    let site = Site::new(MAX_BYTES);
    for route in 0..3 * u32::try_from(MAX_NAMES).unwrap() {
        site.answer(0, route, 200, 1);
        if route % 512 == 511 {
            site.step(SLOT);
            site.recorders[0].forget_unused();
        }
    }
    assert!(site.history.kept().names.len() <= MAX_NAMES);
    let window = site.history.window(Reach::Minutes5);
    assert_eq!(requests(&window.all()).into_iter().flatten().sum::<u64>(), 3 * u64::try_from(MAX_NAMES).unwrap());
    assert!(window.by_route().0.contains_key(&name(3 * u32::try_from(MAX_NAMES).unwrap() - 1)));
}

#[test]
fn a_step_that_was_missed_is_a_gap_and_a_late_one_is_none() {
    let site = Site::new(MAX_BYTES);
    for after in [2_000, 2_900, 1_100, 8_000] {
        site.answer(0, 0, 200, 1);
        site.step(Duration::from_millis(after));
    }
    let all = site.history.window(Reach::Minutes5).all();
    assert_eq!(requests(&all[143..]), [Some(1), Some(1), Some(1), None, None, None, Some(1)]);
}

#[test]
fn requests_in_a_long_gap_are_dropped_and_lower_no_rate() {
    let site = Site::new(MAX_BYTES);
    let rate = |reach| {
        let (sums, span) = site.history.window(reach).by_route();
        let requests = sums[&name(0)].requests();
        (requests, per_second(requests, span))
    };
    for after in [SLOT, SLOT, Duration::from_secs(600), SLOT] {
        site.answer(0, 0, 200, 8);
        site.step(after);
    }
    assert_eq!(rate(Reach::Minutes5), (8, 4.0));
    assert_eq!(rate(Reach::Hour), (24, 4.0));
    let versions = [SLOT, MAX_INTERVAL, MAX_INTERVAL + SLOT].map(|after| {
        site.step(after);
        site.history.version()
    });
    assert!(versions.is_sorted_by(|a, b| a < b), "a gap is something new to show: {versions:?}");
    let all = site.history.window(Reach::Minutes5).all();
    let points = [128, 138, 139, 149].map(|at| all[at].is_some());
    assert_eq!(points, [true, true, false, false], "what was before it moves on");
}

#[test]
fn a_clock_that_stops_or_goes_back_gives_valid_figures() {
    let site = Site::new(MAX_BYTES);
    for back in [0, 3_600] {
        site.answer(0, 0, 200, 4);
        site.hand.set(Timestamp::from_micros(site.clock.now().as_micros() - back * 1_000_000));
        site.step(Duration::ZERO);
    }
    let all = site.history.window(Reach::Minutes5).all();
    assert_eq!(requests(&all[147..]), [None, Some(4), Some(4)]);
    assert!(all.iter().flatten().all(|point| point.per_second(point.counts.requests()) == 2.0));
}

#[test]
fn longer_windows_have_wider_points_up_to_an_hour() {
    let site = Site::new(MAX_BYTES);
    for _ in 0..2_000 {
        site.answer(0, 0, 200, 1);
        site.step(SLOT);
    }
    for (reach, points, least) in [(Reach::Minutes5, 150, 150), (Reach::Minutes15, 150, 448), (Reach::Hour, 180, 1_791)]
    {
        let all = site.history.window(reach).all();
        assert_eq!(all.len(), points);
        assert!(all.iter().all(Option::is_some));
        let sum: u64 = requests(&all).into_iter().flatten().sum();
        assert!((least..=reach.minutes() * 30).contains(&sum), "{reach:?}: {sum}");
    }
    assert_eq!(site.history.kept().slots.len(), 1_800);
}

#[test]
fn details_of_many_routes_stay_within_the_limit_and_the_newest_stay() {
    let site = Site::new(64 << 10);
    for _ in 0..50 {
        for route in 0..300 {
            site.answer(0, route, 200, 3);
        }
        site.step(SLOT);
        assert!(site.history.bytes() <= 64 << 10);
    }
    let window = site.history.window(Reach::Minutes5);
    let sum = |points: &[Option<Point>]| requests(points).into_iter().flatten().sum::<u64>();
    assert_eq!(sum(&window.all()), 50 * 900, "the sums stay");
    let one = window.of(|route| route == Some("route-299"));
    assert!(one[149].is_some() && one[100].is_none(), "the oldest goes first");
    let (sums, span) = window.by_route();
    assert_eq!(per_second(sums[&name(0)].requests(), span), 1.5, "and the rate is that of the time that is left");
}

#[test]
fn a_busy_route_takes_about_thirty_bytes_of_a_slot_and_an_idle_one_none() {
    let site = Site::new(MAX_BYTES);
    for (status, count) in [(200, 9_000), (304, 500), (401, 300), (404, 20), (503, 3)] {
        site.answer(0, 3, status, count);
    }
    for micros in [90, 200, 400, 900, 2_000, 20_000, 90_000] {
        let took = Duration::from_micros(micros);
        site.recorders[1].route(&name(3).unwrap()).request(Outcome::Forwarded, Some(200), took, Some(took));
    }
    site.step(SLOT);
    assert!((20..=45).contains(&site.history.bytes()), "{}", site.history.bytes());
    site.step(SLOT);
    assert!(site.history.bytes() <= 45);
}
