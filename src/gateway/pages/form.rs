//! Parses the forms of the pages.

use http::HeaderMap;
use zeroize::Zeroizing;

use crate::client::ClientBody;
use crate::config::settings;
use crate::gateway::Refusal;
use crate::gateway::forms::Expected;
use crate::login::form::{Field, Form, MediaType, urlencoded};
use crate::login::typed::Typed;
use crate::login::{AccountField, LoginFailure};
use crate::store::Password;
use crate::token::TokenId;

/// The fields of all forms; empty if they were not sent, except `next`. Of two fields with the same name the last one
/// is used.
#[derive(Default)]
pub(super) struct PageForm {
    pub csrf: String,
    pub next: Option<String>,
    pub action: String,
    pub name: String,
    pub token: String,
    pub expires: String,
    pub new_password: Zeroizing<String>,
    pub new_password_again: Zeroizing<String>,
    pub password: Zeroizing<String>,
    /// Username and password, validated like those of a login.
    pub login: Form,
}

impl PageForm {
    /// The name that was typed for a new token; empty in other forms.
    pub(super) fn new_token_name(&self) -> &str {
        if self.action == "create" { self.name.trim() } else { "" }
    }

    /// What stays if the form is refused.
    pub(super) fn typed(&self) -> Typed {
        Typed {
            action: self.action.clone(),
            token: self.token.parse().ok().map(TokenId),
            name: self.name.trim().to_owned(),
            expires: self.expires.clone(),
        }
    }

    /// The new password, once to set it and once to sign in with it.
    ///
    /// # Errors
    /// There is none, or the repetition differs.
    pub(super) fn new_passwords(mut self) -> Result<(Password, Password), LoginFailure> {
        if *self.new_password != *self.new_password_again {
            let text = "The new passwords do not match; enter them again.".to_owned();
            return Err(LoginFailure::InvalidField(AccountField::NewPassword, text));
        }
        let missing = |_| LoginFailure::InvalidField(AccountField::NewPassword, "Enter a new password.".to_owned());
        let new = Password::parse(std::mem::take(&mut *self.new_password)).map_err(missing)?;
        let again = Password::parse(std::mem::take(&mut *self.new_password_again)).map_err(missing)?;
        Ok((new, again))
    }

    /// Reads a form. A malformed form counts as empty: it has no CSRF secret and therefore no effect.
    pub(super) async fn read(
        expected: Expected,
        body: ClientBody,
        fields: &HeaderMap,
        settings: &settings::Login,
    ) -> Result<PageForm, Refusal> {
        let text = expected.read(body, settings).await?;
        let mut form = PageForm::default();
        if !matches!(MediaType::of(fields), Ok(MediaType::UrlEncoded)) {
            return Ok(form);
        }
        let read = urlencoded::each(&text, |name, value| {
            let value = || urlencoded::decode(value);
            let text = || String::from_utf8_lossy(&value()).into_owned();
            match name {
                b"csrfmiddlewaretoken" => form.csrf = text(),
                b"next" => form.next = Some(text()),
                b"action" => form.action = text(),
                b"name" => form.name = text(),
                b"token" => form.token = text(),
                b"expires" => form.expires = text(),
                b"new_password" => form.new_password = Zeroizing::new(text()),
                b"new_password_again" => form.new_password_again = Zeroizing::new(text()),
                b"username" => form.login.set("username", Field::text(value())),
                b"password" => {
                    form.login.set("password", Field::text(value()));
                    form.password = Zeroizing::new(text());
                }
                _ => {}
            }
        });
        Ok(if read.is_ok() { form } else { PageForm::default() })
    }
}
