//! `[spool]`: where request bodies are buffered.

use std::path::PathBuf;

use super::reader::Table;
use super::routes::Route;
use crate::units::ByteSize;

/// Where request bodies are buffered that need a length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    /// The folder for bodies that are too long for memory.
    pub folder: PathBuf,
    /// Limit of all bodies together in bytes, in memory and in the folder.
    pub max_size: u64,
}

impl Default for Spool {
    fn default() -> Spool {
        Spool { folder: std::env::temp_dir(), max_size: 1 << 30 }
    }
}

/// `[spool]`. The largest body of each route with `request_body = "buffer"` must fit in.
pub(super) fn read(root: &Table<'_>, routes: &[Route]) -> Spool {
    root.table("spool", |table| {
        let default = Spool::default();
        let (folder, max_size) = (table.key("folder").varies(), table.key("max_size"));
        let spool = Spool {
            folder: folder.file(&default.folder.to_string_lossy()),
            max_size: max_size.bytes(1 << 20..=1 << 50, default.max_size),
        };
        if folder.is_set() && !spool.folder.is_dir() {
            folder.problem("the folder does not exist", "create it for the user that runs the gateway");
        }
        let gathered = routes.iter().filter(|route| route.buffer_request && route.body_limit < u64::MAX);
        if let Some(route) = gathered.max_by_key(|route| route.body_limit).filter(|r| r.body_limit > spool.max_size) {
            let (body, name) = (ByteSize(route.body_limit), &route.name);
            let what = format!("a request body of routes.{name} may be {body} long, which does not fit in");
            max_size.problem(what, format!("write at least \"{body}\", or lower routes.{name}.limits.body"));
        }
        spool
    })
}
