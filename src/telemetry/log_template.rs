//! Access log lines of a form that the operator chooses: text with facts in braces.

use std::fmt;
use std::sync::Arc;

use super::log_line::{Entry, version_text};
use super::log_text::{network, write_decimal, write_id, write_ip, write_millis, write_strictly, write_time};
use super::second_text::SecondText;
use super::shared_rules::Redact;

/// A form of lines, such as `{ip} {user} [{time}] "{method} {path}" {status} {bytes}`. `{{` is a brace.
#[derive(Clone, PartialEq, Eq)]
pub struct LogTemplate {
    text: Arc<str>,
    pieces: Arc<[Piece]>,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Fact(Fact),
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// It has no fact.
    #[error("has no fact in braces")]
    NoFact,
    /// A brace has no partner.
    #[error("has a brace without its partner")]
    Brace,
    /// A line end, or another character that a line cannot have.
    #[error("contains a control character")]
    Control,
    /// A fact that requests do not have.
    #[error("has the unknown fact `{0}`")]
    Unknown(String),
}

macro_rules! facts { ($($fact:ident $name:literal,)+) => {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Fact { $($fact,)+ }

    impl LogTemplate {
        /// The names of all facts.
        pub const FACTS: &'static [&'static str] = &[$($name),+];
    }

    impl Fact {
        fn named(name: &str) -> Option<Fact> {
            match name {
                $($name => Some(Fact::$fact),)+
                _ => None,
            }
        }
    }
} }

facts! {
    Time "time",
    Unix "unix",
    Id "id",
    Peer "peer",
    Ip "ip",
    Http "http",
    Method "method",
    Path "path",
    Status "status",
    Outcome "outcome",
    Cause "cause",
    Route "route",
    UserId "user_id",
    User "user",
    TokenId "token_id",
    Bytes "bytes",
    Ms "ms",
    UpstreamMs "upstream_ms",
}

impl LogTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// [`BadTemplate`].
    pub fn parse(text: &str) -> Result<LogTemplate, BadTemplate> {
        if text.chars().any(|char| char.is_control() && char != '\t') {
            return Err(BadTemplate::Control);
        }
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, found) = rest.split_at(at);
            plain.push_str(before);
            if let Some(behind) = found.strip_prefix("{{").or_else(|| found.strip_prefix("}}")) {
                plain.push_str(found.get(..1).unwrap_or_default());
                rest = behind;
                continue;
            }
            let named = found.strip_prefix('{').and_then(|behind| behind.split_once('}'));
            let (name, behind) = named.ok_or(BadTemplate::Brace)?;
            let fact = Fact::named(name).ok_or_else(|| BadTemplate::Unknown(name.to_owned()))?;
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Fact(fact));
            rest = behind;
        }
        plain.push_str(rest);
        if pieces.is_empty() {
            return Err(BadTemplate::NoFact);
        }
        plain.push('\n');
        pieces.push(Piece::Text(plain));
        Ok(LogTemplate { text: text.into(), pieces: pieces.into() })
    }

    /// Appends the line of a request. A fact that it does not have is `-`.
    pub(super) fn write(&self, entry: &Entry<'_>, out: &mut Vec<u8>, redact: Redact, second: &mut SecondText) {
        for piece in self.pieces.iter() {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Fact(fact) => {
                    let begin = out.len();
                    fact.write(entry, out, redact, second);
                    if out.len() == begin {
                        out.push(b'-');
                    }
                }
            }
        }
    }
}

impl Fact {
    /// Appends the value; nothing if there is none. No value has a blank, a quote or a control character, so it stays
    /// where the template puts it.
    fn write(self, entry: &Entry<'_>, out: &mut Vec<u8>, redact: Redact, second: &mut SecondText) {
        let shows_user = !redact.user;
        match self {
            Fact::Time => write_time(out, entry.time, second),
            Fact::Unix => {
                let millis = u64::try_from(entry.time.as_micros() / 1_000).unwrap_or(0);
                write_decimal(out, millis / 1_000, 1);
                out.push(b'.');
                write_decimal(out, millis % 1_000, 3);
            }
            Fact::Id => write_strictly(out, entry.request_id),
            Fact::Ip | Fact::Peer => {
                let ip = entry.peer.ip().to_canonical();
                write_ip(out, if redact.peer { network(ip) } else { ip });
                if self == Fact::Peer && !redact.peer {
                    out.push(b':');
                    write_decimal(out, u64::from(entry.peer.port()), 1);
                }
            }
            Fact::Http => write_strictly(out, entry.version.map_or("", version_text)),
            Fact::Method => write_strictly(out, entry.method),
            Fact::Path if redact.path || entry.path.is_empty() => {}
            Fact::Path => {
                write_strictly(out, entry.path);
                if entry.has_query {
                    out.push(b'?');
                }
            }
            Fact::Status => write_some(out, entry.status.map(u64::from)),
            Fact::Outcome => write_strictly(out, entry.outcome.code()),
            Fact::Cause => write_strictly(out, entry.cause.unwrap_or_default()),
            Fact::Route => write_strictly(out, entry.route.unwrap_or_default()),
            Fact::UserId => write_id(out, entry.user_id.filter(|_| shows_user)),
            Fact::User => write_strictly(out, entry.user_name.filter(|_| shows_user).unwrap_or_default()),
            Fact::TokenId => write_id(out, entry.token_id.filter(|_| shows_user)),
            Fact::Bytes => write_decimal(out, entry.bytes_out, 1),
            Fact::Ms => write_millis(out, entry.total),
            Fact::UpstreamMs => {
                if let Some(time) = entry.upstream {
                    write_millis(out, time);
                }
            }
        }
    }
}

fn write_some(out: &mut Vec<u8>, number: Option<u64>) {
    if let Some(number) = number {
        write_decimal(out, number, 1);
    }
}

impl fmt::Display for LogTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for LogTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::super::log_line::tests::entry;
    use super::*;

    fn line(template: &str, entry: &Entry<'_>, redact: Redact) -> String {
        let mut out = Vec::new();
        LogTemplate::parse(template).unwrap().write(entry, &mut out, redact, &mut SecondText::new());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_template_puts_facts_where_the_operator_wants_them() {
        let common = "{ip} {user} [{time}] \"{method} {path} HTTP/{http}\" {status} {bytes}";
        let wanted = "192.0.2.7 alice [2026-11-24T05:53:04.023Z] \"GET /api/products/? HTTP/2\" 200 4096\n";
        assert_eq!(line(common, &entry(), Redact::default()), wanted);
        let all = LogTemplate::FACTS.iter().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(" ");
        let wanted = "2026-11-24T05:53:04.023Z 1795499584.023 0001 192.0.2.7:50123 192.0.2.7 2 GET /api/products/? 200 \
                      forwarded - products 1001 alice 7 4096 12.345 11.007\n";
        assert_eq!(line(&all, &entry(), Redact::default()), wanted);
        let hidden = Redact { peer: true, path: true, user: true };
        assert_eq!(
            line("{peer}|{ip}|{path}|{user}|{user_id}|{token_id}", &entry(), hidden),
            "192.0.2.0|192.0.2.0|-|-|-|-\n"
        );
        assert_eq!(line("{{{status}}}\t}}", &entry(), Redact::default()), "{200}\t}\n");
        let unknown = Entry { status: None, user_name: None, version: None, upstream: None, path: "", ..entry() };
        assert_eq!(line("{status} {user} {http} {upstream_ms} {path}", &unknown, Redact::default()), "- - - - -\n");
    }

    #[test]
    fn nothing_a_client_sends_leaves_its_place() {
        let evil = "/a\" b\r\n\t\\\u{1b}\u{85}é";
        let entry = Entry { path: evil, user_name: Some(evil), has_query: false, ..entry() };
        let text = line("\"{path}\" {user} end", &entry, Redact::default());
        let escaped = r"/a\u0022\u0020b\u000d\u000a\u0009\u005c\u001b\u0085\u00e9";
        assert_eq!(text, format!("\"{escaped}\" {escaped} end\n"));
    }

    #[test]
    fn a_template_that_cannot_be_meant_is_refused() {
        for (text, bad) in [
            ("", BadTemplate::NoFact),
            ("only text", BadTemplate::NoFact),
            ("{{time}}", BadTemplate::NoFact),
            ("{time", BadTemplate::Brace),
            ("time}", BadTemplate::Brace),
            ("{time} }", BadTemplate::Brace),
            ("{time}\n{id}", BadTemplate::Control),
            ("{time} {usr}", BadTemplate::Unknown("usr".to_owned())),
            ("{}", BadTemplate::Unknown(String::new())),
            ("{ time}", BadTemplate::Unknown(" time".to_owned())),
        ] {
            assert_eq!(LogTemplate::parse(text), Err(bad), "{text}");
        }
    }
}
