//! Hand-over of all listening sockets from the running process, the *predecessor*, to another one, the *successor*.
//!
//! The two talk over the control socket, in lines:
//!
//! | successor | predecessor |
//! |---|---|
//! | `take-over` with the version of this protocol | |
//! | | `ok`, the listeners, and a descriptor of each socket |
//! | reads its file, opens store and caches, builds everything: `ready` | |
//! | | `ok`; from here on the sockets are the successor's too |
//! | takes the name of the control socket, accepts: `serving` | |
//! | | accepts no more, drains: `ok` |
//!
//! Until `serving` the predecessor accepts as before. So a successor that ends, breaks off, says `failed` or is late
//! changes nothing. The connection stays open: its end tells the successor that the predecessor has drained, and `stop`
//! asks the predecessor to drain no longer.

mod give;
mod launch;
mod take;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub(super) use give::HandOver;
pub use give::Successor;
pub use launch::Launch;
pub use take::{Draining, Granted, Predecessor, TakeOverError};

/// The version of the protocol. Another one is refused.
const PROTOCOL: u32 = 1;
/// The command with which a successor begins.
pub(super) const TAKE_OVER: &str = "take-over";
const READY: &str = "ready";
const SERVING: &str = "serving";
const FAILED: &str = "failed";
const STOP: &str = "stop";

/// What a successor says first.
#[derive(Serialize, Deserialize)]
struct Request {
    protocol: u32,
    version: String,
}

/// What a predecessor answers.
#[derive(Serialize, Deserialize)]
struct Answer {
    ok: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
    /// What each descriptor was opened for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sockets: Vec<Listening>,
}

/// A listener of the predecessor's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Listening {
    listener: String,
    address: SocketAddr,
}

impl Answer {
    fn ok() -> Answer {
        Answer { ok: true, problems: Vec::new(), sockets: Vec::new() }
    }

    fn refused(problems: Vec<String>) -> Answer {
        Answer { ok: false, problems, sockets: Vec::new() }
    }

    fn line(&self) -> String {
        // Has no map with keys other than text, so that it cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}
