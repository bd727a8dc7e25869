//! The house: starts workers and control, stops them.
//!
//! [`start`] makes everything from checked [`Settings`](crate::config::Settings) and gives a [`Running`] once all
//! sockets are bound, so that tests use port 0 and ask for the address. Control tasks run on the runtime that calls
//! `start`; each worker has a thread and a runtime of its own.

mod admin_door;
mod clock;
mod error;
mod files;
mod knowledge;
mod monitor;
mod prune;
mod signals;
mod start;
mod worker;

pub use error::StartError;
pub use files::OutOfFiles;
pub use signals::{Signal, Signals};
pub use start::{Running, Stopped, World, start};
