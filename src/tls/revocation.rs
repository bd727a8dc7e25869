//! Certificate revocation lists (CRLs): the certificates that a CA has revoked.

use std::fmt;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateRevocationListDer;
use x509_parser::extensions::X509Extension;
use x509_parser::oid_registry::OID_X509_EXT_ISSUER_DISTRIBUTION_POINT;

use super::certificate::Note;
use super::file::{BadFile, FileFault, Kind, Wanted, blocks, read};
use crate::clock::Timestamp;

/// The revocation lists of a file; at least one. The newest first.
#[derive(Clone)]
pub(super) struct RevocationLists {
    pub(super) file: PathBuf,
    pub(super) all: Vec<RevocationList>,
}

/// The revocation list of one CA.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct RevocationList {
    /// The line where its block begins.
    pub(super) line: usize,
    pub(super) der: CertificateRevocationListDer<'static>,
    /// The name of the CA, encoded.
    pub(super) issuer: Vec<u8>,
    title: String,
    /// The part of the CA's certificates that it is about, encoded; `None`: all of them.
    scope: Option<Vec<u8>>,
    /// When the CA has issued it: seconds since the epoch.
    this_update: i64,
    /// When the CA issues the next one: seconds since the epoch.
    pub(super) next_update: i64,
}

impl RevocationLists {
    /// Reads the lists of a file.
    ///
    /// # Errors
    /// [`BadFile`]
    pub(super) fn read(file: &Path) -> Result<RevocationLists, BadFile> {
        let wanted = Wanted::RevocationList;
        let bad = |line, fault| BadFile { path: file.to_owned(), line, fault };
        let mut all = Vec::new();
        for block in blocks(file, &read(file)?, wanted)? {
            match Kind::of(&block.label) {
                Kind::RevocationList => {
                    let list = RevocationList::read(block.line, &block.bytes);
                    all.push(list.map_err(|why| bad(Some(block.line), FileFault::UnusableList(why)))?);
                }
                // The file may contain the certificates of the CAs too.
                Kind::Certificate => {}
                found => return Err(bad(Some(block.line), FileFault::Other { found, wanted })),
            }
        }
        if all.is_empty() {
            return Err(bad(None, FileFault::Nothing(wanted)));
        }
        // Of several lists for one certificate, the TLS library uses the first.
        all.sort_by_key(|list| std::cmp::Reverse(list.this_update));
        Ok(RevocationLists { file: file.to_owned(), all })
    }

    /// Returns warnings about lists that have expired at the time `now`.
    pub(super) fn notes(&self, now: Timestamp) -> Vec<Note> {
        let expired = self.current().filter(|list| time(list.next_update) <= now);
        let note = |list: &RevocationList| Note {
            what: format!(
                "{}:{}: the revocation list of {} expired at {}, so that its certificates are refused",
                self.file.display(),
                list.line,
                list.title,
                time(list.next_update)
            ),
            mend: "get the current list of the CA, and renew it regularly",
        };
        expired.map(note).collect()
    }

    /// The lists that decide: the newest of each CA and scope.
    pub(super) fn current(&self) -> impl Iterator<Item = &RevocationList> {
        let is_newest = |(place, list): &(usize, &RevocationList)| {
            !self.all.iter().take(*place).any(|newer| (&newer.issuer, &newer.scope) == (&list.issuer, &list.scope))
        };
        self.all.iter().enumerate().filter(is_newest).map(|(_, list)| list)
    }

    /// Whether there is a list of the CA with this name.
    pub(super) fn has(&self, ca: &[u8]) -> bool {
        self.all.iter().any(|list| list.issuer == ca)
    }
}

impl RevocationList {
    fn read(line: usize, bytes: &[u8]) -> Result<RevocationList, String> {
        let malformed = || "it is malformed".to_owned();
        let (behind, parsed) = x509_parser::parse_x509_crl(bytes).map_err(|_| malformed())?;
        if !behind.is_empty() {
            return Err(malformed());
        }
        let issuer = parsed.issuer();
        let common_name = issuer.iter_common_name().next().and_then(|name| name.as_str().ok());
        let is_scope = |extension: &&X509Extension<'_>| extension.oid == OID_X509_EXT_ISSUER_DISTRIBUTION_POINT;
        let scope = parsed.extensions().iter().find(is_scope).map(|extension| extension.value.to_vec());
        let next_update = parsed.next_update().ok_or("it does not say when the next one is issued (nextUpdate)")?;
        Ok(RevocationList {
            line,
            der: CertificateRevocationListDer::from(bytes.to_vec()),
            issuer: issuer.as_raw().to_vec(),
            this_update: parsed.last_update().timestamp(),
            scope,
            title: common_name.map_or_else(|| issuer.to_string(), str::to_owned),
            next_update: next_update.timestamp(),
        })
    }
}

pub(super) fn time(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds.saturating_mul(1_000_000))
}

/// The same lists from the same file.
impl PartialEq for RevocationLists {
    fn eq(&self, other: &RevocationLists) -> bool {
        (&self.file, &self.all) == (&other.file, &other.all)
    }
}

impl Eq for RevocationLists {}

impl fmt::Debug for RevocationLists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationLists").field("file", &self.file).field("count", &self.all.len()).finish()
    }
}
