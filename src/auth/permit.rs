//! The proof that a route lets a caller through.
//!
//! Forwarding asks for a [`Permit`], and only [`Permit::grant`] makes one, so that no path through the gateway can
//! forget the question. It decides by itself, without trust in the step before, and knows nothing of sockets or stores.

use std::sync::Arc;

use crate::identity::Identity;
use crate::route::{Access, Route};
use crate::token::Scope;

/// Proof that this route lets this caller through.
#[derive(Debug)]
pub struct Permit<'g> {
    route: &'g Route,
    caller: Option<Arc<Identity>>,
}

/// Why a route does not let a caller through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPermitted {
    /// It asks for a token, and there is no caller.
    #[error("this route needs a token")]
    Anonymous,
    /// The token lacks a scope that the route asks for.
    #[error("the token lacks the scope `{0}`")]
    MissingScope(Scope),
}

impl<'g> Permit<'g> {
    /// Decides whether `route` lets `caller` through.
    ///
    /// On a route that does not look at credentials a caller stays unnamed, whoever it is.
    ///
    /// # Errors
    /// [`NotPermitted`] says what is missing.
    pub fn grant(route: &'g Route, caller: Option<Arc<Identity>>) -> Result<Permit<'g>, NotPermitted> {
        let caller = match &route.access {
            Access::None => None,
            Access::Optional => caller,
            Access::Required { scopes } => {
                let caller = caller.ok_or(NotPermitted::Anonymous)?;
                if let Some(missing) = scopes.iter().find(|scope| !caller.scopes().contains(scope)) {
                    return Err(NotPermitted::MissingScope(missing.clone()));
                }
                Some(caller)
            }
        };
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
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;
    use crate::config::settings::{self, Auth, HostPattern, PathPattern};
    use crate::token::{Account, AuthMethod, ScopeSet, SubjectId, TokenDigest, TokenId, TokenRecord};

    fn route(auth: Auth, scopes: &str) -> Route {
        let settings = settings::Route {
            name: "test".into(),
            host: HostPattern::Any,
            path: PathPattern::Prefix("/".to_owned()),
            methods: Vec::new(),
            upstream: 0,
            auth,
            credentials: vec![AuthMethod::Token],
            scopes: ScopeSet::parse(scopes).unwrap(),
            strip_prefix: false,
            upstream_host: false,
            empty_segments: false,
            buffer_request: false,
            streaming: false,
            body_limit: 1,
            request_body_timeout: Duration::from_secs(1),
            response_headers_timeout: Duration::from_secs(1),
            response_body_timeout: Duration::from_secs(1),
            total_timeout: None,
        };
        Route { index: 0, access: Access::of(&settings), settings }
    }

    fn caller(scopes: &str) -> Option<Arc<Identity>> {
        let (name, email) = ("alice".to_owned(), String::new());
        let owner = Account { id: SubjectId(1), name, email, groups: Vec::new(), active: true };
        let (digest, scopes) = (TokenDigest::of(b"k"), ScopeSet::parse(scopes).unwrap());
        let now = Timestamp::from_micros(0);
        let (id, method) = (TokenId(1), AuthMethod::Token);
        let record = TokenRecord { id, method, digest, owner, scopes, created: now, expires: None, revoked: None };
        Identity::establish(&record, now).ok().map(Arc::new)
    }

    #[test]
    fn a_route_lets_through_whom_its_access_names() {
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
            let granted = Permit::grant(&route, caller);
            assert_eq!(granted.err(), refused, "{auth:?} {needs}");
        }
    }

    #[test]
    fn an_open_route_names_nobody_and_an_optional_one_names_its_caller() {
        let (open, optional) = (route(Auth::None, ""), route(Auth::Optional, ""));
        assert!(Permit::grant(&open, caller("")).unwrap().caller().is_none());
        let permit = Permit::grant(&optional, caller("")).unwrap();
        assert_eq!(permit.caller().map(|caller| caller.subject()), Some(SubjectId(1)));
        assert_eq!(&*permit.route().settings.name, "test");
    }
}
