//! The pending answers to challenges of the CA.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::digest::{SHA256, digest};

use super::folder::Pending;
use crate::clock::Timestamp;
use crate::tls::ChallengeCertificate;

/// The path of challenges (RFC 8555 §8.3), before the token.
const PATH: &str = "/.well-known/acme-challenge/";

/// The answers that the CA may ask this gateway for now. Empty nearly always.
#[derive(Debug, Default)]
pub struct Challenges(RwLock<Arc<Answers>>);

#[derive(Debug, Default)]
struct Answers {
    pending: Vec<Pending>,
    /// The key authorization of each token.
    by_token: HashMap<String, String>,
    /// The certificate of each name.
    by_name: HashMap<String, ChallengeCertificate>,
}

impl Challenges {
    /// The answer to a request for this path; `None`: it asks for no pending challenge.
    pub fn at_path(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(PATH)?;
        self.answers().by_token.get(token).cloned()
    }

    /// The certificate for a handshake of the CA with this name; `None`: no challenge is pending for it.
    pub fn for_name(&self, name: &str) -> Option<ChallengeCertificate> {
        self.answers().by_name.get(&name.to_ascii_lowercase()).cloned()
    }

    /// Answers these challenges, and no others, from now on.
    pub fn set(&self, pending: Vec<Pending>, now: Timestamp) {
        if self.answers().pending == pending {
            return;
        }
        let certificate = |one: &Pending| {
            let value = digest(&SHA256, one.key_authorization.as_bytes());
            let made = ChallengeCertificate::new(&one.name, value.as_ref().try_into().ok()?, now);
            Some((one.name.clone(), made.ok()?))
        };
        let by_name = pending.iter().filter_map(certificate).collect();
        let by_token = pending.iter().map(|one| (one.token.clone(), one.key_authorization.clone())).collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Answers { pending, by_token, by_name });
    }

    fn answers(&self) -> Arc<Answers> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pending_challenges_are_answered() {
        let (challenges, now) = (Challenges::default(), Timestamp::from_micros(1_795_499_584_000_000));
        let one = Pending { name: "a.test".into(), token: "tok-1_".into(), key_authorization: "tok-1_.thumb".into() };
        assert_eq!(challenges.at_path("/.well-known/acme-challenge/tok-1_"), None);
        challenges.set(vec![one], now);
        for (path, answer) in [
            ("/.well-known/acme-challenge/tok-1_", Some("tok-1_.thumb")),
            ("/.well-known/acme-challenge/tok-1_/", None),
            ("/.well-known/acme-challenge//tok-1_", None),
            ("/.well-known/acme-challenge/tok-2", None),
            ("/.well-known/acme-challenge/", None),
            ("/.well-known/acme-challenge", None),
            ("/tok-1_", None),
        ] {
            assert_eq!(challenges.at_path(path).as_deref(), answer, "{path}");
        }
        assert!(challenges.for_name("A.test").is_some());
        assert!(challenges.for_name("b.test").is_none());
        challenges.set(Vec::new(), now);
        assert_eq!(challenges.at_path("/.well-known/acme-challenge/tok-1_"), None);
        assert!(challenges.for_name("a.test").is_none());
    }
}
