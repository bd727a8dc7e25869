//! Authorization: the proof that a route admits a caller.
//!
//! Forwarding requires a [`Permit`], and only [`Permit::grant`] creates one, so no code path can skip the check. The
//! check does not rely on the steps before it, and knows neither sockets nor stores.

use std::net::IpAddr;
use std::sync::Arc;

use http::Method;

use super::Consent;
use crate::config::settings::Auth;
use crate::identity::Identity;
use crate::route::Route;
use crate::token::Scope;

/// Proof that this route admits this caller.
#[derive(Debug)]
pub struct Permit<'g> {
    route: &'g Route,
    caller: Option<Arc<Identity>>,
    /// The consent of the route's portal, in place of credentials.
    consent: Option<Box<Consent>>,
}

/// Why a route refuses a caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPermitted {
    /// The route requires a token and the request has none.
    #[error("this route needs a token")]
    Anonymous,
    /// The token lacks a required scope.
    #[error("the token lacks the scope `{0}`")]
    MissingScope(Scope),
    /// The token is read-only, and the request may have side effects.
    #[error("the token is read-only")]
    ReadOnly,
    /// The client's address is outside the networks of the token.
    #[error("the token is not allowed from this address")]
    Network,
    /// The user is in none of the groups of the route.
    #[error("the user is in none of the groups of this route")]
    Group,
    /// The route does not admit the client's address.
    #[error("this route does not admit the client's address")]
    Address,
}

/// The facts about a request that the decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'r> {
    /// The method.
    pub method: &'r Method,
    /// Whether the request is read-only.
    pub reads: bool,
    /// The address of the client.
    pub from: IpAddr,
}

impl<'g> Permit<'g> {
    /// Decides whether `route` admits `caller` with this request.
    ///
    /// On a route that ignores credentials, the caller stays anonymous.
    ///
    /// # Errors
    /// [`NotPermitted`] says what is missing.
    pub fn grant(
        route: &'g Route,
        caller: Option<Arc<Identity>>,
        asked: Asked<'_>,
    ) -> Result<Permit<'g>, NotPermitted> {
        let rules = &route.settings.admission;
        if !rules.admits(asked.from) {
            return Err(NotPermitted::Address);
        }
        let caller = match route.settings.auth {
            Auth::None => None,
            Auth::Optional => caller,
            Auth::Required => {
                let caller = caller.ok_or(NotPermitted::Anonymous)?;
                let mut needed = route.settings.scopes.iter().chain(rules.method_scopes.of(asked.method).iter());
                if let Some(missing) = needed.find(|scope| !caller.scopes().contains(scope)) {
                    return Err(NotPermitted::MissingScope(missing.clone()));
                }
                if !rules.groups.is_empty() && !rules.groups.iter().any(|group| caller.groups().contains(group)) {
                    return Err(NotPermitted::Group);
                }
                Some(caller)
            }
        };
        if let Some(caller) = &caller {
            if !caller.may_come_from(asked.from) {
                return Err(NotPermitted::Network);
            }
            if caller.is_read_only() && !asked.reads {
                return Err(NotPermitted::ReadOnly);
            }
        }
        Ok(Permit { route, caller, consent: None })
    }

    /// Decides whether `route` admits a request without credentials to which its portal has consented.
    ///
    /// # Errors
    /// [`NotPermitted`] says what is missing.
    pub fn by_portal(route: &'g Route, consent: Consent, asked: Asked<'_>) -> Result<Permit<'g>, NotPermitted> {
        let rules = &route.settings.admission;
        if !rules.admits(asked.from) {
            return Err(NotPermitted::Address);
        }
        // Its users have neither scopes nor groups.
        if let Some(missing) = route.settings.scopes.iter().chain(rules.method_scopes.of(asked.method).iter()).next() {
            return Err(NotPermitted::MissingScope(missing.clone()));
        }
        if !rules.groups.is_empty() {
            return Err(NotPermitted::Group);
        }
        if route.settings.portal.is_none() || route.settings.auth != Auth::Required {
            return Err(NotPermitted::Anonymous);
        }
        Ok(Permit { route, caller: None, consent: Some(Box::new(consent)) })
    }

    /// The consent of the portal, if it has admitted the request.
    pub fn consent(&self) -> Option<&Consent> {
        self.consent.as_deref()
    }

    /// The route.
    pub fn route(&self) -> &'g Route {
        self.route
    }

    /// The caller; `None` if anonymous.
    pub fn caller(&self) -> Option<&Arc<Identity>> {
        self.caller.as_ref()
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::clock::Timestamp;
    use crate::config::settings::{self, Admission, MethodScopes, PathPattern};
    use crate::token::{
        Account, AuthMethod, Networks, Restrictions, ScopeSet, SubjectId, TokenDigest, TokenId, TokenRecord,
    };

    fn route(auth: Auth, scopes: &str) -> Route {
        let settings = settings::Route {
            auth,
            scopes: ScopeSet::parse(scopes).unwrap(),
            ..settings::Route::to("test", PathPattern::Prefix("/".to_owned()))
        };
        Route { index: 0, cut_prefix: None, settings }
    }

    fn asked(reads: bool, from: &str) -> Asked<'static> {
        Asked { method: &Method::GET, reads, from: from.parse().unwrap() }
    }

    fn caller(scopes: &str) -> Option<Arc<Identity>> {
        restricted(scopes, Restrictions::default())
    }

    fn restricted(scopes: &str, restrictions: Restrictions) -> Option<Arc<Identity>> {
        let (name, email) = ("alice".to_owned(), String::new());
        let groups = vec!["editors".to_owned(), "staff".to_owned()];
        let owner = Account { id: SubjectId(1), name, email, groups, active: true };
        let (digest, scopes) = (TokenDigest::of(b"k"), ScopeSet::parse(scopes).unwrap());
        let now = Timestamp::from_micros(0);
        let (id, method) = (TokenId(1), AuthMethod::Token);
        let (expires, revoked) = (None, None);
        let record = TokenRecord { id, method, digest, owner, scopes, created: now, expires, revoked, restrictions };
        Identity::establish(&record, now).ok().map(Arc::new)
    }

    #[test]
    fn a_route_accepts_the_callers_of_its_access() {
        let missing = |scope| Some(NotPermitted::MissingScope(Scope::parse(scope).unwrap()));
        for (auth, needs, caller, refused) in [
            (Auth::Required, "", None, Some(NotPermitted::Anonymous)),
            (Auth::Required, "read", None, Some(NotPermitted::Anonymous)),
            (Auth::Required, "", caller(""), None),
            (Auth::Required, "read", caller(""), missing("read")),
            (Auth::Required, "read", caller("write"), missing("read")),
            (Auth::Required, "read write", caller("read"), missing("write")),
            (Auth::Required, "read write", caller("admin read write"), None),
            (Auth::Optional, "", None, None),
            (Auth::Optional, "", caller(""), None),
            (Auth::None, "", None, None),
        ] {
            let route = route(auth, needs);
            let granted = Permit::grant(&route, caller, asked(true, "192.0.2.1"));
            assert_eq!(granted.err(), refused, "{auth:?} {needs}");
        }
    }

    #[test]
    fn restrictions_of_a_token_apply_on_every_route_that_checks_it() {
        let networks = Networks::parse("10.0.0.0/8").unwrap();
        let reader = Restrictions { read_only: true, ..Restrictions::default() };
        let insider = Restrictions { networks, ..Restrictions::default() };
        let both = Restrictions { read_only: true, ..insider.clone() };
        for (restrictions, reads, from, refused) in [
            (&reader, true, "192.0.2.1", None),
            (&reader, false, "10.0.0.1", Some(NotPermitted::ReadOnly)),
            (&insider, false, "10.0.0.1", None),
            (&insider, false, "::ffff:10.0.0.1", None),
            (&insider, true, "192.0.2.1", Some(NotPermitted::Network)),
            (&both, true, "10.0.0.1", None),
            (&both, false, "10.0.0.1", Some(NotPermitted::ReadOnly)),
            (&both, false, "192.0.2.1", Some(NotPermitted::Network)),
        ] {
            for auth in [Auth::Required, Auth::Optional] {
                let route = route(auth, "");
                let caller = restricted("", restrictions.clone());
                assert_eq!(
                    Permit::grant(&route, caller, asked(reads, from)).err(),
                    refused,
                    "{auth:?} {restrictions:?}"
                );
            }
            let open = route(Auth::None, "");
            assert!(Permit::grant(&open, restricted("", restrictions.clone()), asked(reads, from)).is_ok());
        }
    }

    #[test]
    fn a_route_can_require_scopes_for_a_method_and_one_of_several_groups() {
        let scopes = |text| ScopeSet::parse(text).unwrap();
        let missing = |scope| Some(NotPermitted::MissingScope(Scope::parse(scope).unwrap()));
        let method_scopes = MethodScopes::new(vec![(Method::GET, scopes("read"))], scopes("write"));
        for (groups, held, method, refused) in [
            (&[][..], "read", Method::GET, None),
            (&[], "read", Method::HEAD, None),
            (&[], "read", Method::POST, missing("write")),
            (&[], "write", Method::POST, None),
            (&[], "write", Method::GET, missing("read")),
            (&["staff", "others"], "read", Method::GET, None),
            (&["others"], "read", Method::GET, Some(NotPermitted::Group)),
            (&["Staff"], "read", Method::GET, Some(NotPermitted::Group)),
            (&["staff"], "", Method::GET, missing("read")),
        ] {
            let mut route = route(Auth::Required, "");
            let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
            route.settings.admission =
                Admission { method_scopes: method_scopes.clone(), groups: groups.clone(), ..Admission::default() };
            let asked = Asked { method: &method, ..asked(true, "192.0.2.1") };
            assert_eq!(Permit::grant(&route, caller(held), asked).err(), refused, "{groups:?} {held} {method}");
        }
    }

    #[test]
    fn a_route_admits_addresses_for_every_caller() {
        let networks = |text: &str| Networks::parse(text).unwrap();
        for (allow, deny, from, admitted) in [
            ("", "", "192.0.2.1", true),
            ("10.0.0.0/8", "", "10.1.2.3", true),
            ("10.0.0.0/8", "", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "", "192.0.2.1", false),
            ("", "10.0.0.0/8", "10.1.2.3", false),
            ("", "10.0.0.0/8", "::ffff:10.1.2.3", false),
            ("", "10.0.0.0/8", "192.0.2.1", true),
            ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", false),
            ("10.0.0.0/8", "10.1.0.0/16", "10.2.2.3", true),
            ("2001:db8::/32", "", "2001:db8::1", true),
            ("2001:db8::/32", "", "10.1.2.3", false),
        ] {
            for auth in [Auth::Required, Auth::Optional, Auth::None] {
                let mut route = route(auth, "");
                let (allow_ips, deny_ips) = (networks(allow), networks(deny));
                route.settings.admission = Admission { allow_ips, deny_ips, ..Admission::default() };
                let refused = Permit::grant(&route, caller(""), asked(true, from)).err();
                let expected = (!admitted).then_some(NotPermitted::Address);
                assert_eq!(refused, expected, "{auth:?} +{allow} -{deny} {from}");
            }
        }
    }

    #[test]
    fn a_public_route_has_no_caller_and_an_optional_one_may_have_one() {
        let (open, optional) = (route(Auth::None, ""), route(Auth::Optional, ""));
        assert!(Permit::grant(&open, caller(""), asked(true, "192.0.2.1")).unwrap().caller().is_none());
        let permit = Permit::grant(&optional, caller(""), asked(true, "192.0.2.1")).unwrap();
        assert_eq!(permit.caller().map(|caller| caller.subject()), Some(SubjectId(1)));
        assert_eq!(&*permit.route().settings.name, "test");
    }
}
