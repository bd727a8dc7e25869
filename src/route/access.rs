//! Which callers may use a route.

use crate::config::settings::{self, Auth};
use crate::token::ScopeSet;

/// Which callers may use a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// All requests; credentials are not checked.
    None,
    /// Requests without credentials, and requests with valid credentials.
    Optional,
    /// Callers with a live token.
    Required {
        /// Scopes that the token must have.
        scopes: ScopeSet,
    },
}

impl Access {
    /// The access that the settings of a route require.
    pub fn of(route: &settings::Route) -> Access {
        match route.auth {
            Auth::None => Access::None,
            Auth::Optional => Access::Optional,
            Auth::Required => Access::Required { scopes: route.scopes.clone() },
        }
    }
}
