//! Maps DNS names to certificates.
//!
//! The TLS acceptor uses it to choose a certificate; [`Peer`](super::Peer) uses it to decide whether a connection that
//! was made for one name may carry a request for another. Holds indices only, no certificates.

use std::borrow::Cow;
use std::collections::HashMap;

/// The certificate for clients that send no name or an unknown one.
const DEFAULT: usize = 0;

/// Maps DNS names to indices of certificates.
#[derive(Clone, Debug, Default)]
pub struct ServerNames {
    exact: HashMap<Box<str>, Vec<usize>>,
    /// `*.example.com`, stored as `example.com`.
    wildcards: HashMap<Box<str>, Vec<usize>>,
}

impl ServerNames {
    /// `names`: the DNS names of each certificate, in the order of the certificates.
    pub fn new(names: &[Vec<String>]) -> ServerNames {
        let mut all = ServerNames::default();
        for (index, names) in names.iter().enumerate() {
            for name in names {
                let name = plain(name);
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut all.wildcards, parent),
                    None => (&mut all.exact, name.as_ref()),
                };
                map.entry(name.into()).or_default().push(index);
            }
        }
        all
    }

    /// The index of the certificate for `name`: one with exactly this name, else one with a matching wildcard (`*` is
    /// one label), else the first. Among several the first one is used. Ignores case and a trailing dot.
    pub fn index_of(&self, name: &str) -> usize {
        self.all_of(name).next().unwrap_or(DEFAULT)
    }

    /// The indices of all certificates for `name`: first those with exactly this name, then those with a matching
    /// wildcard.
    pub fn all_of(&self, name: &str) -> impl Iterator<Item = usize> {
        let name = plain(name);
        let exact = self.exact.get(name.as_ref());
        let wildcards = name.split_once('.').and_then(|(_, parent)| self.wildcards.get(parent));
        exact.into_iter().chain(wildcards).flatten().copied()
    }
}

/// Returns `name` in lower case without a trailing dot; borrows it if it has this form already.
pub(super) fn plain(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_gets_the_first_certificate() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let names = ServerNames::new(&[
            names(&["first.test"]),
            names(&["api.example.com", "Second.Test"]),
            names(&["*.example.com", "api.example.com"]),
        ]);
        for (name, index) in [
            ("first.test", 0),
            ("second.test", 1),
            ("SECOND.test.", 1),
            ("api.example.com", 1),
            ("www.example.com", 2),
            ("WWW.Example.COM", 2),
            ("a.b.example.com", 0),
            ("example.com", 0),
            ("*.example.com", 2),
            ("nobody.test", 0),
            ("", 0),
        ] {
            assert_eq!(names.index_of(name), index, "{name}");
        }
    }
}
