//! The pages as templates. askama escapes every value, so that no foreign text becomes markup.
//!
//! The pages have no script and load nothing; the only style sheet is part of the page, and the policy has its digest.

use askama::Template;
use aws_lc_rs::digest::{SHA256, digest};
use base64ct::{Base64, Encoding};

use super::typed::{Typed, Wrong};
use crate::clock::Timestamp;
use crate::store::{TokenDetails, TokenKind};

/// The style sheet, as it is in each page.
pub const STYLE: &str = include_str!("style.css");

/// The choices for the expiry of a token: days, or none.
pub const EXPIRES: [(&str, &str); 5] =
    [("30", "In 30 days"), ("90", "In 90 days"), ("365", "In a year"), ("1", "In a day"), ("never", "Never")];

/// The features of the account page.
#[derive(Clone, Copy, Debug)]
pub struct Offers {
    /// Whether the login token can be shown again.
    pub recoverable: bool,
    /// Whether there can be tokens besides the login token.
    pub named: bool,
    /// Whether users can change their passwords.
    pub passwords: bool,
}

/// The target of a form, and the secret that proves that the form comes from one of our pages.
pub struct FormSeal<'a> {
    pub action: &'a str,
    /// The CSRF secret, masked.
    pub csrf: &'a str,
}

/// The message above a form.
pub enum Notice<'a> {
    None,
    Error(&'a str),
    Done(&'a str),
    /// A key, shown once.
    Key {
        what: &'a str,
        key: &'a str,
    },
}

/// The login page.
#[derive(Template)]
#[template(path = "public/login.html")]
pub struct LoginPage<'a> {
    pub seal: FormSeal<'a>,
    /// The page after the login; empty: the account page.
    pub next: &'a str,
    /// The username that was entered before.
    pub user: &'a str,
    /// Whether a new password has to be entered as well.
    pub must_change: bool,
    pub notice: &'a Notice<'a>,
    pub wrong: Option<Wrong>,
}

/// A page with a message and a link.
#[derive(Template)]
#[template(path = "public/message.html")]
pub struct MessagePage<'a> {
    pub title: &'a str,
    pub text: &'a str,
    /// The address and the text of the link.
    pub link: Option<(&'a str, &'a str)>,
}

/// The page of a user's tokens.
#[derive(Template)]
#[template(path = "public/account.html")]
pub struct AccountPage<'a> {
    pub user: &'a str,
    pub tokens: &'a [TokenDetails],
    pub offers: Offers,
    pub seal: FormSeal<'a>,
    pub logout: FormSeal<'a>,
    pub notice: Notice<'a>,
    /// The form that was refused.
    pub typed: &'a Typed,
    pub wrong: Option<Wrong>,
}

impl Notice<'_> {
    /// Whether it is an error.
    fn is_error(&self) -> bool {
        matches!(self, Notice::Error(_))
    }
}

/// The page as text. Writing to a `String` cannot fail, so an error is a defect in a template: it is logged, and the
/// page is empty.
pub fn render(page: &impl Template) -> String {
    page.render().unwrap_or_else(|error| {
        tracing::error!(%error, "a page could not be rendered");
        String::new()
    })
}

/// The Content-Security-Policy of all pages: nothing is loaded, nothing runs, no site may frame the page, and forms are
/// sent to this origin only.
pub fn policy() -> String {
    let style = Base64::encode_string(digest(&SHA256, STYLE.as_bytes()).as_ref());
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
}

/// The error of the input with this id.
fn wrong<'w>(wrong: &'w Option<Wrong>, id: &impl std::fmt::Display) -> Option<&'w str> {
    wrong.as_ref().filter(|wrong| wrong.id == id.to_string()).map(|wrong| wrong.text.as_str())
}

/// Whether the form was sent with this expiry.
fn is_selected(typed: &Option<&Typed>, expires: &str) -> bool {
    typed.is_some_and(|typed| typed.expires == expires)
}

fn kind(token: &TokenDetails) -> &'static str {
    match token.kind {
        TokenKind::Login => "login",
        TokenKind::Named => "named",
    }
}

/// Formats a time to the minute, in UTC.
fn time(at: &Timestamp) -> String {
    let text = at.to_string();
    let minute = text.get(..16).map(|begin| begin.replace('T', " "));
    minute.unwrap_or(text)
}

fn time_or_never(at: &Option<Timestamp>) -> String {
    at.as_ref().map_or_else(|| "never".to_owned(), time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped() {
        let text = "<b a=\"x\" b='y'>&amp;</b>";
        let page = render(&MessagePage { title: "a", text, link: None });
        assert!(page.contains("&#60;b a=&#34;x&#34; b=&#39;y&#39;&#62;&#38;amp;&#60;/b&#62;"), "{page}");
    }

    #[test]
    fn times_are_shown_to_the_minute() {
        assert_eq!(time(&Timestamp::from_micros(1_767_225_600_000_000)), "2026-01-01 00:00");
    }

    #[test]
    fn the_policy_has_the_digest_of_the_style() {
        let page = render(&MessagePage { title: "a", text: "b", link: None });
        let style = page.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
        let hash = Base64::encode_string(digest(&SHA256, style.as_bytes()).as_ref());
        assert!(policy().contains(&format!("style-src 'sha256-{hash}';")), "{}", policy());
    }
}
