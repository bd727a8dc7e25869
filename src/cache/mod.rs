//! What this process remembers of tokens, and who asks the store when it does not know.
//!
//! [`IdentityCache`] is read by workers; a hit never waits. A miss goes through a [`ResolverHandle`] to the control
//! half, where the [`Resolver`] looks it up, one question per token at a time. The [`Watcher`] reads the store's change
//! log and makes the cache forget. Events only ever say "forget".

mod breaker;
mod budget;
mod exposed;
mod lookup;
mod memory;
mod resolver;
mod shared;
mod sight;
mod uses;
mod watcher;

pub use exposed::ExposedTokens;
pub use lookup::{Sources, StoreUnavailable};
pub use memory::{Fill, IdentityCache};
pub use resolver::{Resolver, ResolverHandle};
pub use shared::{Begun, Looked, SharedCache, SharedCounters};
pub use uses::Uses;
pub use watcher::{Watcher, announce};
