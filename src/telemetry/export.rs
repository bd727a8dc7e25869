//! Metrics in the Prometheus text format 0.0.4.
//!
//! The control half calls it for each scrape. It sums the recorders of all workers per route and adds its own counters.
//! Outcomes and statuses that a route never had are omitted, which keeps the page short. It only reads, so it never
//! delays a worker.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::endpoints::EndpointNumbers;
use super::metrics::{BUCKETS, Histogram, Outcome, StatusClass};
use super::process_counters::{ProcessCounters, RateCounters};
use super::recorder::{Recorder, RouteCounters};

/// The media type of the output of [`prometheus`].
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The label of requests without a route.
const NO_ROUTE: &str = "-";

/// Formats the sum of all recorders and the counters of the control half.
pub fn prometheus(recorders: &[Arc<Recorder>], counters: &ProcessCounters) -> String {
    let mut page = String::with_capacity(16 << 10);
    // Writing into a String cannot fail.
    let _ = write_page(&mut page, recorders, counters);
    page
}

fn write_page(page: &mut String, recorders: &[Arc<Recorder>], counters: &ProcessCounters) -> fmt::Result {
    let mut routes: BTreeMap<Arc<str>, RouteSum> = BTreeMap::new();
    for (name, counters) in recorders.iter().flat_map(|recorder| recorder.routes()) {
        routes.entry(name.unwrap_or_else(|| NO_ROUTE.into())).or_default().add(&counters);
    }

    family(page, "tokengate_requests_total", "counter", "Requests by route and outcome.")?;
    for (route, sum) in &routes {
        let route = Label(route);
        for (outcome, count) in Outcome::ALL.iter().zip(sum.outcomes).filter(|(_, count)| *count > 0) {
            let outcome = outcome.code();
            writeln!(page, "tokengate_requests_total{{route=\"{route}\",outcome=\"{outcome}\"}} {count}")?;
        }
    }
    family(page, "tokengate_responses_total", "counter", "Responses by route and status class.")?;
    for (route, sum) in &routes {
        let route = Label(route);
        for (class, count) in StatusClass::ALL.iter().zip(sum.statuses).filter(|(_, count)| *count > 0) {
            let class = class.label();
            writeln!(page, "tokengate_responses_total{{route=\"{route}\",class=\"{class}\"}} {count}")?;
        }
    }
    family(
        page,
        "tokengate_request_seconds",
        "histogram",
        "Duration of requests, from the request to the end of the response.",
    )?;
    for (route, sum) in &routes {
        sum.total.write(page, "tokengate_request_seconds", &format!("route=\"{}\"", Label(route)))?;
    }
    let upstreams = counters.upstreams.lock().unwrap_or_else(PoisonError::into_inner).clone();
    family(page, "tokengate_upstream_seconds", "histogram", "Time spent waiting for the upstream.")?;
    for (route, sum) in &routes {
        let upstream = upstreams.get(route).map(|name| format!(",upstream=\"{}\"", Label(name))).unwrap_or_default();
        let labels = format!("route=\"{}\"{upstream}", Label(route));
        sum.upstream.write(page, "tokengate_upstream_seconds", &labels)?;
    }
    for (name, kind, help, value) in counters.all() {
        family(page, name, kind, help)?;
        writeln!(page, "{name} {value}")?;
    }
    family(page, "tokengate_turned_away_total", "counter", "Connections and handshakes ended by a limit, by limit.")?;
    for (limit, count) in counters.turned_away.counts() {
        writeln!(page, "tokengate_turned_away_total{{limit=\"{limit}\"}} {count}")?;
    }
    write_rates(page, counters)?;
    write_certificates(page, counters)?;
    write_acme(page, counters)?;
    write_endpoints(page, counters)?;
    write_process(page, recorders)
}

fn write_rates(page: &mut String, counters: &ProcessCounters) -> fmt::Result {
    type Read = fn(&RateCounters) -> u64;
    let rates = counters.rates();
    let numbers: [(&str, &str, Read); 4] = [
        ("tokengate_rate_refused_total", "Requests refused by a rate or quota.", |rate| rate.refused.get()),
        ("tokengate_rate_lookups_total", "Questions to Redis about a rate, or to the store about a quota.", |rate| {
            rate.lookups.get()
        }),
        ("tokengate_rate_alone_total", "Questions about a rate or quota that were not answered.", |rate| {
            rate.alone.get()
        }),
        (
            "tokengate_rate_forgotten_total",
            "Keys that a rate or quota forgot too early because it had no room.",
            |rate| rate.forgotten.load(Ordering::Relaxed),
        ),
    ];
    for (name, help, read) in numbers {
        family(page, name, "counter", help)?;
        for (rate, counters) in &rates {
            writeln!(page, "{name}{{rate=\"{}\"}} {}", Label(rate), read(counters))?;
        }
    }
    Ok(())
}

fn write_certificates(page: &mut String, counters: &ProcessCounters) -> fmt::Result {
    let certificates = counters.certificates.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (name, help) = ("tokengate_certificate_not_after_timestamp_seconds", "When each certificate expires.");
    family(page, name, "gauge", help)?;
    for certificate in &certificates {
        writeln!(page, "{name}{{certificate=\"{}\"}} {}", Label(&certificate.name), certificate.not_after)?;
    }
    let (name, help) = ("tokengate_certificate_reload_ok", "Whether the certificate in use is the one in its files.");
    family(page, name, "gauge", help)?;
    for certificate in &certificates {
        let is_current = u8::from(certificate.is_current);
        writeln!(page, "{name}{{certificate=\"{}\"}} {is_current}", Label(&certificate.name))?;
    }
    let lists = counters.revocation_lists.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let name = "tokengate_revocation_list_expires_timestamp_seconds";
    family(page, name, "gauge", "When the first revocation list of each listener expires.")?;
    for (listener, end) in &lists {
        writeln!(page, "{name}{{listener=\"{}\"}} {end}", Label(listener))?;
    }
    Ok(())
}

fn write_acme(page: &mut String, counters: &ProcessCounters) -> fmt::Result {
    let states = counters.acme.lock().unwrap_or_else(PoisonError::into_inner).clone();
    family(page, "tokengate_acme_issued_total", "counter", "Certificates that the CA has issued.")?;
    for (name, state) in &states {
        writeln!(page, "tokengate_acme_issued_total{{certificate=\"{}\"}} {}", Label(name), state.issued)?;
    }
    family(page, "tokengate_acme_failures_total", "counter", "Attempts that gave no certificate.")?;
    for (name, state) in &states {
        writeln!(page, "tokengate_acme_failures_total{{certificate=\"{}\"}} {}", Label(name), state.failures)?;
    }
    let unanswered = "tokengate_acme_unanswered_total";
    family(page, unanswered, "counter", "Questions about the time of a renewal that the CA did not answer.")?;
    for (name, state) in &states {
        writeln!(page, "{unanswered}{{certificate=\"{}\"}} {}", Label(name), state.unanswered)?;
    }
    let renewal = "tokengate_acme_renewal_timestamp_seconds";
    family(page, renewal, "gauge", "When each certificate of a CA is to be renewed.")?;
    for (name, state) in &states {
        if let Some(time) = state.renewal {
            writeln!(page, "{renewal}{{certificate=\"{}\"}} {}", Label(name), time.as_seconds())?;
        }
    }
    Ok(())
}

fn write_endpoints(page: &mut String, counters: &ProcessCounters) -> fmt::Result {
    let endpoints = counters.endpoints.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let read: Vec<_> = endpoints.iter().map(|one| (one, (one.read)())).collect();
    for (name, kind, help, value) in EndpointNumbers::METRICS {
        family(page, name, kind, help)?;
        for (one, numbers) in &read {
            let (upstream, endpoint) = (Label(&one.upstream), Label(&one.endpoint));
            writeln!(page, "{name}{{upstream=\"{upstream}\",endpoint=\"{endpoint}\"}} {}", value(numbers))?;
        }
    }
    Ok(())
}

/// The metrics that are not per route.
fn write_process(page: &mut String, recorders: &[Arc<Recorder>]) -> fmt::Result {
    type Read = fn(&Recorder) -> u64;
    let numbers: [(&str, &str, &str, Read); 7] = [
        ("tokengate_connections_open", "gauge", "Open client connections.", Recorder::connections_open),
        (
            "tokengate_connections_accepted_total",
            "counter",
            "Client connections accepted.",
            Recorder::connections_accepted,
        ),
        (
            "tokengate_handshake_failures_total",
            "counter",
            "TLS handshakes that failed or timed out.",
            Recorder::handshake_failures,
        ),
        (
            "tokengate_http2_floods_total",
            "counter",
            "HTTP/2 connections ended because of a flood of frames.",
            Recorder::floods,
        ),
        ("tokengate_cache_hits_total", "counter", "Token lookups answered from memory.", Recorder::cache_hits),
        ("tokengate_cache_misses_total", "counter", "Tokens not found in memory.", Recorder::cache_misses),
        (
            "tokengate_access_log_dropped_total",
            "counter",
            "Access log lines that were lost.",
            Recorder::dropped_log_lines,
        ),
    ];
    for (name, kind, help, read) in numbers {
        family(page, name, kind, help)?;
        let sum: u64 = recorders.iter().map(|recorder| read(recorder)).sum();
        writeln!(page, "{name} {sum}")?;
    }
    family(page, "tokengate_build_info", "gauge", "The running version.")?;
    writeln!(page, "tokengate_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))
}

fn family(page: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

/// The counters of one route, summed over all workers.
struct RouteSum {
    outcomes: [u64; Outcome::COUNT],
    statuses: [u64; StatusClass::ALL.len()],
    total: HistogramSum,
    upstream: HistogramSum,
}

/// Written by hand: arrays longer than 32 implement no `Default`.
impl Default for RouteSum {
    fn default() -> RouteSum {
        RouteSum {
            outcomes: [0; Outcome::COUNT],
            statuses: [0; StatusClass::ALL.len()],
            total: HistogramSum::default(),
            upstream: HistogramSum::default(),
        }
    }
}

impl RouteSum {
    fn add(&mut self, counters: &RouteCounters) {
        for (sum, outcome) in self.outcomes.iter_mut().zip(Outcome::ALL) {
            *sum += counters.outcome(*outcome);
        }
        for (sum, class) in self.statuses.iter_mut().zip(StatusClass::ALL) {
            *sum += counters.status(class);
        }
        self.total.add(&counters.total);
        self.upstream.add(&counters.upstream);
    }
}

#[derive(Default)]
struct HistogramSum {
    counts: [u64; BUCKETS.len() + 1],
    micros: u64,
}

impl HistogramSum {
    fn add(&mut self, histogram: &Histogram) {
        for (sum, count) in self.counts.iter_mut().zip(histogram.counts()) {
            *sum += count;
        }
        self.micros = self.micros.wrapping_add(histogram.micros());
    }

    fn write(&self, page: &mut String, name: &str, labels: &str) -> fmt::Result {
        let bounds = BUCKETS.iter().map(|(_, seconds)| *seconds).chain(["+Inf"]);
        let mut below = 0;
        for (bound, count) in bounds.zip(self.counts) {
            below += count;
            writeln!(page, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}")?;
        }
        let (seconds, micros) = (self.micros / 1_000_000, self.micros % 1_000_000);
        writeln!(page, "{name}_sum{{{labels}}} {seconds}.{micros:06}")?;
        writeln!(page, "{name}_count{{{labels}}} {below}")
    }
}

/// Escapes a label value.
struct Label<'a>(&'a str);

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                _ => f.write_char(char)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::endpoints::EndpointGauge;
    use super::super::process_counters::{AcmeState, CertificateGauge};
    use super::*;

    fn page() -> String {
        let (orders, odd): (Arc<str>, Arc<str>) = ("orders".into(), "a\"b\\c\nd".into());
        let workers = [Recorder::new(), Recorder::new()];
        for worker in &workers {
            worker.connection_accepted();
            worker.connection_accepted();
            worker.connection_closed();
            worker.cache_hit();
            let (total, upstream) = (Duration::from_micros(1_500), Some(Duration::from_micros(900)));
            let status = Some(200);
            worker.route(&orders).request(Outcome::Forwarded, status, total, upstream);
        }
        let [first, second] = &workers;
        let refused = Some(401);
        second.route(&orders).request(Outcome::Revoked, refused, Duration::from_micros(40), None);
        second.unrouted().request(Outcome::NoRoute, refused, Duration::from_secs(61), None);
        first.route(&odd).request(Outcome::ClientGone, None, Duration::ZERO, None);
        first.cache_miss();
        first.handshake_failed();
        first.log_lines_dropped(7);
        let counters = ProcessCounters::default();
        counters.store_questions.add(3);
        counters.rate("per-token").refused.add(2);
        let certificate = CertificateGauge { name: "main".to_owned(), not_after: 1_800_000_000, is_current: true };
        *counters.certificates.lock().unwrap() = vec![certificate];
        *counters.revocation_lists.lock().unwrap() = vec![("public".to_owned(), 1_790_000_000)];
        counters.upstreams.lock().unwrap().insert(Arc::clone(&orders), "shop".to_owned());
        let renewal = Some(crate::clock::Timestamp::from_micros(1_799_000_000_000_000));
        let issued = AcmeState { issued: 2, failures: 1, unanswered: 3, renewal, ..AcmeState::default() };
        counters.acme.lock().unwrap().insert("main".to_owned(), issued);
        let numbers = EndpointNumbers { available: true, connections: 2, failures: 3, ejections: 4, retries: 5 };
        let (upstream, endpoint) = ("api".to_owned(), "10.0.0.1:80".to_owned());
        *counters.endpoints.lock().unwrap() =
            vec![EndpointGauge { upstream, endpoint, read: Arc::new(move || numbers) }];
        prometheus(&workers, &counters)
    }

    #[test]
    fn the_page_is_the_sum_of_all_workers() {
        let golden = include_str!("export.golden").replace("{version}", env!("CARGO_PKG_VERSION"));
        for (line, (found, wanted)) in page().lines().zip(golden.lines()).enumerate() {
            assert_eq!(found, wanted, "line {}", line + 1);
        }
        assert_eq!(page(), golden);
    }

    #[test]
    fn every_line_belongs_to_a_family_that_was_announced() {
        let page = page();
        let mut families = Vec::new();
        for line in page.lines() {
            match line.strip_prefix("# TYPE ").and_then(|line| line.split(' ').next()) {
                Some(name) => families.push(name),
                None => assert!(line.starts_with("# HELP ") || line.starts_with(families.last().unwrap()), "{line}"),
            }
        }
    }
}
