//! The identity headers for upstreams.
//!
//! Added after [`FieldPolicy::sift`], so that every one of these headers is ours. The method header is always sent, so
//! that "anonymous" is a statement and not an absence.

use http::{HeaderMap, HeaderValue};

use super::FieldPolicy;
use crate::auth::Consent;
use crate::identity::Identity;
use crate::token::AuthMethod;

const TOKEN: HeaderValue = HeaderValue::from_static(AuthMethod::Token.as_str());
const SESSION: HeaderValue = HeaderValue::from_static(AuthMethod::Session.as_str());
const CERTIFICATE: HeaderValue = HeaderValue::from_static(AuthMethod::Certificate.as_str());
const PORTAL: HeaderValue = HeaderValue::from_static("portal");
const ANONYMOUS: HeaderValue = HeaderValue::from_static("anonymous");

impl FieldPolicy {
    /// Adds what a portal says about the user of a request that it has let pass.
    pub fn add_consent(&self, fields: &mut HeaderMap, consent: &Consent) {
        fields.insert(self.identity.method.clone(), PORTAL);
        consent.add_to(fields);
    }

    /// Adds the identity headers of `caller`; for an anonymous one only the method.
    pub fn add(&self, fields: &mut HeaderMap, caller: Option<&Identity>) {
        let method = match caller.map(Identity::method) {
            Some(AuthMethod::Token) => TOKEN,
            Some(AuthMethod::Session) => SESSION,
            Some(AuthMethod::Certificate) => CERTIFICATE,
            None => ANONYMOUS,
        };
        fields.insert(self.identity.method.clone(), method);
        let Some(caller) = caller else { return };
        let (names, values) = (&self.identity, caller.values());
        for (name, value) in [
            (&names.user_id, Some(&values.user_id)),
            (&names.user_name, Some(&values.user_name)),
            (&names.user_email, values.user_email.as_ref()),
            (&names.user_groups, values.user_groups.as_ref()),
            (&names.token_id, values.token_id.as_ref()),
            (&names.scopes, values.scopes.as_ref()),
        ] {
            if let (Some(name), Some(value)) = (name, value) {
                fields.insert(name.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;
    use crate::clock::Timestamp;
    use crate::config::settings::IdentityFields;
    use crate::token::{Account, Restrictions, ScopeSet, SubjectId, TokenDigest, TokenId, TokenRecord};

    fn alice(email: &str, groups: &[&str], scopes: &str) -> Identity {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let owner =
            Account { id: SubjectId(1001), name: "alice".to_owned(), email: email.to_owned(), groups, active: true };
        let (digest, scopes) = (TokenDigest::of(b"k"), ScopeSet::parse(scopes).unwrap());
        let now = Timestamp::from_micros(0);
        let (id, method) = (TokenId(7), AuthMethod::Token);
        let restrictions = Restrictions::default();
        let (expires, revoked) = (None, None);
        let record = TokenRecord { id, method, digest, owner, scopes, created: now, expires, revoked, restrictions };
        Identity::establish(&record, now).unwrap()
    }

    fn told(names: &IdentityFields, caller: Option<&Identity>) -> Vec<String> {
        let mut fields = HeaderMap::new();
        FieldPolicy::compile(names).add(&mut fields, caller);
        let mut lines: Vec<_> =
            fields.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort_unstable();
        lines
    }

    #[test]
    fn identity_headers_have_the_configured_names() {
        let default = IdentityFields::default();
        let lines = ["x-auth-method: token", "x-token-id: 7", "x-user-id: 1001", "x-user-name: alice"];
        assert_eq!(told(&default, Some(&alice("", &[], ""))), lines);
        let name = |name| Some(HeaderName::from_static(name));
        let other = IdentityFields {
            user_id: None,
            user_name: name("remote-user"),
            user_email: name("remote-email"),
            user_groups: name("remote-groups"),
            ..default
        };
        let lines = [
            "remote-email: a@x",
            "remote-groups: dev,staff",
            "remote-user: alice",
            "x-auth-method: token",
            "x-token-id: 7",
            "x-token-scopes: read write",
        ];
        assert_eq!(told(&other, Some(&alice("a@x", &["dev", "staff"], "read write"))), lines);
    }

    #[test]
    fn a_request_without_a_caller_is_anonymous() {
        assert_eq!(told(&IdentityFields::default(), None), ["x-auth-method: anonymous"]);
    }

    #[test]
    fn an_absent_value_is_not_taken_from_the_client() {
        let email = HeaderName::from_static("x-user-email");
        let names = IdentityFields { user_email: Some(email.clone()), ..IdentityFields::default() };
        let policy = FieldPolicy::compile(&names);
        let mut fields = HeaderMap::new();
        fields.insert(&email, HeaderValue::from_static("root@x"));
        fields.insert("x-user-id", HeaderValue::from_static("1"));
        policy.sift(&mut fields, &[], false).unwrap();
        policy.add(&mut fields, Some(&alice("", &[], "")));
        assert!(!fields.contains_key(&email));
        assert_eq!(fields.get_all("x-user-id").iter().collect::<Vec<_>>(), ["1001"]);
    }
}
