//! The path patterns of the routes of one host.
//!
//! A lookup costs at most as many hash lookups as the longest prefix has segments, however many routes there are and
//! however long the path is. Used by [`RouteTable`](super::RouteTable) only; it holds indices of routes.

use std::collections::HashMap;

use smallvec::SmallVec;

use crate::config::settings::PathPattern;

/// The routes with one path pattern.
pub(super) type Routes = SmallVec<[usize; 1]>;

/// Maps paths to routes.
#[derive(Debug, Default)]
pub(super) struct Paths {
    exact: HashMap<String, Routes>,
    prefixes: HashMap<String, Routes>,
    longest_prefix: usize,
}

impl Paths {
    /// The routes with this pattern, for adding to them.
    pub(super) fn routes_of(&mut self, pattern: &PathPattern) -> &mut Routes {
        match pattern {
            PathPattern::Exact(path) => self.exact.entry(path.clone()).or_default(),
            PathPattern::Prefix(path) => {
                self.longest_prefix = self.longest_prefix.max(path.len());
                self.prefixes.entry(path.clone()).or_default()
            }
        }
    }

    /// The routes with the most specific pattern that matches `path`: the exact path, else the longest prefix.
    pub(super) fn find(&self, path: &str) -> Option<&Routes> {
        self.matching(path).next()
    }

    /// The routes of every pattern that matches `path`, the most specific one first.
    pub(super) fn matching(&self, path: &str) -> impl Iterator<Item = &Routes> {
        // `/a/b` is looked up as `/a/b`, `/a/`, `/a` and `/`, in this order.
        let with_slash = |at| path.get(..=at).filter(|prefix| prefix.len() < path.len());
        let shorter = path.rmatch_indices('/').flat_map(move |(at, _)| [with_slash(at), path.get(..at)]).flatten();
        let prefixes = std::iter::once(path).chain(shorter).filter(|prefix| prefix.len() <= self.longest_prefix);
        self.exact.get(path).into_iter().chain(prefixes.filter_map(|prefix| self.prefixes.get(prefix)))
    }
}
