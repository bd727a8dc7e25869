//! Who is calling, and may they.
//!
//! [`Credentials`] reads the `Authorization` field; [`Permit`] is the proof that a route lets a caller through, and the
//! only thing that a request can be forwarded with.

mod credentials;
mod permit;

pub use credentials::{BadCredentials, Credentials};
pub use permit::{NotPermitted, Permit};
