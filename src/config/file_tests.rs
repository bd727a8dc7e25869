//! `[[tests]]`: requests with the answers that the operator expects of this configuration.
//!
//! Only read here. They run on every load with the code that serves requests (`app/explain`).

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::login::{Browser, Login};
use super::nearest::nearest;
use super::reader::{Named, Table};
use super::routes::Route;
use super::secret::Secrecy;
use super::upstreams::Upstream;
use super::value::{Fault, Key};
use crate::token::{Networks, Scope, ScopeSet};

/// Address of the client of a sample request that names none. Reserved for documentation (RFC 5737).
const SOMEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// One test of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileTest {
    /// The file.
    pub file: PathBuf,
    /// The line of its `[[tests]]`.
    pub line: usize,
    /// What it tests, in the operator's words.
    pub name: String,
    /// The request.
    pub request: SampleRequest,
    /// Its sender; `None`: it has no credentials.
    pub caller: Option<SampleCaller>,
    /// What must happen.
    pub expected: Expected,
}

/// A request that is judged and not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleRequest {
    /// The method, as written.
    pub method: String,
    /// Whether it is sent over TLS.
    pub secure: bool,
    /// Host and port, as written.
    pub authority: String,
    /// The port that it is sent to.
    pub port: u16,
    /// Path and query, as written.
    pub target: String,
    /// Header lines, such as `Accept: text/html`.
    pub headers: Vec<String>,
    /// The address of the client.
    pub from: IpAddr,
    /// The listener that takes it, where the port that clients use is forwarded to another one. `None`: the listener
    /// with its port.
    pub listener: Option<String>,
}

/// A caller that no store needs to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SampleCaller {
    /// Username.
    pub user: String,
    /// The groups of the user, sorted.
    pub groups: Vec<String>,
    /// The scopes of the token.
    pub scopes: ScopeSet,
    /// Whether it is a session instead of a token.
    pub session: bool,
    /// Whether it is a client certificate instead of a token.
    pub certificate: bool,
    /// Whether the token is read-only.
    pub read_only: bool,
    /// The networks that the token can be used from; `None`: all.
    pub networks: Option<Networks>,
}

/// What must happen to a request. What is `None` or empty is not compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// The status with which the gateway answers.
    pub status: Option<u16>,
    /// The route that takes it.
    pub route: Option<String>,
    /// The upstream that it is forwarded to.
    pub upstream: Option<String>,
    /// Header lines that the upstream must receive.
    pub headers: Vec<String>,
}

/// Why a text is not a sample request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSample {
    /// It is not a method and a URL.
    #[error("is not a method and a URL")]
    Form,
    /// The URL is not `http://` or `https://` with a host.
    #[error("has no absolute http:// or https:// URL")]
    Url,
    /// The port is not a number from 1 to 65535.
    #[error("has a port that is not a number from 1 to 65535")]
    Port,
    /// A line break or another control character, which would end the line.
    #[error("has a control character")]
    Control,
    /// `#…`, which clients do not send.
    #[error("has a fragment, which clients do not send")]
    Fragment,
    /// `user@…`, which clients do not send as a part of the URL.
    #[error("has a user, which clients do not send with the host")]
    User,
    /// A header without its colon.
    #[error("is not a header line")]
    Header,
}

impl BadSample {
    /// How to mend it.
    pub fn mend(self) -> &'static str {
        match self {
            BadSample::Form | BadSample::Url | BadSample::Port => {
                "write one such as \"GET https://api.example.com/path\""
            }
            BadSample::Control => "remove it; encode it in the URL if it is meant",
            BadSample::Fragment => "remove the part from `#` on",
            BadSample::User => "remove the part up to `@`; add an `Authorization` header if it is meant",
            BadSample::Header => "write one such as \"Accept: text/html\"",
        }
    }
}

impl SampleRequest {
    /// Reads a request such as `GET https://api.example.com/path`, without headers.
    ///
    /// Host, path and query are kept as written, so that the gateway judges them.
    ///
    /// # Errors
    /// [`BadSample`].
    pub fn parse(text: &str) -> Result<SampleRequest, BadSample> {
        let (method, url) = text.split_once(' ').ok_or(BadSample::Form)?;
        SampleRequest::new(method, url)
    }

    /// Reads a method and a URL.
    ///
    /// # Errors
    /// [`BadSample`].
    pub fn new(method: &str, url: &str) -> Result<SampleRequest, BadSample> {
        if method.is_empty() {
            return Err(BadSample::Form);
        }
        if method.chars().chain(url.chars()).any(char::is_control) {
            return Err(BadSample::Control);
        }
        if url.contains('#') {
            return Err(BadSample::Fragment);
        }
        let (scheme, rest) = url.split_once("://").ok_or(BadSample::Url)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(BadSample::Url),
        };
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.is_empty() {
            return Err(BadSample::Url);
        }
        if authority.contains('@') {
            return Err(BadSample::User);
        }
        let port = match authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            Some((_, port)) => port.parse().ok().filter(|port| *port > 0).ok_or(BadSample::Port)?,
            None if secure => 443,
            None => 80,
        };
        // Clients send a path in any case.
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(SampleRequest {
            method: method.to_owned(),
            secure,
            authority: authority.to_owned(),
            port,
            target,
            headers: Vec::new(),
            from: SOMEWHERE,
            listener: None,
        })
    }

    /// Reads a header line, such as `Accept: text/html`.
    ///
    /// # Errors
    /// [`BadSample`].
    pub fn header(line: &str) -> Result<String, BadSample> {
        if line.chars().any(|char| char.is_control() && char != '\t') {
            return Err(BadSample::Control);
        }
        if line.find(':').is_none_or(|colon| colon == 0) { Err(BadSample::Header) } else { Ok(line.to_owned()) }
    }
}

/// `[[tests]]`
pub(super) fn read(root: &Table<'_>, routes: &[Route], login: Option<&Login>, upstreams: &[Upstream]) -> Vec<FileTest> {
    let of_gateway =
        login.map(|login| login.browser.as_ref().map_or(vec![Login::NAME], |_| vec![Login::NAME, Browser::NAME]));
    let routes: Vec<&str> = routes.iter().map(|route| &*route.name).chain(of_gateway.into_iter().flatten()).collect();
    let upstreams: Vec<&str> = upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    let named = root.array("tests", |table| test(table, &routes, &upstreams));
    named.into_iter().filter_map(|Named { value, .. }| value).collect()
}

fn test(table: &Table<'_>, routes: &[&str], upstreams: &[&str]) -> Option<FileTest> {
    let name = table.key("name").required("add `name = \"…\"`: what this test is about");
    let request = table.key("request").required("add `request = \"GET https://HOST/PATH\"`").secret(Secrecy::Request);
    let sample = |read: Result<SampleRequest, BadSample>| read.map_err(|bad| Fault::new(bad.to_string(), bad.mend()));
    let (line, read) = (table.place(), request.parse(|text| sample(SampleRequest::parse(text))));
    let (name, headers) = (name.text(), headers(&table.key("headers").secret(Secrecy::Header)));
    let from = table.key("from").parse_or(SOMEWHERE, |text| {
        text.parse().map_err(|_| Fault::new("is not an IP address", "write one such as \"192.0.2.7\""))
    });
    let listener = table.key("listener").text();
    let caller = caller(table);
    let expected = expected(table, routes, upstreams);
    if !table.has("expect") {
        table.problem("expects nothing", "add `expect = { status = 401 }`, or `route` or `upstream`");
    }
    let (file, line) = line?;
    let request = SampleRequest { headers, from, listener, ..read? };
    Some(FileTest { file, line, name: name?, request, caller, expected })
}

fn caller(table: &Table<'_>) -> Option<SampleCaller> {
    table.switch("as", |table| {
        let texts = |name| table.key(name).parse_list(|text| Ok(text.to_owned()));
        let user = table.key("user").parse_or("somebody".to_owned(), |text| Ok(text.to_owned()));
        let mut groups = texts("groups");
        groups.sort();
        let scopes = table.key("scopes").parse_list(|text| {
            let mend = "use 1 to 64 characters of a-z, 0-9, `.`, `_`, `-` and `:`";
            Scope::parse(text).map_err(|_| Fault::new("is not a valid scope", mend))
        });
        let networks = table.key("networks").parse(|text| {
            Networks::parse(text).map_err(|error| Fault::new("is not a list of networks", error.to_string()))
        });
        let caller = SampleCaller {
            user,
            groups,
            scopes: ScopeSet::new(scopes),
            session: table.key("session").bool(false),
            certificate: table.key("certificate").bool(false),
            read_only: table.key("read_only").bool(false),
            networks: networks.flatten(),
        };
        table.is_set().then_some(caller)
    })
}

fn expected(table: &Table<'_>, routes: &[&str], upstreams: &[&str]) -> Expected {
    table.table("expect", |table| {
        let one_of = |key: Key<'_>, what: &str, known: &[&str]| {
            key.parse(|text| match known.contains(&text) {
                true => Ok(text.to_owned()),
                false => {
                    let mend = nearest(text, known).unwrap_or_else(|| format!("known: {}", known.join(", ")));
                    Err(Fault::new(format!("is not the name of any {what} in this file"), mend))
                }
            })
        };
        let (status, upstream) = (table.key("status"), table.key("upstream"));
        if status.is_set() && upstream.is_set() {
            status.problem("a forwarded request is answered by its upstream", "remove `status` or `upstream`");
        }
        let expected = Expected {
            status: status.optional_count(100..=599),
            route: one_of(table.key("route"), "route", routes),
            upstream: one_of(upstream, "upstream", upstreams),
            headers: headers(&table.key("headers").secret(Secrecy::Header)),
        };
        let compares = ["status", "route", "upstream", "headers"].iter().any(|name| table.has(name));
        if table.is_set() && !compares {
            table.problem("expects nothing", "add `status`, `route` or `upstream`");
        }
        expected
    })
}

fn headers(key: &Key<'_>) -> Vec<String> {
    let line = |text: &str| SampleRequest::header(text).map_err(|bad| Fault::new(bad.to_string(), bad.mend()));
    key.parse_list(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_request_is_a_method_and_an_absolute_url() {
        for (text, secure, authority, port, target) in [
            ("GET https://a.test/x?y=//", true, "a.test", 443, "/x?y=//"),
            ("PATCH HTTP://a.test:8080", false, "a.test:8080", 8080, "/"),
            ("GET https://[::1]/x", true, "[::1]", 443, "/x"),
            ("GET https://[::1]:8443?q", true, "[::1]:8443", 8443, "/?q"),
            ("get http://A.test/a b/%zz", false, "A.test", 80, "/a b/%zz"),
        ] {
            let read = SampleRequest::parse(text).unwrap();
            assert_eq!(
                (read.secure, &*read.authority, read.port, &*read.target),
                (secure, authority, port, target),
                "{text}"
            );
        }
        for (text, bad) in [
            ("", BadSample::Form),
            ("https://a.test/", BadSample::Form),
            (" https://a.test/", BadSample::Form),
            ("GET /x", BadSample::Url),
            ("GET ftp://a.test/", BadSample::Url),
            ("GET https:///x", BadSample::Url),
            ("GET https://a.test:0/", BadSample::Port),
            ("GET https://a.test:x/", BadSample::Port),
            ("GET https://a.test:/", BadSample::Port),
            ("GET https://a.test/#x", BadSample::Fragment),
            ("GET https://alice@a.test/", BadSample::User),
            ("GET https://alice:secret@a.test:443/", BadSample::User),
            ("GET https://a.test/\r\nX: y", BadSample::Control),
        ] {
            assert_eq!(SampleRequest::parse(text), Err(bad), "{text}");
        }
        assert_eq!(SampleRequest::header("X:y\tz"), Ok("X:y\tz".to_owned()));
        assert_eq!(SampleRequest::header("X: y\r\nZ: 1"), Err(BadSample::Control));
        assert_eq!(SampleRequest::header(": y"), Err(BadSample::Header));
        assert_eq!(SampleRequest::header("X"), Err(BadSample::Header));
    }
}
