//! What was typed into a form of the pages, and which of its fields is wrong.

use super::issuer::AccountField;
use crate::token::TokenId;

/// A form of the account page, without its passwords: what was typed stays when the form is refused.
#[derive(Clone, Debug, Default)]
pub struct Typed {
    /// The action of the form.
    pub action: String,
    /// The token that it is about.
    pub token: Option<TokenId>,
    /// The name of the token.
    pub name: String,
    /// The selected expiry.
    pub expires: String,
}

/// The error of an input.
#[derive(Clone, Debug)]
pub struct Wrong {
    /// The id of the input.
    pub id: String,
    /// The error.
    pub text: String,
}

impl Typed {
    /// A name for a new token.
    pub fn new_token(name: String) -> Typed {
        Typed { action: "create".to_owned(), name, ..Typed::default() }
    }

    /// The name that the form for a new token begins with.
    pub fn new_token_name(&self) -> &str {
        if self.action == "create" { &self.name } else { "" }
    }

    /// This form, if it changes this token.
    pub fn change_of(&self, token: &TokenId) -> Option<&Typed> {
        (self.action == "change" && self.token.as_ref() == Some(token)).then_some(self)
    }

    /// The error of this field of the form.
    pub fn wrong(&self, field: AccountField, text: &str) -> Wrong {
        let of_token = |input: &str| format!("{input}-{}", self.token.unwrap_or(TokenId(0)));
        let id = match (self.action.as_str(), field) {
            ("change", AccountField::Name) => of_token("name"),
            ("change", AccountField::Expires) => of_token("expires"),
            ("change", _) => of_token("password"),
            ("create", AccountField::Name) => "token-name".to_owned(),
            ("create", _) => "token-password".to_owned(),
            ("password", AccountField::Password) => "old-password".to_owned(),
            (_, AccountField::NewPassword) => "new-password".to_owned(),
            _ => "login-password".to_owned(),
        };
        Wrong { id, text: text.to_owned() }
    }
}
