//! What this process remembers of tokens, and who asks the store when it does not know.
//!
//! [`IdentityCache`] is read by workers; a hit never waits. A miss goes through a [`ResolverHandle`] to the
//! control half, where the [`Resolver`] asks the store, one question per token at a time. The [`watch`] task reads the
//! store's change log and makes the cache forget. Events only ever say "forget".

mod exposed;
mod memory;
mod resolver;
mod shared;
mod watcher;

pub use exposed::ExposedTokens;
pub use memory::{Fill, IdentityCache};
pub use resolver::{Resolver, ResolverHandle, StoreUnavailable};
pub use shared::{Begun, Looked, SharedCache, SharedCounters};
pub use watcher::watch;
