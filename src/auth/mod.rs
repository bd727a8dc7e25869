//! Who is calling, and may they.
//!
//! [`Credentials`] reads the `Authorization` field; [`Authenticator`] establishes who sent it; [`Permit`] is the proof that
//! a route lets a caller through, and the only thing that a request can be forwarded with. [`Issuer`] gives tokens for
//! passwords; [`Throttle`] bounds how often both may be tried.

mod authenticator;
mod credentials;
mod issuer;
mod permit;
mod throttle;
mod wrong_keys;

pub use authenticator::{AuthFailure, Authenticator};
pub use credentials::{BadCredentials, Credentials};
pub use issuer::{Issuer, IssuerHandle, Login, LoginFailure};
pub use permit::{NotPermitted, Permit};
pub use throttle::Throttle;
pub use wrong_keys::WrongKeys;
