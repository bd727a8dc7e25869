//! Establishes who is calling.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use super::{BadCredentials, Credentials, KeyForm, Refused, cookies, own};
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
    refused: Refused,
    clock: Clock,
    schemes: Box<[Box<str>]>,
    recorder: Arc<Recorder>,
}

/// What a route accepts as credentials.
#[derive(Clone, Copy)]
pub struct Accepted<'r> {
    /// In the order in which they are looked for.
    pub methods: &'r [AuthMethod],
    /// How a token may be written.
    pub form: KeyForm,
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
    /// Too many wrong keys came from this address; this one is wrong too, or was not looked up. May be tried again
    /// after this time.
    Throttled(Duration),
}

impl Authenticator {
    /// An authenticator of one worker.
    pub fn new(
        memory: Arc<IdentityCache>,
        resolver: ResolverHandle,
        uses: Uses,
        refused: Refused,
        clock: Clock,
        schemes: &[String],
        recorder: Arc<Recorder>,
    ) -> Authenticator {
        let schemes = schemes.iter().map(|scheme| scheme.as_str().into()).collect();
        Authenticator { memory, resolver, uses, refused, clock, schemes, recorder }
    }

    /// Who sent these fields from this address, as far as the route wants to know: by the first of the accepted methods
    /// that they show. A hit never suspends.
    ///
    /// # Errors
    /// [`AuthFailure`]; what it means to the client stands in `gateway/refusal.rs`.
    pub async fn authenticate(
        &self,
        access: &Access,
        accepted: Accepted<'_>,
        fields: &HeaderMap,
        from: IpAddr,
    ) -> Result<Option<Arc<Identity>>, AuthFailure> {
        if matches!(access, Access::None) {
            return Ok(None);
        }
        let mut held_back = None;
        for method in accepted.methods {
            let shown = match method {
                AuthMethod::Token => self.shown(fields, accepted.form).map_err(AuthFailure::Malformed)?,
                AuthMethod::Session => cookies::session(fields),
            };
            let Some(shown) = shown else { continue };
            match self.identify(shown, *method, from).await {
                // A session that is over is none: browsers go on sending its cookie. So is one that is held back, as
                // long as there is a token.
                Err(AuthFailure::Denied(_)) if *method == AuthMethod::Session => {}
                Err(AuthFailure::Throttled(wait)) if *method == AuthMethod::Session => held_back = Some(wait),
                identified => return identified.map(Some),
            }
        }
        if let Some(wait) = held_back {
            return Err(AuthFailure::Throttled(wait));
        }
        if matches!(access, Access::Optional) { Ok(None) } else { Err(AuthFailure::NoCredentials) }
    }

    async fn identify(
        &self,
        shown: ShownKey<'_>,
        method: AuthMethod,
        from: IpAddr,
    ) -> Result<Arc<Identity>, AuthFailure> {
        let digest = shown.digest();
        let now = self.clock.now();
        let identity = match self.memory.get(digest, now) {
            Some(Verdict::Caller(identity)) => {
                self.recorder.cache_hit();
                identity
            }
            // Boxed: the future of every request would have room for this one otherwise.
            other => Box::pin(self.judge(shown, method, other, from, now)).await?,
        };
        self.uses.note(&identity, now);
        Ok(identity)
    }

    /// Who shows a key of which memory says `remembered`, which is no caller.
    async fn judge(
        &self,
        shown: ShownKey<'_>,
        method: AuthMethod,
        remembered: Option<Verdict>,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<Arc<Identity>, AuthFailure> {
        // A browser shows it with every request, which costs nothing.
        if let (AuthMethod::Session, Some(Verdict::Denied(denied))) = (method, &remembered) {
            self.recorder.cache_hit();
            return Err(AuthFailure::Denied(*denied));
        }
        let digest = shown.digest();
        let refused = self.refused.of(method);
        // A key that was good is looked up whatever else comes from there.
        let held_back = if self.memory.knew(digest) { None } else { refused.check(from, now).err() };
        let verdict = match (remembered, held_back) {
            (Some(verdict), _) => {
                self.recorder.cache_hit();
                Ok(verdict)
            }
            (None, None) => {
                self.recorder.cache_miss();
                self.resolver.ask(shown.to_key(), digest).await
            }
            (None, Some(_)) => {
                self.recorder.cache_miss();
                self.resolver.ask_if_spare(shown.to_key(), digest).await
            }
        };
        match (verdict, held_back) {
            (Ok(Verdict::Caller(identity)), _) => Ok(identity),
            (Ok(Verdict::Denied(denied)), Some(_)) if method == AuthMethod::Session => Err(AuthFailure::Denied(denied)),
            // Whether it was looked up does not show.
            (_, Some(wait)) => Err(AuthFailure::Throttled(wait)),
            (Ok(Verdict::Denied(denied)), None) => {
                refused.count(from, now);
                Err(AuthFailure::Denied(denied))
            }
            (Err(StoreUnavailable), None) => Err(AuthFailure::StoreUnavailable),
        }
    }

    /// What memory believes of a token now, if anything. For a caller who was let in before.
    pub fn believed(&self, digest: TokenDigest) -> Option<Verdict> {
        self.memory.get(digest, self.clock.now())
    }

    /// Has the store asked about the key with this digest, which stands in a line of `Authorization` or `Cookie`, so that
    /// memory knows again.
    ///
    /// # Errors
    /// [`AuthFailure`], as [`Authenticator::authenticate`].
    pub async fn ask_again(
        &self,
        line: &HeaderValue,
        method: AuthMethod,
        digest: TokenDigest,
    ) -> Result<Verdict, AuthFailure> {
        let shown = match method {
            AuthMethod::Token => Credentials::readings(line, &self.schemes).find(|key| key.digest() == digest),
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
    pub fn shown<'f>(&self, fields: &'f HeaderMap, form: KeyForm) -> Result<Option<ShownKey<'f>>, BadCredentials> {
        Credentials::read(fields, &self.schemes, form)
    }

    /// Every key that these fields could be taken to show, in whatever form.
    pub fn readings<'f>(&self, fields: &'f HeaderMap) -> impl Iterator<Item = ShownKey<'f>> {
        let lines = fields.get_all(AUTHORIZATION).iter();
        lines.flat_map(|line| Credentials::readings(line, &self.schemes))
    }

    /// Do these fields show credentials of the gateway's own, or what some reader could take for them? Of keys it knows
    /// those that memory does.
    pub fn shows_own(&self, fields: &HeaderMap) -> bool {
        // Whether it still counts, or must be asked for again, does not matter: it is nothing for an upstream.
        let is_known = |key: ShownKey<'_>| self.memory.knew(key.digest());
        fields.get_all(AUTHORIZATION).iter().any(|line| own::is_own(line.as_bytes(), &self.schemes, is_known))
    }

    /// The word of the challenge: the first scheme that is accepted.
    pub fn challenge(&self) -> &str {
        self.schemes.first().map_or("Token", |scheme| scheme)
    }
}
