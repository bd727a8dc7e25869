//! Authenticates requests.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use super::{BadCredentials, CredentialRules, Credentials, KeyForm, cookies, own};
use crate::cache::{IdentityCache, ResolverHandle, StoreUnavailable, Uses};
use crate::clock::{Clock, Timestamp};
use crate::config::settings::Auth;
use crate::identity::{Denied, Identity, Verdict};
use crate::telemetry::Recorder;
use crate::token::{AuthMethod, ShownKey, TokenDigest};

/// Authenticates requests: from memory first, otherwise through the resolver.
pub struct Authenticator {
    memory: Arc<IdentityCache>,
    resolver: ResolverHandle,
    uses: Uses,
    clock: Clock,
    recorder: Arc<Recorder>,
}

/// The credentials that a route accepts.
#[derive(Clone, Copy)]
pub struct Accepted<'r> {
    /// In the order in which they are tried.
    pub methods: &'r [AuthMethod],
    /// The accepted notation of tokens.
    pub form: KeyForm,
    /// The certificate of the client.
    pub certificate: ShownCertificate<'r>,
}

/// What the certificate of a client says about its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownCertificate<'r> {
    /// There is no certificate.
    None,
    /// It belongs to no user.
    Unknown,
    /// It belongs to the user with this name, if there is one.
    Of(&'r HeaderValue),
}

impl<'r> ShownCertificate<'r> {
    /// What the store looks up.
    fn key(self) -> Option<ShownKey<'r>> {
        let ShownCertificate::Of(user) = self else { return None };
        std::str::from_utf8(user.as_bytes()).ok().map(ShownKey::of_certificate)
    }
}

/// Why a request was not authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthFailure {
    /// The route requires credentials and the request has none.
    NoCredentials,
    /// The credentials are malformed.
    Malformed(BadCredentials),
    /// The token is not valid.
    Denied(Denied),
    /// The validity of the token is unknown because of an outage. Never answered as a refusal of the credentials.
    StoreUnavailable,
    /// The client's certificate belongs to no active user.
    NoUser(Denied),
    /// This address sent too many wrong keys, and this key is wrong too or was not looked up. Holds the time until the
    /// next try.
    Throttled(Duration),
}

impl AuthFailure {
    /// Reports whether other credentials could pass: they are missing, unknown, revoked or expired.
    pub fn is_about_credentials(self) -> bool {
        matches!(
            self,
            AuthFailure::NoCredentials
                | AuthFailure::NoUser(_)
                | AuthFailure::Denied(
                    Denied::Unknown | Denied::Revoked | Denied::Expired | Denied::Unused | Denied::OwnerInactive
                )
        )
    }
}

impl Authenticator {
    /// Creates the authenticator of one worker.
    pub fn new(
        memory: Arc<IdentityCache>,
        resolver: ResolverHandle,
        uses: Uses,
        clock: Clock,
        recorder: Arc<Recorder>,
    ) -> Authenticator {
        Authenticator { memory, resolver, uses, clock, recorder }
    }

    /// Authenticates a request by the first accepted method whose credentials it carries. A cache hit never suspends.
    ///
    /// # Errors
    /// [`AuthFailure`]; `gateway/refusal.rs` maps it to a response.
    pub async fn authenticate(
        &self,
        rules: &CredentialRules,
        auth: Auth,
        accepted: Accepted<'_>,
        fields: &HeaderMap,
        from: IpAddr,
    ) -> Result<Option<Arc<Identity>>, AuthFailure> {
        if auth == Auth::None {
            return Ok(None);
        }
        let (mut held_back, mut no_user) = (None, None);
        for method in accepted.methods {
            let shown = match method {
                AuthMethod::Token => rules.shown(fields, accepted.form).map_err(AuthFailure::Malformed)?,
                AuthMethod::Session => cookies::session(fields),
                AuthMethod::Certificate => {
                    let shown = accepted.certificate.key();
                    if shown.is_none() && accepted.certificate != ShownCertificate::None {
                        no_user = Some(Denied::Unknown);
                    }
                    shown
                }
            };
            let Some(shown) = shown else { continue };
            match self.identify(rules, shown, *method, from).await {
                // An expired session counts as no credentials, because browsers keep sending its cookie. So does a
                // session whose client is rate-limited, if there is also a token.
                Err(AuthFailure::Denied(_)) if *method == AuthMethod::Session => {}
                // Programs show the same certificate to every server, so another kind of credentials may decide.
                Err(AuthFailure::Denied(why)) if *method == AuthMethod::Certificate => no_user = Some(why),
                Err(AuthFailure::Throttled(wait)) if *method == AuthMethod::Session => held_back = Some(wait),
                identified => return identified.map(Some),
            }
        }
        if let Some(wait) = held_back {
            return Err(AuthFailure::Throttled(wait));
        }
        // Not anonymous, and not a matter for a portal: there are credentials, and they are not valid.
        if let Some(why) = no_user {
            return Err(AuthFailure::NoUser(why));
        }
        if auth == Auth::Optional { Ok(None) } else { Err(AuthFailure::NoCredentials) }
    }

    async fn identify(
        &self,
        rules: &CredentialRules,
        shown: ShownKey<'_>,
        method: AuthMethod,
        from: IpAddr,
    ) -> Result<Arc<Identity>, AuthFailure> {
        let digest = shown.digest();
        let now = self.clock.now();
        match self.memory.get(digest, now) {
            Some(Verdict::Caller(identity)) => {
                self.recorder.cache_hit();
                Ok(identity)
            }
            // Boxed: otherwise the future of every request would reserve space for this one.
            other => Box::pin(self.judge(rules, (shown, method), other, from, now)).await,
        }
    }

    /// Records that this token was used: a route has admitted its request. A refused request is no use, so it does not
    /// keep a token valid that ends when it is not used.
    pub fn note_use(&self, identity: &Identity) {
        self.uses.note(identity, self.clock.now());
    }

    /// Resolves a key that has no valid entry in memory; `remembered` is its entry.
    async fn judge(
        &self,
        rules: &CredentialRules,
        (shown, method): (ShownKey<'_>, AuthMethod),
        remembered: Option<Verdict>,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<Arc<Identity>, AuthFailure> {
        // Browsers send an expired session with every request; that costs no lookup.
        if let (AuthMethod::Session, Some(Verdict::Denied(denied))) = (method, &remembered) {
            self.recorder.cache_hit();
            return Err(AuthFailure::Denied(*denied));
        }
        let digest = shown.digest();
        let refused = rules.refused.of(method);
        // A key that was valid before is looked up even if the address is over its limit.
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
            // The response does not reveal whether the key was looked up.
            (_, Some(wait)) => Err(AuthFailure::Throttled(wait)),
            (Ok(Verdict::Denied(denied)), None) => {
                refused.count(from, now);
                Err(AuthFailure::Denied(denied))
            }
            (Err(StoreUnavailable), None) => Err(AuthFailure::StoreUnavailable),
        }
    }

    /// Returns the cached verdict about a token. For callers who were authenticated before.
    pub fn believed(&self, digest: TokenDigest) -> Option<Verdict> {
        self.memory.get(digest, self.clock.now())
    }

    /// Re-resolves these credentials through the store and refills the cache. `digest` must be that of the key in the
    /// `Authorization` or `Cookie` line, or of the username in place of such a line.
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
            AuthMethod::Token => Credentials::words(line).find(|key| key.digest() == digest),
            AuthMethod::Session => cookies::session_of_line(line),
            AuthMethod::Certificate => ShownCertificate::Of(line).key(),
        };
        let shown = shown.ok_or(AuthFailure::NoCredentials)?;
        let asked = self.resolver.ask(shown.to_key(), shown.digest()).await;
        asked.map_err(|StoreUnavailable| AuthFailure::StoreUnavailable)
    }

    /// Reports whether these headers contain credentials of the gateway, or a text that a reader could take for them.
    /// Checks keys only against memory.
    pub fn shows_own(&self, rules: &CredentialRules, fields: &HeaderMap) -> bool {
        // An expired entry counts too: the key must not reach an upstream.
        let is_known = |key: ShownKey<'_>| self.memory.knew(key.digest());
        fields.get_all(AUTHORIZATION).iter().any(|line| own::is_own(line.as_bytes(), &rules.schemes, is_known))
    }
}
