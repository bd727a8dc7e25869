//! Authentication and authorization.
//!
//! [`Credentials`] parses the `Authorization` header, [`cookies`] reads sessions, and [`csrf`] protects them.
//! [`Authenticator`] establishes the caller. A [`Permit`] proves that a route admits the caller; no request is
//! forwarded without one. Tokens and sessions for passwords are issued in [`login`](crate::login).

mod authenticator;
mod consent;
pub mod cookies;
mod credentials;
pub mod csrf;
mod own;
mod permit;
mod rules;
mod wrong_keys;

pub use authenticator::{Accepted, AuthFailure, Authenticator, ShownCertificate};
pub use consent::Consent;
pub use credentials::{BadCredentials, Credentials, KeyForm};
pub use csrf::{CsrfFault, CsrfSecret};
pub use permit::{Asked, NotPermitted, Permit};
pub use rules::CredentialRules;
pub use wrong_keys::{Refused, WrongKeys};
