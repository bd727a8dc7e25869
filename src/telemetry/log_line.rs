//! Formats one request as an access log line: in text (logfmt), in JSON with the names of one convention, or as a
//! template.
//!
//! [`super::AccessLog`] uses it for every request, so it appends to a reused buffer and allocates nothing. Text from
//! clients is escaped: a line stays one line, a value stays inside its quotes, and a terminal receives no control
//! characters. There is no key for a query or credentials.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use http::Version;

use super::log_names::{Names, Peer, Unit};
use super::log_template::LogTemplate;
use super::log_text::{is_plain, network, write_decimal, write_id, write_ip, write_millis, write_text, write_time};
use super::metrics::Outcome;
use super::second_text::SecondText;
use super::shared_rules::Redact;
use crate::clock::Timestamp;

/// How lines are written.
#[derive(Clone, Copy)]
pub(super) enum Style<'a> {
    /// Each fact has a name.
    Names(&'static Names),
    /// The operator's form.
    Template(&'a LogTemplate),
}

/// The facts about one request. `None` and empty texts are omitted.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// When its response ended.
    pub time: Timestamp,
    /// Its id, as in `X-Request-Id`.
    pub request_id: &'a str,
    /// The address of the peer.
    pub peer: SocketAddr,
    /// The HTTP version of the client's connection; `None` if no request head could be read.
    pub version: Option<Version>,
    /// The method.
    pub method: &'a str,
    /// The path. Never the query, which may contain secrets.
    pub path: &'a str,
    /// Whether the target had a query; logged as a `?` after the path.
    pub has_query: bool,
    /// The status sent to the client.
    pub status: Option<u16>,
    /// The outcome.
    pub outcome: Outcome,
    /// The fault in the upstream's response, if it was refused or cut for that.
    pub cause: Option<&'a str>,
    /// The name of its route.
    pub route: Option<&'a str>,
    /// Id of the user.
    pub user_id: Option<i64>,
    /// Name of the user.
    pub user_name: Option<&'a str>,
    /// Public id of the token.
    pub token_id: Option<i64>,
    /// Bytes of the response body passed to the connection.
    pub bytes_out: u64,
    /// From the request to the end of its response.
    pub total: Duration,
    /// Time spent waiting for the upstream.
    pub upstream: Option<Duration>,
}

impl Entry<'_> {
    /// Whether the request reached its upstream, and client and upstream had no reason to complain.
    pub(super) fn is_success(&self) -> bool {
        self.outcome == Outcome::Forwarded && self.status.is_some_and(|status| status < 400)
    }

    /// Appends the line with its line end.
    pub(super) fn write(&self, out: &mut Vec<u8>, style: Style<'_>, redact: Redact, second: &mut SecondText) {
        let names = match style {
            Style::Template(template) => return template.write(self, out, redact, second),
            Style::Names(names) => names,
        };
        let mut line = Line { out, is_json: names.is_json };
        line.open(names.constant);
        line.time(names.time, self.time, second);
        line.text(names.id, self.request_id);
        line.peer(&names.peer, self.peer, redact.peer);
        line.text(names.http, self.version.map_or("", version_text));
        line.text(names.method, self.method);
        if !redact.path {
            line.path(names.path, self.path, self.has_query && names.marks_query);
        }
        line.optional(names.status, self.status.map(u64::from));
        if !names.result.is_empty() {
            line.text(names.result, if self.is_success() { "success" } else { "failure" });
        }
        line.text(names.outcome, self.outcome.code());
        line.text(names.cause, self.cause.unwrap_or_default());
        line.text(names.route, self.route.unwrap_or_default());
        if !redact.user {
            line.id(names.user_id, self.user_id);
            line.text(names.user, self.user_name.unwrap_or_default());
            line.id(names.token_id, self.token_id);
        }
        line.number(names.bytes, self.bytes_out);
        line.duration(names.total, Some(self.total), names.unit);
        line.duration(names.upstream, self.upstream, names.unit);
        line.close();
    }
}

pub(super) fn version_text(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "",
    }
}

/// A line being written.
struct Line<'b> {
    out: &'b mut Vec<u8>,
    is_json: bool,
}

impl Line<'_> {
    fn open(&mut self, constant: &str) {
        if self.is_json {
            self.out.push(b'{');
            self.out.extend_from_slice(constant.as_bytes());
        }
    }

    fn close(&mut self) {
        self.out.extend_from_slice(if self.is_json { b"}\n" } else { b"\n" });
    }

    fn name(&mut self, name: &str) {
        self.out.extend_from_slice(name.as_bytes());
    }

    /// Quotes: JSON needs them around every text, logfmt only around some.
    fn quote(&mut self, needed: bool) {
        if needed || self.is_json {
            self.out.push(b'"');
        }
    }

    fn text(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        self.name(name);
        let plain = is_plain(value);
        self.quote(!plain);
        write_text(self.out, value, plain);
        self.quote(!plain);
    }

    fn path(&mut self, name: &str, path: &str, has_query: bool) {
        if path.is_empty() {
            return;
        }
        self.name(name);
        let plain = is_plain(path);
        self.quote(!plain);
        write_text(self.out, path, plain);
        if has_query {
            self.out.push(b'?');
        }
        self.quote(!plain);
    }

    fn time(&mut self, name: &str, time: Timestamp, second: &mut SecondText) {
        self.name(name);
        self.quote(false);
        write_time(self.out, time, second);
        self.quote(false);
    }

    /// With `redact` the address names a network (an IPv4 /24, an IPv6 /48), and the port is left out.
    fn peer(&mut self, names: &Peer, peer: SocketAddr, redact: bool) {
        let ip = peer.ip().to_canonical();
        let ip = if redact { network(ip) } else { ip };
        match names {
            Peer::Whole(name) => {
                self.name(name);
                self.quote(false);
                write_ip(self.out, ip);
                if !redact {
                    self.out.push(b':');
                    write_decimal(self.out, u64::from(peer.port()), 1);
                }
                self.quote(false);
            }
            Peer::Parts(address, port) => {
                self.name(address);
                self.quote(true);
                // Without the brackets that separate an IPv6 address from a port.
                let _ = write!(self.out, "{ip}");
                self.quote(true);
                if !redact {
                    self.number(port, u64::from(peer.port()));
                }
            }
        }
    }

    fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        write_decimal(self.out, value, 1);
    }

    fn optional(&mut self, name: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.number(name, value);
        }
    }

    fn id(&mut self, name: &str, value: Option<i64>) {
        if value.is_some() {
            self.name(name);
            write_id(self.out, value);
        }
    }

    fn duration(&mut self, name: &str, value: Option<Duration>, unit: Unit) {
        let Some(value) = value else { return };
        self.name(name);
        match unit {
            Unit::Millis => write_millis(self.out, value),
            Unit::Nanos => write_decimal(self.out, u64::try_from(value.as_nanos()).unwrap_or(u64::MAX), 1),
            Unit::Seconds => {
                write_decimal(self.out, value.as_secs(), 1);
                self.out.push(b'.');
                write_decimal(self.out, u64::from(value.subsec_micros()), 6);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::log_names::{ECS, JSON, OTEL, TEXT};
    use super::*;

    pub(in crate::telemetry) fn entry() -> Entry<'static> {
        Entry {
            time: Timestamp::from_micros(1_795_499_584_023_456),
            request_id: "0001",
            peer: "192.0.2.7:50123".parse().unwrap(),
            version: Some(Version::HTTP_2),
            method: "GET",
            path: "/api/products/",
            has_query: true,
            status: Some(200),
            outcome: Outcome::Forwarded,
            cause: None,
            route: Some("products"),
            user_id: Some(1001),
            user_name: Some("alice"),
            token_id: Some(7),
            bytes_out: 4_096,
            total: Duration::from_micros(12_345),
            upstream: Some(Duration::from_micros(11_007)),
        }
    }

    fn line(entry: &Entry<'_>, names: &'static Names) -> String {
        let mut out = Vec::new();
        entry.write(&mut out, Style::Names(names), Redact::default(), &mut SecondText::new());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_describes_the_request_in_text() {
        let wanted = "time=2026-11-24T05:53:04.023Z id=0001 peer=192.0.2.7:50123 http=2 method=GET path=/api/products/? \
                      status=200 outcome=forwarded route=products user_id=1001 user=alice token_id=7 bytes=4096 \
                      ms=12.345 upstream_ms=11.007\n";
        assert_eq!(line(&entry(), &TEXT), wanted);
    }

    #[test]
    fn a_line_in_json_has_the_same_names_and_values() {
        let object: serde_json::Value = serde_json::from_str(&line(&entry(), &JSON)).unwrap();
        let wanted = serde_json::json!({
            "time": "2026-11-24T05:53:04.023Z", "id": "0001", "peer": "192.0.2.7:50123", "http": "2", "method": "GET",
            "path": "/api/products/?", "status": 200, "outcome": "forwarded", "route": "products", "user_id": 1001,
            "user": "alice", "token_id": 7, "bytes": 4096, "ms": 12.345, "upstream_ms": 11.007,
        });
        assert_eq!(object, wanted);
    }

    #[test]
    fn names_follow_the_convention_that_is_chosen() {
        let object = |names| serde_json::from_str::<serde_json::Value>(&line(&entry(), names)).unwrap();
        let wanted = serde_json::json!({
            "ecs.version": "8.17.0", "event.dataset": "tokengate.access", "event.category": ["web"],
            "@timestamp": "2026-11-24T05:53:04.023Z", "http.request.id": "0001", "client.ip": "192.0.2.7",
            "client.port": 50123, "http.version": "2", "http.request.method": "GET", "url.path": "/api/products/",
            "http.response.status_code": 200, "event.outcome": "success", "event.reason": "forwarded",
            "labels.route": "products", "user.id": 1001, "user.name": "alice", "labels.token_id": 7,
            "http.response.body.bytes": 4096, "event.duration": 12_345_000, "labels.upstream_duration": 11_007_000,
        });
        assert_eq!(object(&ECS), wanted);
        let wanted = serde_json::json!({
            "event.name": "tokengate.access", "timestamp": "2026-11-24T05:53:04.023Z", "tokengate.request_id": "0001",
            "client.address": "192.0.2.7", "client.port": 50123, "network.protocol.version": "2",
            "http.request.method": "GET", "url.path": "/api/products/", "http.response.status_code": 200,
            "tokengate.outcome": "forwarded", "http.route": "products", "user.id": 1001, "user.name": "alice",
            "tokengate.token_id": 7, "http.response.body.size": 4096, "http.server.request.duration": 0.012345,
            "tokengate.upstream_duration": 0.011007,
        });
        assert_eq!(object(&OTEL), wanted);
        let peer = "[2001:db8::1]:9".parse().unwrap();
        let text = line(&Entry { peer, status: Some(502), outcome: Outcome::OriginReset, ..entry() }, &ECS);
        assert!(text.contains("\"client.ip\":\"2001:db8::1\",\"client.port\":9,"), "{text}");
        assert!(text.contains("\"event.outcome\":\"failure\""), "{text}");
    }

    #[test]
    fn what_is_redacted_is_not_in_a_line() {
        let shown = |redact, peer: &str| {
            let mut out = Vec::new();
            let entry = Entry { peer: peer.parse().unwrap(), ..entry() };
            entry.write(&mut out, Style::Names(&TEXT), redact, &mut SecondText::new());
            String::from_utf8(out).unwrap()
        };
        let text = shown(Redact { peer: true, path: true, user: true }, "192.0.2.7:50123");
        assert!(
            text.contains(" peer=192.0.2.0 http=2 method=GET status=200 outcome=forwarded route=products bytes="),
            "{text}"
        );
        for (peer, network) in [("[2001:db8:1:2::3]:9", "[2001:db8:1::]"), ("[::ffff:192.0.2.7]:9", "192.0.2.0")] {
            let text = shown(Redact { peer: true, ..Redact::default() }, peer);
            assert!(text.contains(&format!(" peer={network} ")) && text.contains("user=alice"), "{text}");
        }
    }

    #[test]
    fn unknown_facts_are_omitted() {
        let peer = "[2001:db8::1]:9".parse().unwrap();
        let outcome = Outcome::BadFraming;
        let entry = Entry { peer, version: None, status: None, route: None, upstream: None, outcome, ..entry() };
        let entry =
            Entry { user_id: None, user_name: None, token_id: None, method: "", path: "", bytes_out: 0, ..entry };
        let wanted = " id=0001 peer=[2001:db8::1]:9 outcome=bad_framing bytes=0 ms=12.345\n";
        assert_eq!(line(&entry, &TEXT), format!("time=2026-11-24T05:53:04.023Z{wanted}"));
        let object: serde_json::Value = serde_json::from_str(&line(&entry, &JSON)).unwrap();
        assert_eq!(object.as_object().unwrap().len(), 6);
    }

    #[test]
    fn nothing_a_client_sends_can_end_a_line_or_a_value() {
        let evil = "/a\" status=200\r\n{\\\u{1b}[31m\u{7f}\u{85}\u{2028}\u{202e}=é😀";
        let evil_entry = Entry { path: evil, user_name: Some(evil), has_query: false, ..entry() };
        let text = line(&evil_entry, &TEXT);
        let escaped = r#""/a\" status=200\u000d\u000a{\\\u001b[31m\u007f\u0085\u2028\u202e=\u00e9\ud83d\ude00""#;
        assert!(text.contains(&format!(" path={escaped} ")), "{text}");
        assert!(text.trim_end_matches('\n').bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
        let object: serde_json::Value = serde_json::from_str(&line(&evil_entry, &JSON)).unwrap();
        assert_eq!((&object["path"], &object["user"]), (&evil.into(), &evil.into()));
        for (name, quoted) in [("\"", r#""\"""#), ("\\", r#""\\""#), ("a=b", "\"a=b\""), ("a b", "\"a b\"")] {
            let text = line(&Entry { user_name: Some(name), ..entry() }, &TEXT);
            assert!(text.contains(&format!(" user={quoted} ")), "{text}");
        }
    }

    #[test]
    fn the_text_of_a_second_follows_the_time_in_both_directions() {
        let mut second = SecondText::new();
        for micros in [0, 999_999, 1_000_000, 999_999, -1] {
            let (mut out, time) = (Vec::new(), Timestamp::from_micros(micros));
            Entry { time, ..entry() }.write(&mut out, Style::Names(&TEXT), Redact::default(), &mut second);
            assert!(out.starts_with(format!("time={time} ").as_bytes()), "{micros}");
        }
    }
}
