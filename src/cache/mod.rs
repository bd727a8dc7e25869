//! The cache of token lookups, and the path of a cache miss to the store.
//!
//! Workers read the [`IdentityCache`]; a cache hit never waits. A miss goes through a [`ResolverHandle`] to the control
//! half, where the [`Resolver`] looks the token up, once for all concurrent requests. The [`Watcher`] reads the store's
//! change log and invalidates cache entries. Events only ever invalidate.

mod breaker;
mod budget;
mod exposed;
mod lookup;
mod memory;
mod quotas;
mod resolver;
mod shared;
mod change_log_state;
mod uses;
mod watcher;

pub use exposed::ExposedTokens;
pub use lookup::{Sources, StoreUnavailable};
pub use memory::{Fill, IdentityCache};
pub use quotas::Quotas;
pub use resolver::{Resolver, ResolverHandle};
pub use shared::{Begun, Looked, SharedCache, SharedCounters, SharedRates};
pub use uses::Uses;
pub use watcher::{Watcher, announce};
