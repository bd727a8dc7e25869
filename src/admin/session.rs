//! Sign-ins of the admin application.
//!
//! A sign-in is kept in the memory of this process under the digest of its cookie, and expires. Each request reads its
//! user from the store (`visit`): a new password ends the sign-in, and so does the loss of the permission to sign in.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::error::Unspecified;
use base64ct::{Base64UrlUnpadded, Encoding};
use zeroize::Zeroizing;

use super::operations::Caller;
use crate::clock::Timestamp;
use crate::store::PasswordMark;
use crate::token::{SubjectId, TokenDigest, TokenId, TokenKey};

/// Maximum number of sign-ins; beyond it, the one that expires first ends.
const MAX_SIGN_INS: usize = 1_024;
/// Maximum number per user; beyond it, the user's own oldest ends, so one user cannot sign out all others.
const MAX_PER_USER: usize = 32;

/// All sign-ins.
pub(super) struct SignIns {
    ttl: Duration,
    entries: Mutex<HashMap<TokenDigest, Entry>>,
}

struct Entry {
    sign_in: SignIn,
    notice: Option<Notice>,
    /// The key that the next page of its token shows.
    key: Option<(TokenId, TokenKey)>,
    /// The user as the store last had it, and when.
    seen: Option<(Caller, Timestamp)>,
    /// When the user last entered the password.
    confirmed: Timestamp,
}

/// A sign-in.
#[derive(Clone, Copy)]
pub(super) struct SignIn {
    /// The user.
    pub user: SubjectId,
    /// The password hash at sign-in.
    pub password: PasswordMark,
    ends: Timestamp,
}

/// A message that the next page shows once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// Success.
    Done(String),
    /// Failure.
    Failed(String),
}

impl SignIns {
    /// Creates an empty table. A sign-in expires after this time.
    pub(super) fn new(ttl: Duration) -> SignIns {
        SignIns { ttl, entries: Mutex::default() }
    }

    /// Signs a user in and returns the value of the cookie.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(super) fn open(
        &self,
        user: SubjectId,
        password: PasswordMark,
        now: Timestamp,
    ) -> Result<TokenKey, Unspecified> {
        let mut random = Zeroizing::new([0; 30]);
        aws_lc_rs::rand::fill(random.as_mut())?;
        let text = Zeroizing::new(Base64UrlUnpadded::encode_string(random.as_ref()));
        let key = TokenKey::parse(&text).map_err(|_| Unspecified)?.into_session();
        let mut entries = self.entries();
        entries.retain(|_, entry| entry.sign_in.ends > now);
        let theirs = entries.values().filter(|entry| entry.sign_in.user == user).count();
        if theirs >= MAX_PER_USER || entries.len() >= MAX_SIGN_INS {
            let may_go = entries.iter().filter(|(_, entry)| theirs < MAX_PER_USER || entry.sign_in.user == user);
            let first = may_go.min_by_key(|(_, entry)| entry.sign_in.ends).map(|(digest, _)| *digest);
            first.map(|digest| entries.remove(&digest));
        }
        let sign_in = SignIn { user, password, ends: now.after(self.ttl) };
        entries.insert(key.digest(), Entry { sign_in, notice: None, key: None, seen: None, confirmed: now });
        Ok(key)
    }

    /// Returns the sign-in, if it has not expired.
    pub(super) fn find(&self, digest: TokenDigest, now: Timestamp) -> Option<SignIn> {
        self.entries().get(&digest).map(|entry| entry.sign_in).filter(|sign_in| sign_in.ends > now)
    }

    /// Ends a sign-in. Returns true if there was one.
    pub(super) fn end(&self, digest: TokenDigest) -> bool {
        self.entries().remove(&digest).is_some()
    }

    /// Notes what the store says of the user now.
    pub(super) fn saw(&self, digest: TokenDigest, caller: &Caller, now: Timestamp) {
        if let Some(entry) = self.entries().get_mut(&digest) {
            entry.seen = Some((caller.clone(), now));
        }
    }

    /// The user as the store had it at this time or later.
    pub(super) fn seen_since(&self, digest: TokenDigest, since: Timestamp) -> Option<Caller> {
        let entries = self.entries();
        let (caller, at) = entries.get(&digest)?.seen.as_ref()?;
        (*at >= since).then(|| caller.clone())
    }

    /// Notes that the user has entered the password now.
    pub(super) fn confirm(&self, digest: TokenDigest, now: Timestamp) {
        if let Some(entry) = self.entries().get_mut(&digest) {
            entry.confirmed = now;
        }
    }

    /// Whether the user has entered the password at this time or later.
    pub(super) fn confirmed_since(&self, digest: TokenDigest, since: Timestamp) -> bool {
        self.entries().get(&digest).is_some_and(|entry| entry.confirmed >= since)
    }

    /// Sets the message of the next page.
    pub(super) fn leave(&self, digest: TokenDigest, notice: Notice) {
        if let Some(entry) = self.entries().get_mut(&digest) {
            entry.notice = Some(notice);
        }
    }

    /// Takes the message.
    pub(super) fn take(&self, digest: TokenDigest) -> Option<Notice> {
        self.entries().get_mut(&digest).and_then(|entry| entry.notice.take())
    }

    /// Sets the key that the token's next page shows.
    pub(super) fn leave_key(&self, digest: TokenDigest, token: TokenId, key: TokenKey) {
        if let Some(entry) = self.entries().get_mut(&digest) {
            entry.key = Some((token, key));
        }
    }

    /// Takes the key of this token, if it is to be shown.
    pub(super) fn take_key(&self, digest: TokenDigest, token: TokenId) -> Option<TokenKey> {
        let mut entries = self.entries();
        let entry = entries.get_mut(&digest)?;
        let is_meant = entry.key.as_ref().is_some_and(|(of, _)| *of == token);
        if is_meant { entry.key.take().map(|(_, key)| key) } else { None }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<TokenDigest, Entry>> {
        // A panic cannot leave an entry half-written.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn open(sign_ins: &SignIns, seconds: i64) -> TokenDigest {
        open_of(sign_ins, 1, seconds)
    }

    fn open_of(sign_ins: &SignIns, user: i64, seconds: i64) -> TokenDigest {
        sign_ins.open(SubjectId(user), PasswordMark::any(), at(seconds)).unwrap().digest()
    }

    #[test]
    fn a_sign_in_ends_with_its_time_and_when_it_is_ended() {
        let sign_ins = SignIns::new(Duration::from_secs(60));
        let (one, other) = (open(&sign_ins, 0), open(&sign_ins, 0));
        assert!(sign_ins.find(one, at(59)).is_some() && sign_ins.find(one, at(60)).is_none());
        assert!(sign_ins.end(one) && sign_ins.find(one, at(0)).is_none() && !sign_ins.end(one));
        assert!(sign_ins.find(other, at(0)).is_some());
    }

    #[test]
    fn beyond_the_maximum_the_oldest_sign_in_ends() {
        let sign_ins = SignIns::new(Duration::from_secs(10_000));
        let all: Vec<_> = (0..=1_024).map(|number| open_of(&sign_ins, number, number)).collect();
        assert!(sign_ins.find(all[0], at(1_024)).is_none());
        assert!(all[1..].iter().all(|digest| sign_ins.find(*digest, at(1_024)).is_some()));
    }

    #[test]
    fn repeated_sign_ins_of_one_user_do_not_sign_out_others() {
        let sign_ins = SignIns::new(Duration::from_secs(10_000));
        let other = open_of(&sign_ins, 2, 0);
        let own: Vec<_> = (1..=2_000).map(|second| open_of(&sign_ins, 1, second)).collect();
        let left = own.iter().filter(|digest| sign_ins.find(**digest, at(2_000)).is_some()).count();
        assert!(left == 32 && sign_ins.find(own[1_999], at(2_000)).is_some());
        assert!(sign_ins.find(other, at(2_000)).is_some());
    }

    #[test]
    fn a_message_for_the_next_page_is_shown_once() {
        let sign_ins = SignIns::new(Duration::from_secs(60));
        let digest = open(&sign_ins, 0);
        sign_ins.leave(digest, Notice::Done("done".to_owned()));
        assert_eq!(sign_ins.take(digest), Some(Notice::Done("done".to_owned())));
        assert_eq!(sign_ins.take(digest), None);
        sign_ins.leave_key(digest, TokenId(7), TokenKey::parse("key").unwrap());
        assert!(sign_ins.take_key(digest, TokenId(8)).is_none());
        assert_eq!(sign_ins.take_key(digest, TokenId(7)).unwrap().expose(), "key");
        assert!(sign_ins.take_key(digest, TokenId(7)).is_none());
    }
}
