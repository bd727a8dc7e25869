//! Changes of the headers of requests, responses and trailers: one topic per file.
//!
//! Everything works in place on the message's header map. For requests the order matters: [`FieldPolicy::sift`] first
//! removes all headers that a client may not send; then [`forwarded::set`] and [`FieldPolicy::add`] add those of the
//! gateway, and nothing is removed afterwards.

mod checked;
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
