//! Composition of the process: starts and stops workers and control tasks.
//!
//! [`start`] builds everything from checked [`Settings`](crate::config::Settings). It returns a [`Running`] once all
//! sockets are bound, so tests can use port 0 and read the address. Control tasks run on the runtime that calls
//! `start`; each worker has its own thread and runtime.

mod admin_server;
mod certificate_gauges;
mod changes;
mod channel;
mod clock;
mod configuration_file;
mod control;
mod control_socket;
mod error;
pub mod explain;
pub mod file_tests;
mod file_watch;
mod files;
mod generation;
mod hand_over;
mod health_checks;
mod inherited;
mod internal;
mod memory;
mod token_services;
mod logs;
mod monitor;
mod prune;
mod reload;
mod resolve;
mod revocation;
mod running;
mod sampler;
mod signals;
mod sockets;
mod start;
mod traces;
mod worker;

pub use changes::Changes;
pub use error::StartError;
pub use files::OutOfFiles;
pub use hand_over::{Draining, Granted, Launch, Predecessor, Successor, TakeOverError};
pub use inherited::Inherited;
pub use memory::without_huge_pages;
pub use reload::ReloadError;
pub use running::{Asker, Order, Running, Stopped};
pub use signals::{Signal, Signals};
pub use start::{Ready, World, prepare, start};
