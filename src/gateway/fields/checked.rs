//! What a proxy that asks about a request must change in it before the request goes to the upstream.

use http::header::{AUTHORIZATION, COOKIE, EXPECT, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::policy::Kind;
use super::{BadField, FieldPolicy};
use crate::config::settings::{CLIENT_CERT, fold};

/// The names of headers, separated by commas, that Envoy removes from the request that it has asked about.
const TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// Headers that a proxy writes itself.
const OF_PROXY: [&str; 3] = ["x-forwarded-for", "x-forwarded-proto", "x-request-id"];

impl FieldPolicy {
    /// Adds to `told` the headers of `prepared`, the request for an upstream, that tell who the caller is: the identity
    /// headers, and what is left of `Authorization` and `Cookie`.
    pub fn tell(&self, prepared: &HeaderMap, told: &mut HeaderMap) {
        for name in self.identity.names().chain([&AUTHORIZATION, &COOKIE]) {
            if let Some(value) = prepared.get(name) {
                told.insert(name.clone(), value.clone());
            }
        }
    }

    /// Refuses identity headers, those of portals and those about client certificates in a spelling that proxies do not
    /// recognize.
    ///
    /// # Errors
    /// [`BadField::Disguised`].
    pub fn refuse_disguised(&self, fields: &HeaderMap) -> Result<(), BadField> {
        let is_disguised = |name: &HeaderName| {
            let (name, folded) = (name.as_str(), || fold(name.as_str().as_bytes()));
            let is_of_certificate = folded().take(CLIENT_CERT.len()).eq(CLIENT_CERT.iter().copied());
            let mut ours = self.identity.names().chain(&self.of_portals);
            (is_of_certificate && !name.starts_with("client-cert"))
                || ours.any(|own| own.as_str() != name && fold(own.as_str().as_bytes()).eq(folded()))
        };
        if fields.keys().any(is_disguised) { Err(BadField::Disguised) } else { Ok(()) }
    }

    /// Adds to `told` the list of the client's headers `sent` that an upstream may not get, because they are not in
    /// `prepared` or only the gateway may set them.
    pub fn tell_removed(&self, sent: &[HeaderName], prepared: &HeaderMap, told: &mut HeaderMap) {
        let goes = |name: &&HeaderName| match self.kind_of(name.as_str().as_bytes()) {
            Kind::HopByHop | Kind::Message => false,
            Kind::Reserved => !(told.contains_key(*name) || OF_PROXY.contains(&name.as_str()) || *name == EXPECT),
            Kind::Ordinary | Kind::Credentials | Kind::Foreign | Kind::Odd => !prepared.contains_key(*name),
        };
        let names: Vec<&str> = sent.iter().filter(goes).map(HeaderName::as_str).collect();
        // Names joined with commas are a valid value.
        if let Ok(list) = HeaderValue::try_from(names.join(","))
            && !names.is_empty()
        {
            told.insert(TO_REMOVE, list);
        }
    }
}
