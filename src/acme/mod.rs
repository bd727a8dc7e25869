//! Certificates from a certificate authority (CA), by the protocol ACME (RFC 8555).
//!
//! [`Keeper`] is a task of the control half. It requests each configured certificate when there is none, and again
//! before it expires. It only writes files: the task that looks at certificate files takes a new one into use, as it
//! does for certificates from elsewhere. A failure changes nothing: the last certificate stays in use, and the next
//! attempt follows.
//!
//! Gateways that share the folder share the account, the certificates and the answers to challenges: see [`Folder`].
//! [`Challenges`] holds the pending answers; the gateway and the listeners look them up.

mod challenges;
mod client;
mod dns_hook;
mod error;
mod folder;
mod keeper;
mod order;
mod schedule;

pub use challenges::Challenges;
pub use error::AcmeError;
pub use folder::{Folder, Lock, Pending};
pub use keeper::Keeper;
pub use order::{Reason, issue, revoke};
