//! Sessions of browsers, in Django's own table (docs/decisions/0025).
//!
//! The key of a row is made of the digest of ours, so that nobody logs in with what stands there. Its text is ours as
//! well: Django signs its own and takes what it did not sign for an empty session.

use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use base64ct::{Base64, Encoding};

use super::database::DjangoDatabase;
use super::rows::{Person, check_fits};
use super::{DjangoStore, statement};
use crate::clock::Timestamp;
use crate::store::session::SessionStore;
use crate::store::{AccountError, Password, StoreError, TokenEvent};
use crate::token::{
    AuthMethod, Restrictions, ScopeSet, SubjectId, TokenDigest, TokenFormat, TokenId, TokenKey, TokenRecord,
};

/// What our texts begin with: whose they are, and their version.
const MARK: &str = "tokengate:1:";

/// Characters of the key of a row: the width of Django's column.
const WIDTH: usize = 40;

/// A row of the table, whoever wrote it.
#[derive(sqlx::FromRow)]
pub(super) struct SessionRow {
    kept: String,
    expires: Option<i64>,
}

/// What a row of ours says.
#[derive(Debug, PartialEq, Eq)]
struct Session {
    user: SubjectId,
    created: Timestamp,
    /// Of the hash that the password was compared with.
    fingerprint: String,
}

#[async_trait]
impl<D: DjangoDatabase> SessionStore for DjangoStore<D> {
    async fn open(&self, name: &str, password: Password, ttl: Duration) -> Result<Option<TokenKey>, AccountError> {
        let Some(person) = self.compare(name, password).await? else { return Ok(None) };
        let (user, now, key) =
            (person.user.account.id, self.clock.now(), self.new_key(TokenFormat::Drf).into_session());
        let session = Session { user, created: now, fingerprint: fingerprint(&person.password) };
        let write = statement(&self.texts.open_session)
            .bind(row_key(key.digest()))
            .bind(session.to_text())
            .bind(D::DIALECT.written(now.after(ttl)))
            .bind(user.0)
            .bind(person.password);
        if self.execute(write).await? == 0 {
            return Ok(None);
        }
        self.note_login(user, now).await;
        Ok(Some(key))
    }

    async fn end(&self, session: TokenDigest) -> Result<(), StoreError> {
        let delete = statement(&self.texts.end_session).bind(row_key(session));
        self.execute_telling(delete, TokenEvent::Changed(session)).await.map(|_| ())
    }
}

impl<D: DjangoDatabase> DjangoStore<D> {
    pub(super) async fn find_session(&self, digest: TokenDigest) -> Result<Option<TokenRecord>, StoreError> {
        if self.no_sessions.is_some() {
            return Ok(None);
        }
        let rows: Vec<SessionRow> = self.rows(statement(&self.texts.session).bind(row_key(digest))).await?;
        let Some((session, expires)) = rows.first().and_then(SessionRow::read) else { return Ok(None) };
        let person = self.person(session.user).await?;
        // Another password ends all sessions, as Django has it.
        let Some(Person { user, .. }) = person.filter(|person| fingerprint(&person.password) == session.fingerprint)
        else {
            return Ok(None);
        };
        check_fits(&user.account)?;
        Ok(Some(TokenRecord {
            // Nobody is told the id of a session, and Django gives it none.
            id: TokenId(session.user.0),
            method: AuthMethod::Session,
            digest,
            owner: user.account,
            scopes: ScopeSet::default(),
            created: session.created,
            expires: Some(expires),
            revoked: None,
            restrictions: Restrictions::default(),
        }))
    }

    /// Notes the time, as a login of Django does. Nothing is decided by it, so nobody is kept out if it cannot be
    /// written.
    pub(super) async fn note_login(&self, user: SubjectId, now: Timestamp) {
        let Some(text) = &self.texts.logged_in else { return };
        if let Err(error) = self.execute(statement(text).bind(D::DIALECT.written(now)).bind(user.0)).await {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::warn!(%error, cause, "the time of a login could not be written into the table of users");
        }
    }
}

impl SessionRow {
    /// A session and its end. Whatever is not a text of ours is none: one of Django's, or damage.
    fn read(&self) -> Option<(Session, Timestamp)> {
        Some((Session::from_text(&self.kept)?, Timestamp::from_micros(self.expires?)))
    }
}

impl Session {
    fn to_text(&self) -> String {
        format!("{MARK}{}:{}:{}", self.user.0, self.created.as_micros(), self.fingerprint)
    }

    fn from_text(text: &str) -> Option<Session> {
        let mut parts = text.strip_prefix(MARK)?.splitn(3, ':');
        let (user, created) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let fingerprint = parts.next()?.to_owned();
        Some(Session { user: SubjectId(user), created: Timestamp::from_micros(created), fingerprint })
    }
}

/// The key of the row of a session: 160 bits of its digest, from which the key itself cannot be found.
fn row_key(session: TokenDigest) -> String {
    session.to_hex().chars().take(WIDTH).collect()
}

/// Tells one hash of a password from another.
fn fingerprint(hash: &str) -> String {
    Base64::encode_string(digest(&SHA256, hash.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_ours_says_what_was_written() {
        let session = Session {
            user: SubjectId(7),
            created: Timestamp::from_micros(1_795_499_584_000_120),
            fingerprint: fingerprint("pbkdf2_sha256$1$a$b"),
        };
        assert_eq!(Session::from_text(&session.to_text()), Some(session));
    }

    #[test]
    fn whatever_is_not_ours_is_no_session() {
        for text in [
            "",
            ":",
            "tokengate",
            "tokengate:1:",
            "tokengate:1:7",
            "tokengate:1:7:8",
            "tokengate:1:x:8:f",
            "tokengate:1:7:y:f",
            "tokengate:1:99999999999999999999:8:f",
            "tokengate:2:7:8:f",
            ".eJxVjDsOwjAQBe_iGlne:1vN:sig",
        ] {
            assert_eq!(Session::from_text(text), None, "{text}");
        }
        assert!(
            SessionRow { kept: "tokengate:1:7:8:f".to_owned(), expires: None }.read().is_none(),
            "no end, no session"
        );
    }
}
