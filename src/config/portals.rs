//! `[portals]`: services that sign users in, and say whether a request without a token may pass.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use http::uri::PathAndQuery;

use super::identity::{IdentityFields, field_name};
use super::names::Names;
use super::reader::{Named, Table};
use super::value::{Fault, Key};
use crate::token::AuthMethod;

/// A service that is asked about requests without a token (forward authentication).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portal {
    /// Its name in the file.
    pub name: Arc<str>,
    /// Index into [`Settings::upstreams`](super::Settings::upstreams): where it is.
    pub upstream: usize,
    /// What it is asked for.
    pub path: PathAndQuery,
    /// The headers of its answer that the upstream of a route gets. No client can send them.
    pub headers: Vec<HeaderName>,
    /// Maximum time from the question to the head of the answer.
    pub timeout: Duration,
}

/// The portals that routes refer to.
pub(super) struct Portals {
    /// Their names.
    pub names: Names,
    all: Vec<Option<Arc<Portal>>>,
}

/// `[portals]`
pub(super) fn read(root: &Table<'_>, upstreams: &Names, identity: &IdentityFields) -> Portals {
    let named = root.named("portals", |name, table| portal(name, table, upstreams, identity));
    let names = Names::of("portals", "portal", &named);
    Portals { names, all: named.into_iter().map(|Named { value, .. }| value.map(Arc::new)).collect() }
}

fn portal(name: &str, table: &Table<'_>, upstreams: &Names, identity: &IdentityFields) -> Option<Portal> {
    let upstream =
        table.key("upstream").required("add `upstream = \"NAME\"`: the one of [upstreams] where the portal is");
    let upstream = upstreams.find(&upstream);
    let path = table.key("path").required("add `path`, such as \"/oauth2/auth\"").parse(path);
    let headers = table.key("headers").parse_list(|text| header(text, identity));
    let timeout = table.key("timeout").duration(Duration::from_secs(5));
    Some(Portal { name: name.into(), upstream: upstream?, path: path?, headers, timeout })
}

fn path(text: &str) -> Result<PathAndQuery, Fault> {
    let is_path = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    let path = text.parse().ok().filter(|_| is_path);
    path.ok_or_else(|| Fault::new("is not a path", "write a path such as \"/oauth2/auth\""))
}

/// The name of a header of a portal's answer.
fn header(text: &str, identity: &IdentityFields) -> Result<HeaderName, Fault> {
    let name = field_name(text)?;
    let is_own = identity.names().any(|own| *own == name) || name.as_str().starts_with("x-tokengate");
    if is_own {
        return Err(Fault::new("is set by the gateway itself", "remove it, or rename it in [identity.headers]"));
    }
    Ok(name)
}

/// The words of `credentials`; `None`: the portal.
const CREDENTIALS: [(&str, Option<AuthMethod>); 4] = [
    ("token", Some(AuthMethod::Token)),
    ("session", Some(AuthMethod::Session)),
    ("certificate", Some(AuthMethod::Certificate)),
    ("portal", None),
];

impl Portals {
    /// Reads `credentials` and `portal` of a route. `restricts`: the route asks for scopes or groups. `is_required`: it
    /// requires credentials.
    pub(super) fn credentials(
        &self,
        route: &Table<'_>,
        credentials: &Key<'_>,
        is_required: bool,
        restricts: bool,
    ) -> (Vec<AuthMethod>, Option<Arc<Portal>>) {
        let accepted = credentials.choices(&CREDENTIALS, &[Some(AuthMethod::Token)]);
        let asks = accepted.contains(&None);
        let key = route.key("portal").only_if(asks);
        let portal = self.names.find(&key).and_then(|index| self.all.get(index).cloned().flatten());
        if asks && !key.is_set() {
            credentials.problem("names no portal", "add `portal = \"NAME\"`: one of [portals]");
        }
        if key.is_set() && !asks {
            key.problem("this route does not ask a portal", "add \"portal\" to `credentials`, or remove it");
        }
        let own: Vec<AuthMethod> = accepted.iter().copied().flatten().collect();
        if asks {
            if accepted.last() != Some(&None) || own.is_empty() {
                let mend = "write `credentials = [\"token\", \"portal\"]`";
                credentials.problem("the portal is asked last, about requests without other credentials", mend);
            }
            if !is_required {
                credentials.problem("a portal decides about required credentials", "use `auth = \"required\"`");
            }
            if restricts {
                let mend =
                    "let the portal decide who may use the route, and put `scopes` and `groups` on a route for tokens";
                credentials.problem("users of a portal have neither scopes nor groups here", mend);
            }
        }
        let own = if own.is_empty() { vec![AuthMethod::Token] } else { own };
        (own, portal.filter(|_| asks))
    }
}
