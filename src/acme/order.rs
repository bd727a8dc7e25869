//! One order at the CA, from the account to the file.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, Identifier, NewOrder, Order,
    OrderStatus, RetryPolicy, RevocationReason, RevocationRequest,
};
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::AcmeError;
use super::client;
use super::dns_hook::{self, Act, Record};
use super::folder::{Folder, Lock, Pending};
use crate::config::settings::{Acme, AcmeCertificate, AcmeChallenge};
use crate::tls::{Certificate, NewKey};

/// Until every gateway has read the pending challenges, which each does once a second.
const SETTLE: Duration = Duration::from_millis(2_500);
/// How long the CA may take to verify the names, and to sign.
const PATIENCE: Duration = Duration::from_secs(180);

/// Why a certificate is revoked (RFC 5280 §5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No reason is given.
    Unspecified,
    /// The key may be in other hands.
    KeyCompromise,
    /// Another certificate is used in its place.
    Superseded,
    /// The names are not used any more.
    CessationOfOperation,
}

/// Requests a certificate and writes it to its file. `replaced` is the one that is renewed.
///
/// # Errors
/// [`AcmeError`]; the file is as before.
pub async fn issue(
    acme: &Acme,
    wanted: &AcmeCertificate,
    replaced: Option<&Certificate>,
    lock: &Lock,
) -> Result<Certificate, AcmeError> {
    let folder = Folder::at(&acme.folder);
    let account = client::account(acme, &folder, lock).await?;
    let issued = match with(&account, acme, wanted, replaced, &folder, lock).await {
        Err(error) if client::is_unknown_account(&error) => {
            let account = client::new_account(acme, &folder, lock).await?;
            with(&account, acme, wanted, replaced, &folder, lock).await
        }
        issued => issued,
    };
    // Nothing is pending from here on. What cannot be removed is removed before the next order.
    let _ = folder.clear(lock);
    issued
}

async fn with(
    account: &Account,
    acme: &Acme,
    wanted: &AcmeCertificate,
    replaced: Option<&Certificate>,
    folder: &Folder,
    lock: &Lock,
) -> Result<Certificate, AcmeError> {
    folder.clear(lock)?;
    let identifiers: Vec<Identifier> = wanted.names.iter().cloned().map(Identifier::Dns).collect();
    let mut order = open(account, acme, &identifiers, replaced.and_then(identifier)).await?;
    if order.state().status == OrderStatus::Pending {
        let proofs = proofs(&mut order, wanted.challenge, &wanted.names).await?;
        let verified = match wanted.challenge {
            AcmeChallenge::Http | AcmeChallenge::TlsAlpn => {
                proofs.iter().try_for_each(|proof| folder.announce(&proof.pending))?;
                sleep(SETTLE).await;
                verify(&mut order, wanted.challenge).await
            }
            AcmeChallenge::Dns => by_records(&mut order, acme, &proofs).await,
        };
        verified?;
    }
    let NewKey { pem, request } = NewKey::draw(&wanted.names)?;
    order.finalize_csr(&request).await?;
    let chain = order.poll_certificate(&policy()).await?;
    keep(acme, wanted, folder, &pem, &chain)
}

/// Opens an order. A CA may refuse that it replaces another certificate, which says nothing about the order itself.
async fn open(
    account: &Account,
    acme: &Acme,
    identifiers: &[Identifier],
    replaced: Option<CertificateIdentifier<'static>>,
) -> Result<Order, AcmeError> {
    let new = || {
        let new = NewOrder::new(identifiers);
        match &acme.profile {
            Some(profile) => new.profile(profile),
            None => new,
        }
    };
    if let Some(replaced) = replaced
        && let Ok(order) = account.new_order(&new().replaces(replaced)).await
    {
        return Ok(order);
    }
    Ok(account.new_order(&new()).await?)
}

/// The identifier of a certificate in the renewal information of its CA.
pub(super) fn identifier(certificate: &Certificate) -> Option<CertificateIdentifier<'static>> {
    CertificateIdentifier::try_from(certificate.key.cert.first()?).ok().map(CertificateIdentifier::into_owned)
}

/// What proves a name.
struct Proof {
    pending: Pending,
    record: Record,
}

/// The proofs of all names that the CA has not verified before.
async fn proofs(order: &mut Order, challenge: AcmeChallenge, names: &[String]) -> Result<Vec<Proof>, AcmeError> {
    let mut proofs = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let name = match authorization.identifier().identifier {
            Identifier::Dns(name) => name.clone(),
            other => format!("{other:?}"),
        };
        if !names.iter().any(|wanted| wanted.strip_prefix("*.").unwrap_or(wanted).eq_ignore_ascii_case(&name)) {
            return Err(AcmeError::ForeignName(name));
        }
        let Some(challenge) = authorization.challenge(kind(challenge)) else {
            return Err(AcmeError::NoChallenge { name, challenge: word(challenge) });
        };
        let answer = challenge.key_authorization();
        let record = Record { name: format!("_acme-challenge.{name}"), value: answer.dns_value() };
        let pending = Pending { name, token: challenge.token.clone(), key_authorization: answer.as_str().to_owned() };
        // The token becomes the name of a file.
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if pending.token.is_empty() || pending.token.len() > 200 || !pending.token.bytes().all(is_plain) {
            return Err(AcmeError::Ca(Error::Str("token in base64url")));
        }
        proofs.push(Proof { pending, record });
    }
    Ok(proofs)
}

/// Writes the records, has the CA verify them, and removes them again, whatever came of it.
async fn by_records(order: &mut Order, acme: &Acme, proofs: &[Proof]) -> Result<(), AcmeError> {
    let Some(hook) = acme.dns_hook.as_deref() else {
        return Err(AcmeError::Hook { hook: "acme.dns_hook".into(), why: "is not configured".to_owned() });
    };
    let verified = async {
        for proof in proofs {
            dns_hook::call(hook, Act::Add, &proof.record).await?;
        }
        sleep(acme.dns_delay).await;
        verify(order, AcmeChallenge::Dns).await
    };
    let verified = verified.await;
    for proof in proofs {
        if let Err(error) = dns_hook::call(hook, Act::Remove, &proof.record).await {
            tracing::warn!(
                code = "acme_record_left",
                name = proof.record.name,
                "a DNS record was not removed: {}",
                error.line()
            );
        }
    }
    verified
}

/// Tells the CA that the proofs are in place, and waits until it has verified them.
async fn verify(order: &mut Order, challenge: AcmeChallenge) -> Result<(), AcmeError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status != AuthorizationStatus::Valid
            && let Some(mut challenge) = authorization.challenge(kind(challenge))
        {
            challenge.set_ready().await?;
        }
    }
    match order.poll_ready(&policy()).await {
        Ok(OrderStatus::Ready) => Ok(()),
        Ok(_) => Err(rejection(order, None).await),
        Err(error @ Error::Api(_)) => Err(rejection(order, Some(error)).await),
        Err(error) => Err(error.into()),
    }
}

/// Which name the CA could not verify, and why.
async fn rejection(order: &mut Order, error: Option<Error>) -> AcmeError {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.refresh().await.is_err() || authorization.status != AuthorizationStatus::Invalid {
            continue;
        }
        let name = authorization.identifier().to_string();
        let told = authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        return AcmeError::NotVerified {
            name,
            why: told.map_or_else(|| "no reason given".to_owned(), ToString::to_string),
        };
    }
    error.unwrap_or(Error::Str("valid order")).into()
}

/// Writes what was issued, once it is known to be usable.
fn keep(
    acme: &Acme,
    wanted: &AcmeCertificate,
    folder: &Folder,
    key: &str,
    chain: &str,
) -> Result<Certificate, AcmeError> {
    let path = acme.file(&wanted.name);
    let tried = acme.file(&format!("{}.issued", wanted.name));
    folder.write(&tried, Zeroizing::new(format!("{key}{chain}")).as_bytes())?;
    let read = Certificate::read(&wanted.name, &tried, &tried);
    let usable = read.map_err(|bad| bad.fault.to_string()).and_then(|read| {
        let missing = wanted.names.iter().find(|name| !read.names.contains(name));
        missing.map_or(Ok(()), |name| Err(format!("it lacks the name {name}")))
    });
    let kept = match usable {
        Ok(()) => std::fs::rename(&tried, &path).map_err(|source| AcmeError::File { path: path.clone(), source }),
        Err(why) => {
            // A file that is left behind is replaced by the next order.
            let _ = std::fs::remove_file(&tried);
            Err(AcmeError::BadCertificate(why))
        }
    };
    kept?;
    Ok(Certificate::read(&wanted.name, &path, &path)?)
}

/// Revokes a certificate.
///
/// # Errors
/// [`AcmeError`]. A certificate that is revoked already is no error.
pub async fn revoke(acme: &Acme, certificate: &Certificate, reason: Reason, lock: &Lock) -> Result<(), AcmeError> {
    let account = client::account(acme, &Folder::at(&acme.folder), lock).await?;
    let Some(certificate) = certificate.key.cert.first() else { return Ok(()) };
    let reason = match reason {
        Reason::Unspecified => RevocationReason::Unspecified,
        Reason::KeyCompromise => RevocationReason::KeyCompromise,
        Reason::Superseded => RevocationReason::Superseded,
        Reason::CessationOfOperation => RevocationReason::CessationOfOperation,
    };
    match account.revoke(&RevocationRequest { certificate, reason: Some(reason) }).await {
        Err(Error::Api(problem)) if problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:alreadyRevoked") => {
            Ok(())
        }
        revoked => Ok(revoked?),
    }
}

fn policy() -> RetryPolicy {
    RetryPolicy::new().initial_delay(Duration::from_millis(500)).backoff(1.5).timeout(PATIENCE)
}

fn kind(challenge: AcmeChallenge) -> ChallengeType {
    match challenge {
        AcmeChallenge::Http => ChallengeType::Http01,
        AcmeChallenge::TlsAlpn => ChallengeType::TlsAlpn01,
        AcmeChallenge::Dns => ChallengeType::Dns01,
    }
}

fn word(challenge: AcmeChallenge) -> &'static str {
    match challenge {
        AcmeChallenge::Http => "http-01",
        AcmeChallenge::TlsAlpn => "tls-alpn-01",
        AcmeChallenge::Dns => "dns-01",
    }
}
