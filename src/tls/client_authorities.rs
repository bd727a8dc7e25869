//! The CAs whose certificates clients may show, and the check of such a certificate.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};

use super::client_chain::ClientChain;
use super::file::{BadFile, FileFault, certificates};
use super::revocation::{RevocationLists, time};
use super::{Authorities, Note};
use crate::clock::Timestamp;

/// The CAs whose certificates clients may show, with their revocation lists.
#[derive(Clone)]
pub struct ClientAuthorities {
    authorities: Authorities,
    /// The name of each CA, encoded, and as a text.
    names: Vec<(Vec<u8>, String)>,
    lists: Option<RevocationLists>,
    is_required: bool,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl ClientAuthorities {
    /// Reads the CA certificates of a file, and the revocation lists of another one. `is_required`: a client without a
    /// certificate is refused.
    ///
    /// # Errors
    /// [`BadFile`]
    pub fn read(ca_file: &Path, crl_file: Option<&Path>, is_required: bool) -> Result<ClientAuthorities, BadFile> {
        let authorities = Authorities::read(ca_file)?;
        let names = certificates(ca_file)?.into_iter().map(|link| (link.subject().to_vec(), link.title)).collect();
        let lists = crl_file.map(RevocationLists::read).transpose()?;
        let verifier = verifier(&authorities, lists.as_ref(), is_required).map_err(|error| {
            let listed = lists.as_ref().and_then(|lists| {
                lists.all.iter().find(|list| {
                    let alone = RevocationLists { file: lists.file.clone(), all: vec![(*list).clone()] };
                    verifier(&authorities, Some(&alone), is_required).is_err()
                })
            });
            let path = crl_file.unwrap_or(ca_file).to_owned();
            BadFile { path, line: listed.map(|list| list.line), fault: FileFault::UnusableList(error.to_string()) }
        })?;
        Ok(ClientAuthorities { authorities, names, lists, is_required, verifier })
    }

    /// Reads the same files again.
    ///
    /// # Errors
    /// [`BadFile`]
    pub fn read_again(&self) -> Result<ClientAuthorities, BadFile> {
        let Some(ca_file) = self.authorities.file() else { return Ok(self.clone()) };
        let crl_file = self.lists.as_ref().map(|lists| lists.file.as_path());
        ClientAuthorities::read(ca_file, crl_file, self.is_required)
    }

    /// Whether a client without a certificate is refused in the handshake.
    pub fn is_required(&self) -> bool {
        self.is_required
    }

    /// The files that they were read from.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.authorities.file().into_iter().chain(self.lists.iter().map(|lists| lists.file.as_path()))
    }

    /// Returns warnings at the time `now`.
    pub fn notes(&self, now: Timestamp) -> Vec<Note> {
        let Some(lists) = &self.lists else { return Vec::new() };
        let missing = self.names.iter().filter(|(name, _)| !lists.has(name)).map(|(_, title)| Note {
            what: format!(
                "there is no revocation list of {title}, so that all certificates which it issued are refused"
            ),
            mend: "add its list to the file: it may contain several",
        });
        lists.notes(now).into_iter().chain(missing).collect()
    }

    /// When the first of the revocation lists that are valid at `now` expires.
    pub fn expires(&self, now: Timestamp) -> Option<Timestamp> {
        let ends = self.lists.iter().flat_map(|lists| &lists.all).map(|list| time(list.next_update));
        ends.filter(|end| *end > now).min()
    }

    /// When the first of the revocation lists in use expires, or has expired; `None`: there are none.
    pub fn lists_expire(&self) -> Option<Timestamp> {
        let current = self.lists.iter().flat_map(RevocationLists::current);
        current.map(|list| time(list.next_update)).min()
    }

    /// Whether a client may show these certificates at the time `now`, as in a handshake.
    pub fn accept(&self, chain: &ClientChain, now: Timestamp) -> bool {
        let Some((leaf, others)) = chain.certificates().split_first() else { return false };
        let seconds = u64::try_from(now.as_micros() / 1_000_000).unwrap_or(0);
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        self.verifier.verify_client_cert(leaf, others, now).is_ok()
    }

    /// The form that rustls uses.
    pub fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier)
    }
}

/// The whole chain is checked for revocation. A certificate whose CA has no list, or only an expired one, is refused.
fn verifier(
    authorities: &Authorities,
    lists: Option<&RevocationLists>,
    is_required: bool,
) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut builder = WebPkiClientVerifier::builder_with_provider(authorities.roots(), provider);
    if let Some(lists) = lists {
        let all = lists.all.iter().map(|list| list.der.clone());
        builder = builder.with_crls(all).enforce_revocation_expiration();
    }
    if is_required { builder.build() } else { builder.allow_unauthenticated().build() }
}

/// The same certificates and lists from the same files.
impl PartialEq for ClientAuthorities {
    fn eq(&self, other: &ClientAuthorities) -> bool {
        (&self.authorities, &self.lists, self.is_required) == (&other.authorities, &other.lists, other.is_required)
    }
}

impl Eq for ClientAuthorities {}

impl fmt::Debug for ClientAuthorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAuthorities")
            .field("authorities", &self.authorities)
            .field("lists", &self.lists)
            .field("is_required", &self.is_required)
            .finish_non_exhaustive()
    }
}
