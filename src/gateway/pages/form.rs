//! Parses the forms of the pages.

use http::HeaderMap;
use zeroize::Zeroizing;

use crate::client::ClientBody;
use crate::config::settings;
use crate::gateway::Refusal;
use crate::gateway::forms::Expected;
use crate::login::form::{Field, Form, MediaType, urlencoded};

/// The fields of all forms; empty if they were not sent, except `next`. Of two fields with the same name the last one
/// is used.
#[derive(Default)]
pub(super) struct PageForm {
    pub csrf: String,
    pub next: Option<String>,
    pub action: String,
    pub name: String,
    pub token: String,
    pub password: Zeroizing<String>,
    /// Username and password, validated like those of a login.
    pub login: Form,
}

impl PageForm {
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
