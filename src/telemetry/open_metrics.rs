//! The metrics page as OpenMetrics 1.0, made from the Prometheus text.
//!
//! Used for scrapes that ask for it. The differences: a family of counters has its name without `_total`, units are
//! named, bounds are written as numbers with a point, and the page ends with `# EOF`.

use std::fmt::Write;

/// The media type of OpenMetrics.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Units that names of families end with.
const UNITS: [&str; 2] = ["seconds", "bytes"];

/// Converts a page in the Prometheus text format.
pub fn from_prometheus(page: &str) -> String {
    let mut converted = String::with_capacity(page.len() + page.len() / 8);
    // Writing into a String cannot fail.
    for line in page.lines() {
        let _ = match line.strip_prefix("# ").and_then(|rest| rest.split_once(' ')) {
            Some((keyword @ ("HELP" | "TYPE"), rest)) => write_about(&mut converted, keyword, rest),
            _ => match line.split_once("le=\"") {
                Some((before, rest)) => write_bound(&mut converted, before, rest),
                None => writeln!(converted, "{line}"),
            },
        };
    }
    converted.push_str("# EOF\n");
    converted
}

/// Writes a line about a family. That with its type is followed by its unit.
fn write_about(out: &mut String, keyword: &str, rest: &str) -> std::fmt::Result {
    let (name, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let family = name.strip_suffix("_total").unwrap_or(name);
    writeln!(out, "# {keyword} {family} {text}")?;
    let unit = UNITS.iter().find(|unit| family.strip_suffix(*unit).is_some_and(|rest| rest.ends_with('_')));
    match unit.filter(|_| keyword == "TYPE") {
        Some(unit) => writeln!(out, "# UNIT {family} {unit}"),
        None => Ok(()),
    }
}

/// Writes a bucket; whole numbers get a point.
fn write_bound(out: &mut String, before: &str, rest: &str) -> std::fmt::Result {
    let (bound, rest) = rest.split_once('"').unwrap_or((rest, ""));
    let point = if bound.bytes().all(|byte| byte.is_ascii_digit()) { ".0" } else { "" };
    writeln!(out, "{before}le=\"{bound}{point}\"{rest}")
}

#[cfg(test)]
mod tests {
    use super::from_prometheus;

    #[test]
    fn names_units_bounds_and_the_end_are_those_of_open_metrics() {
        let page = "# HELP x_requests_total Requests.\n# TYPE x_requests_total counter\nx_requests_total{a=\"b\"} 3\n\
                    # HELP x_seconds Time.\n# TYPE x_seconds histogram\nx_seconds_bucket{le=\"0.5\"} 1\n\
                    x_seconds_bucket{r=\"s\",le=\"1\"} 2\nx_seconds_bucket{le=\"+Inf\"} 2\n\
                    # HELP x_held_bytes Held.\n# TYPE x_held_bytes gauge\nx_held_bytes 1\n\
                    # HELP x_up_ok Whether it is up.\n# TYPE x_up_ok gauge\nx_up_ok 1\n";
        let wanted = "# HELP x_requests Requests.\n# TYPE x_requests counter\nx_requests_total{a=\"b\"} 3\n\
                      # HELP x_seconds Time.\n# TYPE x_seconds histogram\n# UNIT x_seconds seconds\n\
                      x_seconds_bucket{le=\"0.5\"} 1\nx_seconds_bucket{r=\"s\",le=\"1.0\"} 2\nx_seconds_bucket{le=\"+Inf\"} 2\n\
                      # HELP x_held_bytes Held.\n# TYPE x_held_bytes gauge\n# UNIT x_held_bytes bytes\nx_held_bytes 1\n\
                      # HELP x_up_ok Whether it is up.\n# TYPE x_up_ok gauge\nx_up_ok 1\n# EOF\n";
        assert_eq!(from_prometheus(page), wanted);
    }
}
