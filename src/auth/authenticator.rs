//! Establishes who is calling.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::{BadCredentials, Credentials, WrongKeys, cookies};
use crate::cache::{IdentityCache, ResolverHandle, StoreUnavailable, Uses};
use crate::clock::{Clock, Timestamp};
use crate::identity::{Denied, Identity, Verdict};
use crate::route::Access;
use crate::telemetry::Recorder;
use crate::token::{AuthMethod, ShownKey, TokenDigest};

/// Establishes who is calling: memory first, then whoever answers for the store.
pub struct Authenticator {
    memory: Arc<IdentityCache>,
    resolver: ResolverHandle,
    uses: Uses,
    wrong_keys: WrongKeys,
    clock: Clock,
    schemes: Box<[Box<str>]>,
    recorder: Arc<Recorder>,
}

/// Why it could not be established who is calling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthFailure {
    /// Credentials are needed and none were sent.
    NoCredentials,
    /// What was sent cannot be credentials.
    Malformed(BadCredentials),
    /// The token does not count.
    Denied(Denied),
    /// Whether the token counts cannot be known now. Never turns into a refusal of the credentials.
    StoreUnavailable,
    /// Too many wrong keys came from this address; this one was not looked up. May be tried again after this time.
    Throttled(Duration),
}

impl Authenticator {
    /// An authenticator of one worker.
    pub fn new(
        memory: Arc<IdentityCache>,
        resolver: ResolverHandle,
        uses: Uses,
        wrong_keys: WrongKeys,
        clock: Clock,
        schemes: &[String],
        recorder: Arc<Recorder>,
    ) -> Authenticator {
        let schemes = schemes.iter().map(|scheme| scheme.as_str().into()).collect();
        Authenticator { memory, resolver, uses, wrong_keys, clock, schemes, recorder }
    }

    /// Who sent these fields from this address, as far as the route wants to know: by the first of `credentials` that they
    /// show. A hit never suspends.
    ///
    /// # Errors
    /// [`AuthFailure`]; what it means to the client stands in `gateway/refusal.rs`.
    pub async fn authenticate(
        &self,
        access: &Access,
        credentials: &[AuthMethod],
        fields: &HeaderMap,
        from: IpAddr,
    ) -> Result<Option<Arc<Identity>>, AuthFailure> {
        if matches!(access, Access::None) {
            return Ok(None);
        }
        for method in credentials {
            let shown = match method {
                AuthMethod::Token => self.shown(fields).map_err(AuthFailure::Malformed)?,
                AuthMethod::Session => cookies::session(fields),
            };
            let Some(shown) = shown else { continue };
            match self.identify(shown, from).await {
                // A session that is over is none: browsers go on sending its cookie.
                Err(AuthFailure::Denied(_)) if *method == AuthMethod::Session => {}
                identified => return identified.map(Some),
            }
        }
        if matches!(access, Access::Optional) { Ok(None) } else { Err(AuthFailure::NoCredentials) }
    }

    async fn identify(&self, shown: ShownKey<'_>, from: IpAddr) -> Result<Arc<Identity>, AuthFailure> {
        let digest = shown.digest();
        let now = self.clock.now();
        let identity = match self.memory.get(digest, now) {
            Some(Verdict::Caller(identity)) => {
                self.recorder.cache_hit();
                identity
            }
            // Boxed: the future of every request would have room for this one otherwise.
            other => Box::pin(self.judge(shown, other, from, now)).await?,
        };
        self.uses.note(&identity, now);
        Ok(identity)
    }

    /// Who shows a key of which memory says `remembered`, which is no caller.
    async fn judge(
        &self,
        shown: ShownKey<'_>,
        remembered: Option<Verdict>,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<Arc<Identity>, AuthFailure> {
        let digest = shown.digest();
        // A key that was good is looked up whatever else comes from there.
        if !self.memory.knew(digest) {
            self.wrong_keys.check(from, now).map_err(AuthFailure::Throttled)?;
        }
        let verdict = match remembered {
            Some(verdict) => {
                self.recorder.cache_hit();
                verdict
            }
            None => {
                self.recorder.cache_miss();
                let asked = self.resolver.ask(shown.to_key(), digest).await;
                asked.map_err(|StoreUnavailable| AuthFailure::StoreUnavailable)?
            }
        };
        match verdict {
            Verdict::Caller(identity) => Ok(identity),
            Verdict::Denied(denied) => {
                self.wrong_keys.count(from, now);
                Err(AuthFailure::Denied(denied))
            }
        }
    }

    /// What memory believes of a token now, if anything. For a caller who was let in before.
    pub fn believed(&self, digest: TokenDigest) -> Option<Verdict> {
        self.memory.get(digest, self.clock.now())
    }

    /// Has the store asked about what this line of `Authorization` or `Cookie` shows, so that memory knows again.
    ///
    /// # Errors
    /// [`AuthFailure`], as [`Authenticator::authenticate`].
    pub async fn ask_again(&self, line: &HeaderValue, method: AuthMethod) -> Result<Verdict, AuthFailure> {
        let shown = match method {
            AuthMethod::Token => Credentials::read_line(line, &self.schemes).map_err(AuthFailure::Malformed)?,
            AuthMethod::Session => cookies::session_of_line(line),
        };
        let shown = shown.ok_or(AuthFailure::NoCredentials)?;
        let asked = self.resolver.ask(shown.to_key(), shown.digest()).await;
        asked.map_err(|StoreUnavailable| AuthFailure::StoreUnavailable)
    }

    /// The key that these fields show, if any, without asking what it means.
    ///
    /// # Errors
    /// [`BadCredentials`] as [`Credentials::read`].
    pub fn shown<'f>(&self, fields: &'f HeaderMap) -> Result<Option<ShownKey<'f>>, BadCredentials> {
        Credentials::read(fields, &self.schemes)
    }

    /// The word of the challenge: the first scheme that is accepted.
    pub fn challenge(&self) -> &str {
        self.schemes.first().map_or("Token", |scheme| scheme)
    }
}
