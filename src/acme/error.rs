//! Why a certificate was not issued.

use std::io;
use std::path::PathBuf;

use crate::tls::{BadFile, NoAuthorities, NotMade};

/// Why a certificate was not issued. The one in use stays.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// The CA refused a request, or cannot be reached.
    #[error("the CA: {}", crate::telemetry::causes(.0))]
    Ca(#[from] instant_acme::Error),
    /// The CA could not verify a name.
    #[error("the CA could not verify {name}: {why}")]
    NotVerified {
        /// The name.
        name: String,
        /// What the CA says.
        why: String,
    },
    /// The CA asks for a proof of a name that was not ordered.
    #[error("the CA asks for a proof of {0:?}, which was not ordered")]
    ForeignName(String),
    /// The CA does not offer the configured challenge for a name.
    #[error("the CA does not offer {challenge} for {name}; configure another challenge for this certificate")]
    NoChallenge {
        /// The name.
        name: String,
        /// The challenge.
        challenge: &'static str,
    },
    /// The answer of the CA is no certificate for these names and this key.
    #[error("the certificate from the CA cannot be used: {0}")]
    BadCertificate(String),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The certificate in the folder cannot be read.
    #[error(transparent)]
    Unreadable(#[from] BadFile),
    /// The account file is damaged.
    #[error("{0}: this is no account; remove the file, and the gateway creates a new account")]
    BadAccount(PathBuf),
    /// The key of the external account is not base64url.
    #[error("{0}: the key of the external account is not base64url; copy it from the CA")]
    BadExternalKey(PathBuf),
    /// The program that writes DNS records failed.
    #[error("{hook}: {why}")]
    Hook {
        /// The program.
        hook: PathBuf,
        /// What happened.
        why: String,
    },
    /// The system has no CA certificates with which to check that of the CA's server.
    #[error(transparent)]
    NoAuthorities(#[from] NoAuthorities),
    /// TLS to the CA cannot be set up.
    #[error("TLS to the CA cannot be set up: {0}")]
    Tls(io::Error),
    /// No key could be drawn.
    #[error(transparent)]
    NotMade(#[from] NotMade),
}

impl AcmeError {
    /// The text without control characters: parts of it come from the CA and from the program for DNS records, and must
    /// not begin a new line of a log.
    pub fn line(&self) -> String {
        self.to_string().replace(char::is_control, " ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_the_ca_stays_on_one_line() {
        let name = "a.test\n2026 INFO forged\r\u{1b}[31m".to_owned();
        let told = AcmeError::NotVerified { name, why: "because".to_owned() }.line();
        assert_eq!(told, "the CA could not verify a.test 2026 INFO forged  [31m: because");
    }
}
