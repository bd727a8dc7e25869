//! Who is calling, and may they.
//!
//! [`Credentials`] reads the `Authorization` field, [`cookies`] sessions, which [`csrf`] guards; [`Authenticator`]
//! establishes who sent it; [`Permit`] is the proof that a route lets a caller through, and the only thing that a
//! request can be forwarded with. [`Issuer`] gives tokens and sessions for passwords.

mod account;
mod attempts;
mod authenticator;
pub mod cookies;
mod credentials;
pub mod csrf;
mod issuer;
mod own;
mod permit;
mod wrong_keys;

pub use account::Confirmed;
pub use authenticator::{Accepted, AuthFailure, Authenticator};
pub use credentials::{BadCredentials, Credentials, KeyForm};
pub use csrf::{CsrfFault, CsrfSecret};
pub use issuer::{Issuer, IssuerHandle, Login, LoginFailure};
pub use permit::{Asked, NotPermitted, Permit};
pub use wrong_keys::{Refused, WrongKeys};
