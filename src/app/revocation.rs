//! Logs revocation lists that expire while the gateway runs.

use std::collections::BTreeSet;

use crate::clock::Timestamp;
use crate::config::Settings;

/// What was logged about revocation lists.
#[derive(Default)]
pub(super) struct Revocation {
    /// Each listener with the warnings about its lists.
    told: BTreeSet<(String, String)>,
}

impl Revocation {
    /// Logs each list that has expired or is missing, once.
    pub(super) fn look(&mut self, settings: &Settings, now: Timestamp) {
        let mut present = BTreeSet::new();
        for (listener, clients) in settings.listeners.iter().filter_map(|one| Some((&one.name, one.clients()?))) {
            for note in clients.authorities.notes(now) {
                let warning = (listener.clone(), note.what);
                if !self.told.contains(&warning) {
                    let (what, mend) = (&warning.1, note.mend);
                    tracing::warn!(code = "revocation_list_expired", listener, "{what}; {mend}");
                }
                present.insert(warning);
            }
        }
        self.told = present;
    }
}
