//! The differences between two configurations.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::config::Settings;
use crate::config::settings::{Admin, FileTest, ListenerRole, Tokens};

/// The changes of a reload, one line each; empty if nothing has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(pub Vec<String>);

/// Returns the settings that differ and that only a restart can change.
pub fn fixed(before: &Settings, after: &Settings) -> Vec<&'static str> {
    let admin = |settings: &Settings| {
        // The index of its certificate may differ; the certificate itself can be reloaded. `authority` has no key in
        // the file.
        settings.admin.clone().map(|admin| Admin { certificate: 0, authority: None, ..admin })
    };
    let tokens = |settings: &Settings| Tokens { schemes: Vec::new(), ..settings.tokens.clone() };
    let parts = [
        ("workers", before.workers != after.workers),
        ("[store], login.hash_parallelism and login.failed_after", before.store != after.store),
        ("[cache.memory]", before.memory != after.memory),
        ("[cache.redis]", before.redis != after.redis),
        ("[tokens] except tokens.schemes", tokens(before) != tokens(after)),
        ("[admin]", admin(before) != admin(after)),
        ("[control]", before.control != after.control),
    ];
    parts.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
}

impl Changes {
    /// Compares two configurations.
    pub fn between(before: &Settings, after: &Settings) -> Changes {
        let mut changes = Changes::default();
        let certificates = |settings: &Settings, role: &ListenerRole| match role {
            ListenerRole::Tls(tls) => tls
                .certificates
                .iter()
                .filter_map(|place| settings.certificates.get(*place))
                .map(|one| one.name.clone())
                .collect(),
            ListenerRole::Plain(_) | ListenerRole::Internal { .. } => Vec::new(),
        };
        changes.compared(
            "listener",
            &before.listeners,
            &after.listeners,
            |one| &one.name,
            |old, new| {
                // Compares certificates by name, because their indices may differ.
                let same = certificates(before, &old.role) == certificates(after, &new.role);
                let mut old = old.clone();
                if let (ListenerRole::Tls(old), ListenerRole::Tls(new)) = (&mut old.role, &new.role) {
                    old.certificates.clone_from(&new.certificates);
                }
                same && old == *new
            },
        );
        changes.named("certificate", &before.certificates, &after.certificates, |one| &one.name);
        changes.named("upstream", &before.upstreams, &after.upstreams, |one| &one.name);
        let upstream = |settings: &Settings, index: usize| settings.upstreams.get(index).map(|one| one.name.clone());
        changes.compared(
            "route",
            &before.routes,
            &after.routes,
            |one| &one.name,
            |old, new| {
                // Compares upstreams by name, because their indices may differ.
                let moved = upstream(before, old.upstream) != upstream(after, new.upstream);
                let mut old = old.clone();
                old.upstream = new.upstream;
                !moved && old == *new
            },
        );
        let admin = |settings: &Settings| {
            let place = settings.admin.as_ref()?.certificate;
            settings.certificates.get(place).map(|certificate| certificate.name.clone())
        };
        // A test that only moved to another line is the same.
        let tests = |settings: &Settings| {
            let unplaced = |test: &FileTest| FileTest { file: PathBuf::new(), line: 0, ..test.clone() };
            settings.tests.iter().map(unplaced).collect::<Vec<_>>()
        };
        let parts = [
            ("admin.certificate", admin(before) != admin(after)),
            ("[identity]", before.identity != after.identity),
            ("[login]", before.login != after.login),
            ("tokens.schemes", before.tokens.schemes != after.tokens.schemes),
            ("[limits]", before.limits != after.limits),
            ("[timeouts]", before.timeouts != after.timeouts),
            ("[spool]", before.spool != after.spool),
            ("[log]", before.log != after.log),
            ("[shutdown]", (before.grace, before.shutdown_delay) != (after.grace, after.shutdown_delay)),
            ("[reload]", before.reload != after.reload),
            ("[[tests]]", tests(before) != tests(after)),
            ("defaults.resolve_every", before.resolve_every != after.resolve_every),
        ];
        changes.0.extend(parts.iter().filter(|(_, differs)| *differs).map(|(name, _)| format!("{name} changed")));
        changes
    }

    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn named<T: PartialEq>(&mut self, kind: &str, before: &[T], after: &[T], name: impl Fn(&T) -> &str) {
        self.compared(kind, before, after, name, |old, new| old == new);
    }

    fn compared<T>(
        &mut self,
        kind: &str,
        before: &[T],
        after: &[T],
        name: impl Fn(&T) -> &str,
        is_equal: impl Fn(&T, &T) -> bool,
    ) {
        let mut gone: BTreeMap<&str, &T> = before.iter().map(|old| (name(old), old)).collect();
        for new in after {
            match gone.remove(name(new)) {
                None => self.0.push(format!("{kind} `{}` added", name(new))),
                Some(old) if !is_equal(old, new) => self.0.push(format!("{kind} `{}` changed", name(new))),
                Some(_) => {}
            }
        }
        self.0.extend(gone.into_keys().map(|name| format!("{kind} `{name}` removed")));
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() { f.write_str("nothing changed") } else { f.write_str(&self.0.join("; ")) }
    }
}
