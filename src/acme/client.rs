//! The account at the CA, and the requests to it.

use std::io;
use std::pin::Pin;

use base64ct::{Base64UrlUnpadded, Encoding};
use bytes::Bytes;
use http::Request;
use instant_acme::{
    Account, AccountBuilder, AccountCredentials, BodyWrapper, BytesResponse, Error, ExternalAccountKey, HttpClient,
    NewAccount,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::AcmeError;
use super::folder::{Folder, Lock};
use crate::config::settings::Acme;
use crate::https::HttpsClient;
use crate::tls::Authorities;

/// The account file.
#[derive(Serialize, Deserialize)]
struct Saved {
    /// The CA that it belongs to.
    directory: String,
    credentials: AccountCredentials,
}

struct Http(HttpsClient);

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.0.clone();
        Box::pin(async move {
            let answered = client.send(request).await.map_err(|error: io::Error| Error::Other(Box::new(error)))?;
            let (parts, body) = answered.into_parts();
            Ok(BytesResponse { parts, body: Box::new(body) })
        })
    }
}

fn builder(acme: &Acme) -> Result<AccountBuilder, AcmeError> {
    let authorities = acme.authorities.clone().map_or_else(Authorities::of_system, Ok)?;
    let client = HttpsClient::new(&authorities).map_err(AcmeError::Tls)?;
    Ok(Account::builder_with_http(Box::new(Http(client))))
}

/// The account of the folder; `None`: there is none at this CA.
pub(super) async fn known_account(acme: &Acme, folder: &Folder) -> Result<Option<Account>, AcmeError> {
    let path = folder.account();
    let Some(text) = folder.read(&path)? else { return Ok(None) };
    let saved: Saved = serde_json::from_slice(&text).map_err(|_| AcmeError::BadAccount(path))?;
    if saved.directory != acme.directory {
        return Ok(None);
    }
    Ok(Some(builder(acme)?.from_credentials(saved.credentials).await?))
}

/// The account of the folder. Creates one if there is none.
pub(super) async fn account(acme: &Acme, folder: &Folder, lock: &Lock) -> Result<Account, AcmeError> {
    match known_account(acme, folder).await? {
        Some(account) => Ok(account),
        None => new_account(acme, folder, lock).await,
    }
}

/// Creates an account, in place of the one that the folder has.
pub(super) async fn new_account(acme: &Acme, folder: &Folder, _lock: &Lock) -> Result<Account, AcmeError> {
    let external = match &acme.external_account {
        None => None,
        Some(external) => {
            let bad = || AcmeError::BadExternalKey(external.key_file.clone());
            let missing =
                || AcmeError::File { path: external.key_file.clone(), source: io::ErrorKind::NotFound.into() };
            let text = folder.read(&external.key_file)?.ok_or_else(missing)?;
            let text = std::str::from_utf8(&text).map_err(|_| bad())?;
            let key = Base64UrlUnpadded::decode_vec(text.trim().trim_end_matches('=')).map_err(|_| bad())?;
            Some(ExternalAccountKey::new(external.id.clone(), &Zeroizing::new(key)))
        }
    };
    let contact: Vec<&str> = acme.contact.iter().map(String::as_str).collect();
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let (account, credentials) = builder(acme)?.create(&new, acme.directory.clone(), external.as_ref()).await?;
    let saved = Saved { directory: acme.directory.clone(), credentials };
    let path = folder.account();
    let text = serde_json::to_vec(&saved).map(Zeroizing::new);
    folder.write(&path, &text.map_err(|error| AcmeError::File { path: path.clone(), source: error.into() })?)?;
    Ok(account)
}

/// Whether the CA does not know the account any more, as a test server that was restarted.
pub(super) fn is_unknown_account(error: &AcmeError) -> bool {
    let AcmeError::Ca(Error::Api(problem)) = error else { return false };
    problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:accountDoesNotExist")
}
