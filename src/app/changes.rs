//! The differences between two configurations.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::config::Settings;
use crate::config::settings::{Admin, FileTest, ListenerRole, StoreUrl, Tokens};

/// The changes of a reload, one line each; empty if nothing has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(pub Vec<String>);

/// The outcome of a reload, or of a comparison: what differs from the configuration in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// What a reload changes.
    pub changes: Changes,
    /// Settings that differ and that only a restart can change.
    pub restart: Vec<&'static str>,
}

/// Settings that only a restart can change.
struct Fixed {
    name: &'static str,
    differs: fn(&Settings, &Settings) -> bool,
    /// Whether those of the first configuration can be used with the rest of the second one. The error says why not.
    fits: fn(&Settings, &Settings) -> Result<(), String>,
    /// Copies them from the first configuration to the second one.
    keep: fn(&Settings, &mut Settings),
}

const ALWAYS: fn(&Settings, &Settings) -> Result<(), String> = |_, _| Ok(());

/// All settings that only a restart can change.
const FIXED: [Fixed; 7] = [
    Fixed {
        name: "workers",
        differs: |before, after| before.workers != after.workers,
        fits: ALWAYS,
        keep: |before, after| after.workers = before.workers,
    },
    Fixed {
        name: "[store], login.hash_parallelism and login.failed_after",
        differs: |before, after| before.store != after.store,
        fits: |before, after| {
            let is_django = |settings: &Settings| matches!(settings.store.url, StoreUrl::Django(_));
            let same = is_django(before) == is_django(after);
            if same { Ok(()) } else { Err("the other settings were written for another kind of store".to_owned()) }
        },
        keep: |before, after| after.store = before.store.clone(),
    },
    Fixed {
        name: "[cache.memory]",
        differs: |before, after| before.memory != after.memory,
        fits: ALWAYS,
        keep: |before, after| after.memory = before.memory.clone(),
    },
    Fixed {
        name: "[cache.redis]",
        differs: |before, after| before.redis != after.redis,
        fits: ALWAYS,
        keep: |before, after| after.redis.clone_from(&before.redis),
    },
    Fixed {
        name: "[tokens] except tokens.schemes",
        differs: |before, after| tokens(before) != tokens(after),
        fits: ALWAYS,
        keep: |before, after| {
            after.tokens = Tokens { schemes: std::mem::take(&mut after.tokens.schemes), ..before.tokens.clone() };
        },
    },
    Fixed {
        name: "[admin]",
        differs: |before, after| admin(before) != admin(after),
        fits: |before, after| {
            let Some(admin) = &before.admin else { return Ok(()) };
            if admin_certificate(before, after).is_none() {
                return Err("the file does not have the certificate of the running admin application".to_owned());
            }
            let excluded = after.listeners.iter().find(|listener| admin.excludes(listener));
            excluded.map_or(Ok(()), |listener| {
                let name = &listener.name;
                Err(format!("listeners.{name} has the address or the name of the running admin application"))
            })
        },
        keep: |before, after| {
            let certificate = admin_certificate(before, after);
            after.admin =
                before.admin.clone().zip(certificate).map(|(admin, certificate)| Admin { certificate, ..admin });
        },
    },
    Fixed {
        name: "[control]",
        differs: |before, after| before.control != after.control,
        fits: ALWAYS,
        keep: |before, after| after.control.clone_from(&before.control),
    },
];

/// The index in `after` of the certificate that the admin application of `before` uses.
fn admin_certificate(before: &Settings, after: &Settings) -> Option<usize> {
    let name = &before.certificates.get(before.admin.as_ref()?.certificate)?.name;
    after.certificates.iter().position(|certificate| certificate.name == *name)
}

/// `[tokens]` without the part that can be reloaded.
fn tokens(settings: &Settings) -> Tokens {
    Tokens { schemes: Vec::new(), ..settings.tokens.clone() }
}

/// `[admin]` without the index of its certificate, which may differ: the certificate itself can be reloaded.
/// `authority` has no key in the file.
fn admin(settings: &Settings) -> Option<Admin> {
    settings.admin.clone().map(|admin| Admin { certificate: 0, authority: None, ..admin })
}

/// Returns the settings that differ and that only a restart can change.
pub fn fixed(before: &Settings, after: &Settings) -> Vec<&'static str> {
    FIXED.iter().filter(|fixed| (fixed.differs)(before, after)).map(|fixed| fixed.name).collect()
}

/// Copies the settings that only a restart can change from `before` to `after`, and returns those that differed.
///
/// # Errors
/// The configuration in use has a setting that does not fit the rest of the new one.
pub fn keep_fixed(before: &Settings, after: &mut Settings) -> Result<Vec<&'static str>, String> {
    let differing: Vec<&Fixed> = FIXED.iter().filter(|fixed| (fixed.differs)(before, after)).collect();
    for Fixed { name, fits, .. } in &differing {
        fits(before, after).map_err(|why| format!("{name} can only be changed by a restart: {why}"))?;
    }
    differing.iter().for_each(|fixed| (fixed.keep)(before, after));
    Ok(differing.iter().map(|fixed| fixed.name).collect())
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
        changes.named("rate", &before.rates, &after.rates, |one| &one.name);
        changes.named("quota", &before.quotas, &after.quotas, |one| &one.name);
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
            ("[acme]", before.acme != after.acme),
            ("[identity]", before.identity != after.identity),
            ("[login]", before.login != after.login),
            ("tokens.schemes", before.tokens.schemes != after.tokens.schemes),
            ("[limits]", before.limits != after.limits),
            ("[timeouts]", before.timeouts != after.timeouts),
            ("[spool]", before.spool != after.spool),
            ("[log]", before.log != after.log),
            ("[traces]", before.traces != after.traces),
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    fn settings(folder: &Path, text: &str) -> Settings {
        let file = folder.join("gateway.toml");
        let rest = "[listeners.public]\naddress = \"127.0.0.1:0\"\nplaintext = \"serve\"\n";
        std::fs::write(&file, format!("{text}\n{rest}")).unwrap();
        config::load(&file).unwrap_or_else(|problems| panic!("{problems:?}")).settings
    }

    /// One change of each setting that needs a restart. `[admin]` has a certificate, see `tests/reload/process.rs`.
    const CHANGED: [(&str, &str); 6] = [
        ("workers", "workers = 9"),
        ("[store], login.hash_parallelism and login.failed_after", "[store]\nmax_connections = 99"),
        ("[cache.memory]", "[cache.memory]\nmax_entries = 7"),
        ("[cache.redis]", "[cache.redis]\nurl = \"redis://127.0.0.1\""),
        ("[tokens] except tokens.schemes", "[tokens]\nmax_per_user = 7\nschemes = [\"Bearer\"]"),
        ("[control]", "[control]\nsocket = \"c.sock\""),
    ];

    #[test]
    fn each_setting_that_needs_a_restart_is_named_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let before = settings(folder.path(), "");
        for (name, text) in CHANGED {
            let mut after = settings(folder.path(), text);
            assert_eq!(fixed(&before, &after), [name]);
            assert_eq!(keep_fixed(&before, &mut after), Ok(vec![name]));
            assert_eq!(fixed(&before, &after), Vec::<&str>::new(), "{name}");
            assert_eq!(after.tokens.schemes == before.tokens.schemes, !text.contains("schemes"), "{name}");
        }
    }

    #[test]
    fn settings_for_another_kind_of_store_are_not_used_with_the_present_one() {
        let folder = tempfile::tempdir().unwrap();
        let before = settings(folder.path(), "");
        let mut after = settings(folder.path(), "[store]\nurl = \"django+sqlite:db.sqlite3\"");
        let refused = keep_fixed(&before, &mut after).unwrap_err();
        assert!(refused.contains("another kind of store"), "{refused}");
    }
    #[test]
    fn a_listener_does_not_come_beside_an_admin_application_that_has_its_address_or_name() {
        let folder = tempfile::tempdir().unwrap();
        let pair = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap().self_signed(&pair).unwrap();
        std::fs::write(folder.path().join("cert.pem"), certificate.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), pair.serialize_pem()).unwrap();
        std::fs::set_permissions(folder.path().join("key.pem"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        let certificate = "[certificates.a]\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"\n";
        for (address, name, listens, is_kept) in [
            ("127.0.0.1:8444", "other", "127.0.0.1:8445", true),
            ("127.0.0.1:8444", "other", "127.0.0.1:8444", false),
            ("127.0.0.1:8444", "admin", "127.0.0.1:8445", false),
            // Any free port.
            ("127.0.0.1:0", "other", "127.0.0.1:0", true),
        ] {
            let admin = format!("{certificate}[admin]\naddress = \"{address}\"\ncertificate = \"a\"");
            let listener = format!("{certificate}[listeners.{name}]\naddress = \"{listens}\"\nplaintext = \"serve\"");
            let (before, mut after) = (settings(folder.path(), &admin), settings(folder.path(), &listener));
            assert_eq!(keep_fixed(&before, &mut after).is_ok(), is_kept, "{address} {name} {listens}");
        }
    }
}
