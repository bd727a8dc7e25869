//! Certificates and keys as files hold them, read in one way for everything that uses TLS.
//!
//! [`pem`] reads the text, [`file`](mod@file) says what a file holds or what is wrong with it, [`Certificate`] is a chain
//! with its key. Nothing here opens a connection.

mod certificate;
mod file;
mod key;
pub mod pem;
mod x509;

pub use certificate::{Certificate, Note};
pub use file::{BadFile, FileFault, KeyForm, Kind, Wanted, authorities, check_identity, holds_a_key};
pub use key::UnfitKey;
