//! Authorization: the proof that a route admits a caller.
//!
//! Forwarding requires a [`Permit`], and only [`Permit::grant`] creates one, so no code path can skip the check. The
//! check does not rely on the steps before it, and knows neither sockets nor stores.

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::settings::Auth;
use crate::identity::Identity;
use crate::route::Route;
use crate::token::Scope;

/// Proof that this route admits this caller.
#[derive(Debug)]
pub struct Permit<'g> {
    route: &'g Route,
    caller: Option<Arc<Identity>>,
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
}

/// The facts about a request that the decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
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
    pub fn grant(route: &'g Route, caller: Option<Arc<Identity>>, asked: Asked) -> Result<Permit<'g>, NotPermitted> {
        let caller = match route.settings.auth {
            Auth::None => None,
            Auth::Optional => caller,
            Auth::Required => {
                let caller = caller.ok_or(NotPermitted::Anonymous)?;
                let needed = &route.settings.scopes;
                if let Some(missing) = needed.iter().find(|scope| !caller.scopes().contains(scope)) {
                    return Err(NotPermitted::MissingScope(missing.clone()));
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
        Ok(Permit { route, caller })
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
    use crate::config::settings::{self, PathPattern};
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

    fn asked(reads: bool, from: &str) -> Asked {
        Asked { reads, from: from.parse().unwrap() }
    }

    fn caller(scopes: &str) -> Option<Arc<Identity>> {
        restricted(scopes, Restrictions::default())
    }

    fn restricted(scopes: &str, restrictions: Restrictions) -> Option<Arc<Identity>> {
        let (name, email) = ("alice".to_owned(), String::new());
        let owner = Account { id: SubjectId(1), name, email, groups: Vec::new(), active: true };
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
    fn a_public_route_has_no_caller_and_an_optional_one_may_have_one() {
        let (open, optional) = (route(Auth::None, ""), route(Auth::Optional, ""));
        assert!(Permit::grant(&open, caller(""), asked(true, "192.0.2.1")).unwrap().caller().is_none());
        let permit = Permit::grant(&optional, caller(""), asked(true, "192.0.2.1")).unwrap();
        assert_eq!(permit.caller().map(|caller| caller.subject()), Some(SubjectId(1)));
        assert_eq!(&*permit.route().settings.name, "test");
    }
}
