//! How the credentials of requests are read and limited.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::{BadCredentials, Credentials, KeyForm, Refused};
use crate::token::ShownKey;

/// How the credentials of requests are read and limited, as configured.
pub struct CredentialRules {
    pub(super) schemes: Box<[Box<str>]>,
    pub(super) refused: Refused,
}

impl CredentialRules {
    /// Accepts these schemes (`tokens.schemes`), and counts wrong keys in `refused`.
    pub fn new(schemes: &[String], refused: Refused) -> CredentialRules {
        CredentialRules { schemes: schemes.iter().map(|scheme| scheme.as_str().into()).collect(), refused }
    }

    /// Returns the key in these headers without resolving it.
    ///
    /// # Errors
    /// [`BadCredentials`] as [`Credentials::read`].
    pub fn shown<'f>(&self, fields: &'f HeaderMap, form: KeyForm) -> Result<Option<ShownKey<'f>>, BadCredentials> {
        Credentials::read(fields, &self.schemes, form)
    }

    /// Returns every key that any reader could find in these headers.
    pub fn readings<'f>(&self, fields: &'f HeaderMap) -> impl Iterator<Item = ShownKey<'f>> {
        let lines = fields.get_all(AUTHORIZATION).iter();
        lines.flat_map(|line| Credentials::readings(line, &self.schemes))
    }

    /// The scheme of the challenge: the first accepted one.
    pub fn challenge(&self) -> &str {
        self.schemes.first().map_or("Token", |scheme| scheme)
    }
}
