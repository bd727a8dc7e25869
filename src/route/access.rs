//! Who may pass a route, as routes keep it.

use crate::config::settings::{self, Auth};
use crate::token::ScopeSet;

/// Who may pass a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody; credentials are not looked at.
    None,
    /// Everybody without credentials, and those whose credentials are good.
    Optional,
    /// Callers with a live token.
    Required {
        /// All of these must be scopes of the token.
        scopes: ScopeSet,
    },
}

impl Access {
    /// What the settings of a route ask for.
    pub fn of(route: &settings::Route) -> Access {
        match route.auth {
            Auth::None => Access::None,
            Auth::Optional => Access::Optional,
            Auth::Required => Access::Required { scopes: route.scopes.clone() },
        }
    }
}
