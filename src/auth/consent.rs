//! The consent of a portal: the proof that it lets a request pass.

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// The consent of a portal to one request.
#[derive(Clone, Debug)]
pub struct Consent {
    /// What the upstream learns about the user.
    told: HeaderMap,
    /// Cookies for the client.
    cookies: Vec<HeaderValue>,
}

impl Consent {
    /// Reads the answer of a portal; `None`: it does not consent. Of its headers, only those in `named` reach the
    /// upstream.
    pub fn read(status: StatusCode, fields: &HeaderMap, named: &[HeaderName]) -> Option<Consent> {
        if !status.is_success() {
            return None;
        }
        let mut told = HeaderMap::new();
        for name in named {
            // Different lines can be read in two ways. LemonLDAP::NG sends the same line twice.
            let mut lines = fields.get_all(name).iter();
            if let Some(value) = lines.next()
                && lines.all(|line| line == value)
            {
                told.insert(name.clone(), value.clone());
            }
        }
        Some(Consent { told, cookies: fields.get_all(SET_COOKIE).iter().cloned().collect() })
    }

    /// Adds what the upstream learns about the user to a request without headers of these names.
    pub fn add_to(&self, request: &mut HeaderMap) {
        for (name, value) in &self.told {
            request.insert(name.clone(), value.clone());
        }
    }

    /// Adds the portal's cookies to the response for the client.
    pub fn add_cookies(&self, response: &mut HeaderMap) {
        for cookie in &self.cookies {
            response.append(SET_COOKIE, cookie.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_2xx_is_a_consent_and_only_named_headers_are_told() {
        let mut answer = HeaderMap::new();
        for (name, value) in [
            ("remote-user", "alice"),
            ("remote-groups", "a"),
            ("remote-groups", "b"),
            ("remote-email", "a@x"),
            ("remote-id", "7"),
            ("remote-id", "7"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
        ] {
            answer.append(name, HeaderValue::from_static(value));
        }
        let named = ["remote-user", "remote-groups", "remote-name", "remote-id"].map(HeaderName::from_static);
        for status in [100, 199, 300, 302, 304, 401, 403, 404, 500] {
            assert!(Consent::read(StatusCode::from_u16(status).unwrap(), &answer, &named).is_none(), "{status}");
        }
        for status in [200, 202, 204, 299] {
            let consent = Consent::read(StatusCode::from_u16(status).unwrap(), &answer, &named).unwrap();
            let (mut request, mut response) = (HeaderMap::new(), HeaderMap::new());
            consent.add_to(&mut request);
            consent.add_cookies(&mut response);
            let mut told: Vec<_> =
                request.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
            told.sort_unstable();
            assert_eq!(told, [("remote-id", "7"), ("remote-user", "alice")], "{status}");
            assert_eq!(response.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
        }
    }
}
