//! Certificate and key files, read in the same way for all uses of TLS.
//!
//! [`pem`] parses the text, [`file`](mod@file) checks the content of a file, [`Certificate`] is a chain with its key.
//! Nothing here opens a connection.

mod authorities;
mod certificate;
mod client_authorities;
mod client_chain;
mod file;
mod key;
mod made;
pub mod pem;
mod revocation;
mod x509;

pub use authorities::{Authorities, NoAuthorities};
pub use certificate::{Certificate, Note};
pub use client_authorities::ClientAuthorities;
pub use client_chain::{ClientChain, ClientName, ClientNames, NameKind};
pub use file::{BadFile, FileFault, KeyForm, Kind, Wanted, authorities, check_identity, holds_a_key};
pub use key::UnfitKey;
pub use made::{ACME_PROTOCOL, ChallengeCertificate, NewKey, NotMade};
pub use rustls::pki_types::ServerName;
