//! Logins: tokens and sessions for a username and a password.
//!
//! The [`Issuer`] runs in the control half: it checks the rate limits (`attempts`), compares the password, and fetches
//! or creates the token. It also performs the actions of the account page (`account`). `form` parses the bodies of
//! clients, `basic` a header, and `html` renders the pages; both are pure. The endpoint and the pages themselves are
//! steps of a request: see `gateway/login.rs` and `gateway/pages/`.

mod account;
mod attempts;
pub(crate) mod basic;
pub(crate) mod form;
pub(crate) mod html;
mod issuer;
pub(crate) mod next;
pub(crate) mod typed;

pub use account::Confirmed;
pub use html::Offers;
pub use issuer::{AccountField, Issuer, IssuerHandle, LogOut, Login, LoginFailure};
