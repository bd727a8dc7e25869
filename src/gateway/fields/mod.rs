//! What happens to the fields of requests, responses and trailers: one topic per file.
//!
//! All of it works in place on the map that the message came with. The order is law for requests: first
//! [`FieldPolicy::sift`] takes away whatever a client may not say, then [`forwarded::set`] and [`FieldPolicy::add`] say
//! it for the gateway, and nothing is removed afterwards.

mod foreign;
pub mod forwarded;
mod hop_by_hop;
mod identity;
mod policy;
pub mod response;
mod sift;
pub mod trailers;

pub(super) use hop_by_hop::nominated;
pub use policy::FieldPolicy;
pub use sift::BadField;
