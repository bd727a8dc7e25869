//! Removes the headers that a client may not send.
//!
//! One pass over the names, before anything is added. The same on every route: a public route forwards no more forged
//! headers than a protected one.

use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

use super::FieldPolicy;
use super::hop_by_hop::nominated;
use super::policy::Kind;

/// What is wrong with the headers of a request. The text is for the client; the response is 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BadField {
    /// `Connection` names an end-to-end header: without it, the message or its caller would change.
    #[error("Connection names a header that it may not remove")]
    Nomination,
    /// `Connection` contains something other than names.
    #[error("Connection must be a list of header names")]
    NotAName,
    /// An identity header in another spelling. A proxy in front cannot be relied on to remove it.
    #[error("a header has a name that a server could take for an identity header")]
    Disguised,
}

impl FieldPolicy {
    /// Removes hop-by-hop headers, headers that a client may not send, and all headers that `Connection` lines name.
    ///
    /// Keeps foreign names in `passed`, in exactly this spelling, and `Authorization` if `credentials` is set.
    ///
    /// # Errors
    /// [`BadField`] if `Connection` cannot be obeyed; the headers are then unchanged.
    pub fn sift(&self, fields: &mut HeaderMap, passed: &[HeaderName], credentials: bool) -> Result<(), BadField> {
        let mut doomed: SmallVec<[HeaderName; 8]> = SmallVec::new();
        for name in fields.keys() {
            let stays = match self.kind_of(name.as_str().as_bytes()) {
                Kind::Ordinary | Kind::Message => true,
                Kind::Credentials => credentials,
                Kind::Foreign | Kind::Odd => passed.contains(name),
                Kind::HopByHop | Kind::Reserved => false,
            };
            if !stays {
                doomed.push(name.clone());
            }
        }
        for name in nominated(fields) {
            doomed.extend(self.nominee(name)?);
        }
        for name in doomed {
            fields.remove(name);
        }
        Ok(())
    }

    /// The header that `Connection` names, unless it is removed anyway or absent.
    fn nominee(&self, name: &[u8]) -> Result<Option<HeaderName>, BadField> {
        match self.kind_of(name) {
            Kind::HopByHop => Ok(None),
            Kind::Ordinary if name.eq_ignore_ascii_case(b"close") => Ok(None),
            Kind::Message | Kind::Credentials | Kind::Reserved | Kind::Foreign => Err(BadField::Nomination),
            Kind::Ordinary | Kind::Odd => HeaderName::from_bytes(name).map(Some).map_err(|_| BadField::NotAName),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::config::settings::IdentityFields;

    /// The names that are left, in order.
    fn sifted(lines: &[(&str, &str)], forward_authorization: bool) -> Result<Vec<String>, BadField> {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        FieldPolicy::compile(&IdentityFields::default()).sift(&mut fields, &[], forward_authorization)?;
        let mut left: Vec<String> = fields.iter().map(|(name, _)| name.to_string()).collect();
        left.sort_unstable();
        Ok(left)
    }

    #[test]
    fn ordinary_headers_stay_with_all_their_lines() {
        let lines =
            [("host", "a"), ("x-two", "1"), ("x-two", "2"), ("cookie", "a=b"), ("content-length", "5"), ("via", "x")];
        assert_eq!(sifted(&lines, false).unwrap(), ["content-length", "cookie", "host", "via", "x-two", "x-two"]);
    }

    #[test]
    fn forged_headers_are_removed_in_every_spelling_and_number() {
        let mut lines = vec![("accept", "*/*")];
        lines.extend([("X-User-Id", "1"); 50]);
        lines.extend([
            ("x-USER-id", "1"),
            ("X_User_Id", "1"),
            ("X.User.Id", "1"),
            ("X-User_Id", "1"),
            ("XUserId", "1"),
            ("X-User-Email", "r"),
            ("X%2DUser%2DId", "1"),
            ("X-Forwarded-For", "10.0.0.1"),
            ("Forwarded", "for=x"),
            ("X-Real-Ip", "x"),
            ("X_Y", "1"),
            ("X-Original-URL", "/admin"),
            ("X-HTTP-Method-Override", "DELETE"),
            ("Expect", "100-continue"),
            ("X.Y", "1"),
            ("X-Request-Id", "x"),
            ("X-Auth-Method", "token"),
            ("Transfer_Encoding", "chunked"),
            ("Proxy-Authorization", "x"),
        ]);
        assert_eq!(sifted(&lines, false).unwrap(), ["accept"]);
    }

    #[test]
    fn a_foreign_header_stays_only_where_its_route_names_it_and_in_this_spelling() {
        let policy = FieldPolicy::compile(&IdentityFields::default());
        let passed = ["proxy", "x-goog-iap-jwt-assertion", "my_field", "x-user-id", "x-forwarded-for", "te"];
        let passed = passed.map(HeaderName::from_static);
        let mut fields = HeaderMap::new();
        for name in
            ["proxy", "x-goog-iap-jwt-assertion", "x_goog_iap_jwt_assertion", "x-goog-other", "my_field", "my.field"]
        {
            fields.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        // Never, whatever a route allows.
        for name in ["x-user-id", "x-forwarded-for", "te"] {
            fields.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        policy.sift(&mut fields, &passed, false).unwrap();
        let mut left: Vec<&str> = fields.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["my_field", "proxy", "x-goog-iap-jwt-assertion"]);
        for name in ["proxy", "x-goog-other"] {
            let mut fields = HeaderMap::new();
            fields.insert("connection", HeaderValue::from_static(name));
            assert_eq!(policy.sift(&mut fields, &passed, false), Err(BadField::Nomination), "{name}");
        }
    }

    #[test]
    fn credentials_stay_only_where_they_are_forwarded() {
        let lines = [("Authorization", "Token x"), ("HTTP_AUTHORIZATION", "Token x")];
        assert_eq!(sifted(&lines, false).unwrap(), [""; 0]);
        assert_eq!(sifted(&lines, true).unwrap(), ["authorization"]);
    }

    #[test]
    fn hop_by_hop_headers_and_those_that_connection_names_are_removed() {
        let fixed = [
            ("Connection", "keep-alive"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "x"),
            ("TE", "gzip"),
            ("Trailer", "x"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "x"),
            ("Proxy-Authenticate", "x"),
            ("Transfer-Encoding", "chunked"),
            ("a", "b"),
        ];
        assert_eq!(sifted(&fixed, false).unwrap(), ["a"]);
        let lines = [
            ("Connection", "close, X-Hop"),
            ("Connection", " ,, other ,X_O,"),
            ("X-Hop", "1"),
            ("Other", "1"),
            ("a", "b"),
        ];
        assert_eq!(sifted(&lines, false).unwrap(), ["a"]);
        for plain in ["close", "Close", "keep-alive", "TE", "upgrade, HTTP2-Settings", "", ",", "x-hop", "transfer"] {
            assert_eq!(sifted(&[("Connection", plain), ("close", "x")], false).unwrap(), ["close"], "{plain}");
        }
    }

    #[test]
    fn connection_may_not_name_headers_of_the_message_or_the_caller() {
        for name in [
            "Host",
            "authorization",
            "CONTENT-LENGTH",
            "transfer-encoding",
            "x-user-id",
            "X-User-Id",
            "X_User_Id",
            "xuserid",
            "X-Real-Ip",
            "x-forwarded-for",
            "X-Auth-Method",
            "X-Request-Id",
            "expect",
            "content_length",
        ] {
            for line in [name.to_owned(), format!("close, {name}"), format!("a,{name} ,b")] {
                assert_eq!(sifted(&[("Connection", &line)], true), Err(BadField::Nomination), "{line}");
            }
            let lines = [("Connection", "keep-alive"), ("Connection", name)];
            assert_eq!(sifted(&lines, true), Err(BadField::Nomination), "{name} in a second line");
        }
        for name in ["a b", "\"x\"", "a;b", "a=b", "a/b", "(c)"] {
            assert_eq!(sifted(&[("Connection", name)], true), Err(BadField::NotAName), "{name}");
        }
    }
}
