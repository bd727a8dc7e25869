//! Browser sessions in Django's session table (docs/decisions/0025).
//!
//! The row's key is derived from the digest of the session key, so a leaked table does not permit a sign-in. The data
//! is in our own format: Django treats data that it did not sign as an empty session.

use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use base64ct::{Base64, Encoding};

use super::database::DjangoDatabase;
use super::rows::{Person, check_fits};
use super::{DjangoStore, statement};
use crate::clock::Timestamp;
use crate::store::session::SessionStore;
use crate::store::sql::row;
use crate::store::{AccountError, Password, StoreError, TokenEvent};
use crate::token::{
    AuthMethod, Restrictions, ScopeSet, SubjectId, TokenDigest, TokenFormat, TokenId, TokenKey, TokenRecord,
};

/// Prefix of our session data: the program and the format version.
const MARK: &str = "tokengate:1:";

/// The length of a row's key: the width of Django's column.
const WIDTH: usize = 40;

row! {
    /// A row of the table; Django or the gateway wrote it.
    pub(super) struct SessionRow {
        kept: String,
        expires: Option<i64>,
    }
}

/// The data of a session of the gateway.
#[derive(Debug, PartialEq, Eq)]
struct Session {
    user: SubjectId,
    created: Timestamp,
    /// A fingerprint of the password hash at sign-in.
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
        // A new password ends all sessions, as in Django.
        let Some(Person { user, .. }) = person.filter(|person| fingerprint(&person.password) == session.fingerprint)
        else {
            return Ok(None);
        };
        check_fits(&user.account)?;
        Ok(Some(TokenRecord {
            // Session ids are not shown, and Django has none.
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

    /// Records the time of the login, as Django does. No decision depends on it, so an error does not fail the login.
    pub(super) async fn note_login(&self, user: SubjectId, now: Timestamp) {
        let Some(text) = &self.texts.logged_in else { return };
        if let Err(error) = self.execute(statement(text).bind(D::DIALECT.written(now)).bind(user.0)).await {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::warn!(%error, cause, "the login time could not be written to the user table");
        }
    }
}

impl SessionRow {
    /// The session and its expiry; `None` if the data is not ours or is malformed.
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

/// The key of a session's row: 160 bits of its digest, from which the session key cannot be derived.
fn row_key(session: TokenDigest) -> String {
    session.to_hex().chars().take(WIDTH).collect()
}

/// A fingerprint that differs for every password hash.
fn fingerprint(hash: &str) -> String {
    Base64::encode_string(digest(&SHA256, hash.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_data_is_parsed_as_it_was_written() {
        let session = Session {
            user: SubjectId(7),
            created: Timestamp::from_micros(1_795_499_584_000_120),
            fingerprint: fingerprint("pbkdf2_sha256$1$a$b"),
        };
        assert_eq!(Session::from_text(&session.to_text()), Some(session));
    }

    #[test]
    fn foreign_or_malformed_data_is_not_a_session() {
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
            "no expiry, no session"
        );
    }
}
