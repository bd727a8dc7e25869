//! `tokengate rotate-key`.

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::progress::Progress;
use super::{check, runtime, show};
use crate::store::{self, Steps};

/// Replaces the key of the store's key file, or only adds the new one to it.
pub fn run(config: &Path, only_add: bool, json: bool) -> Result<()> {
    let settings = check::settings(config)?.store;
    let key_file = settings.key_file.display().to_string();
    let mut progress = Progress::new("login tokens encrypted again");
    let report = |done: store::Progress| {
        progress.of(done.total);
        progress.reached(done.looked_at);
    };
    let steps = if only_add { Steps::AddKey } else { Steps::All };
    let done = runtime::for_command()?.block_on(store::rotate_key(&settings, steps, report))?;
    drop(progress);
    let Some(store::Progress { renewed, unreadable, total, continued, .. }) = done else {
        if json {
            return show::json(&json!({ "key_file": key_file, "finished": false }));
        }
        show::line(format!("{key_file} has the old key and a new one."))?;
        return show::line("Copy it to all gateways, then run this command without --only-add.");
    };
    if json {
        let shown = json!({
            "key_file": key_file, "finished": true, "total": total, "encrypted": renewed, "unreadable": unreadable,
            "continued": continued,
        });
        return show::json(&shown);
    }
    show::line(format!("{key_file} has the new key only; {renewed} of {total} login tokens were encrypted again."))?;
    if continued {
        show::line(
            "The file had this key already. If it leaked too, run the command again: it then creates another key.",
        )?;
    }
    if unreadable > 0 {
        show::note(format_args!(
            "warning: {unreadable} could not be decrypted, and could not be before. They stay valid; a reset replaces them"
        ));
    }
    show::line("Backups from before need the old key: keep it with them, or make a new backup.")
}
