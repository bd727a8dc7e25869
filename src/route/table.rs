//! Finds the route of a request.
//!
//! First the host decides: the exact host, then the longest `*.` pattern, then routes for any host. Then the path
//! decides: the exact path, then the longest prefix. Then the method decides. If no route of a host pattern matches the
//! path, the next host pattern is tried. If routes match the path but not the method, the search ends. No regular
//! expressions, no scan: the cost does not grow with the number of routes.

use std::collections::HashMap;

use http::{HeaderValue, Method};

use super::paths::{Paths, Routes};
use super::{Target, path};
use crate::config::settings::{self, Auth, HostPattern, PathPattern};

/// The methods of a route that lists none. Other methods pass only where a route lists them.
pub const STANDARD_METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// One route: all steps after [`RouteTable::find`] use it.
#[derive(Debug)]
pub struct Route {
    /// Its index in the settings.
    pub index: usize,
    /// Its settings.
    pub settings: settings::Route,
    /// The prefix that the route strips, as a header value for the upstream; `None` if it strips none.
    pub cut_prefix: Option<HeaderValue>,
}

/// All routes.
#[derive(Debug)]
pub struct RouteTable {
    routes: Vec<Route>,
    exact: HashMap<String, Paths>,
    below: HashMap<String, Paths>,
    any: Paths,
}

/// Why no route matches a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    /// No route matches the host and path.
    #[error("no route matches this host and path")]
    NotFound,
    /// Routes match the host and path, but not the method.
    #[error("no route allows this method here")]
    Method {
        /// The allowed methods: the value of `Allow`.
        allow: HeaderValue,
    },
    /// The path has `//`, and the route does not allow that.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// The path has `%2F`, and no route allows that.
    #[error("the path has an encoded slash")]
    EncodedSlash,
    /// The path has a delimiter such as `%252F`, and no route allows that.
    #[error("the path has a delimiter that is percent-encoded twice")]
    EncodedPercent,
    /// The path matches another route if parameters (`;v=1`) and empty segments are removed, or if it is decoded again.
    /// The upstream may read it so.
    #[error("another route would match the path without its parameters or empty segments, or decoded again")]
    TwoReadings,
}

impl RouteTable {
    /// Builds the table. The configuration has no two routes that match the same requests equally well.
    pub fn build(routes: Vec<settings::Route>) -> RouteTable {
        let routes = routes.into_iter().enumerate().map(|(index, route)| Route::new(index, route)).collect();
        let (exact, below, any) = (HashMap::new(), HashMap::new(), Paths::default());
        let mut table = RouteTable { routes, exact, below, any };
        for Route { index, settings, .. } in &table.routes {
            let paths = match &settings.host {
                HostPattern::Exact(host) => table.exact.entry(host.clone()).or_default(),
                HostPattern::Below(domain) => table.below.entry(domain.clone()).or_default(),
                HostPattern::Any => &mut table.any,
            };
            paths.routes_of(&settings.path).push(*index);
        }
        table
    }

    /// The route for a target.
    ///
    /// # Errors
    /// [`NoRoute`] tells why no route matches.
    pub fn find(&self, target: &Target<'_>) -> Result<&Route, NoRoute> {
        self.find_for(target, target.method())
    }

    /// The route for a target if its method were another one.
    ///
    /// # Errors
    /// As [`RouteTable::find`].
    pub fn find_for(&self, target: &Target<'_>, method: &Method) -> Result<&Route, NoRoute> {
        let found = self.look_up(target.host(), target.decoded_path(), method);
        let lets = |pass: fn(&settings::Route) -> bool| found.as_ref().is_ok_and(|route| pass(&route.settings));
        if target.has_encoded_slash() && !lets(|route| route.encoded_slashes) {
            return Err(NoRoute::EncodedSlash);
        }
        if target.has_encoded_percent() && !lets(|route| route.encoded_percent) {
            return Err(NoRoute::EncodedPercent);
        }
        let route = found?;
        if target.has_empty_segments() && !route.settings.empty_segments {
            return Err(NoRoute::EmptySegment);
        }
        // Upstreams read such a path differently, so the same route must match all readings.
        for path in target.other_readings() {
            match self.look_up(target.host(), path, method) {
                Ok(other) if other.index == route.index => (),
                _ => return Err(NoRoute::TwoReadings),
            }
        }
        Ok(route)
    }

    /// All routes, in the order of the settings.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Whether every route requires a token.
    pub fn all_protected(&self) -> bool {
        self.routes.iter().all(|route| route.settings.auth == Auth::Required)
    }

    /// Every route whose host and path match a target, the most specific ones first: groups of routes with the same
    /// host and path. [`RouteTable::find`] looks at the first group alone.
    pub fn candidates(&self, target: &Target<'_>) -> Vec<Vec<&Route>> {
        let hosts = self.hosts(target.host());
        let groups = hosts.flat_map(|paths| paths.matching(target.decoded_path()));
        groups.map(|group| group.iter().filter_map(|index| self.routes.get(*index)).collect()).collect()
    }

    fn look_up(&self, host: &str, path: &str, method: &Method) -> Result<&Route, NoRoute> {
        let routes = self.hosts(host).find_map(|paths| paths.find(path)).ok_or(NoRoute::NotFound)?;
        self.with_method(routes, method).ok_or_else(|| NoRoute::Method { allow: self.allow(routes) })
    }

    /// The routes of each host pattern that matches, the most specific one first.
    fn hosts(&self, host: &str) -> impl Iterator<Item = &Paths> {
        let exact = self.exact.get(host);
        let domains = std::iter::successors(parent(host), |domain| parent(domain));
        let below = domains.filter_map(|domain| self.below.get(domain));
        exact.into_iter().chain(below).chain(std::iter::once(&self.any))
    }

    /// Among routes of one path: the one that lists the method, else the one that lists no methods and allows it.
    fn with_method(&self, routes: &Routes, method: &Method) -> Option<&Route> {
        let mut taking = routes.iter().filter_map(|index| self.routes.get(*index)).filter(|route| route.takes(method));
        let first = taking.next()?;
        if first.settings.methods.is_empty() { taking.next().or(Some(first)) } else { Some(first) }
    }

    fn allow(&self, routes: &Routes) -> HeaderValue {
        let routes = routes.iter().filter_map(|index| self.routes.get(*index));
        let mut names: Vec<&str> = routes.flat_map(Route::methods).map(Method::as_str).collect();
        names.sort_unstable();
        names.dedup();
        // Methods are tokens, and tokens with commas are valid header values.
        HeaderValue::try_from(names.join(", ")).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

impl Route {
    fn new(index: usize, settings: settings::Route) -> Route {
        Route { index, cut_prefix: cut_prefix(&settings), settings }
    }

    fn methods(&self) -> &[Method] {
        if self.settings.methods.is_empty() { &STANDARD_METHODS } else { &self.settings.methods }
    }

    /// Whether it accepts this method, given that host and path match.
    pub fn takes(&self, method: &Method) -> bool {
        self.methods().contains(method)
    }
}

/// The prefix without a trailing slash, percent-encoded.
fn cut_prefix(settings: &settings::Route) -> Option<HeaderValue> {
    let PathPattern::Prefix(prefix) = &settings.path else { return None };
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let is_cut = settings.strip_prefix && !prefix.is_empty();
    is_cut.then(|| HeaderValue::try_from(path::encode(prefix)).ok()).flatten()
}

/// `example.com` of `api.example.com`.
fn parent(host: &str) -> Option<&str> {
    host.split_once('.').map(|(_, domain)| domain)
}

#[cfg(test)]
mod tests;
