//! Who is calling, and may they.
//!
//! [`Credentials`] reads the `Authorization` field; [`Authenticator`] establishes who sent it; [`Permit`] is the proof that
//! a route lets a caller through, and the only thing that a request can be forwarded with.

mod authenticator;
mod credentials;
mod permit;

pub use authenticator::{AuthFailure, Authenticator};
pub use credentials::{BadCredentials, Credentials};
pub use permit::{NotPermitted, Permit};
