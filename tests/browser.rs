//! Browsers: pages for signing in and out, sessions as credentials, the account page.

mod account;
mod errors;
mod pages;
mod requests;
mod sessions;

use std::collections::BTreeMap;
use std::time::Duration;

use tokengate::config::Settings;
use tokengate::config::settings::{Auth, Browser as Pages, Hashing, Login, Route};
use tokengate::store::{NewUser, Password};
use tokengate::token::{AuthMethod, SubjectId};

use crate::support::gateway::route;
use crate::support::{Answer, Ask, Gateway, Origin, Site};

pub const PASSWORD: &str = "correct horse 9";
const WRONG: &str = "Please enter a correct username and password.";
const ORIGIN: &str = "https://localhost";
pub const SESSION: &str = "__Host-tokengate-sessionid";

/// Enables the pages without rate limits, and adds routes for every order of credentials.
pub fn with_pages(settings: &mut Settings) {
    let browser = Some(Pages::default());
    settings.login = Some(Login { per_user: None, per_address: None, browser, ..Login::default() });
    settings.store.hashing = Hashing { at_once: 4, failed_after: Duration::from_millis(1) };
    let (token, session) = (AuthMethod::Token, AuthMethod::Session);
    for (name, auth, credentials) in [
        ("both", Auth::Required, vec![token, session]),
        ("first", Auth::Required, vec![session, token]),
        ("only", Auth::Required, vec![session]),
        ("maybe", Auth::Optional, vec![token, session]),
    ] {
        settings.routes.push(Route { credentials, ..route(name, &format!("/{name}/"), auth) });
    }
    let streaming = Route { streaming: true, ..route("live", "/live/", Auth::Required) };
    settings.routes.push(Route { credentials: vec![token, session], ..streaming });
}

async fn gateway(origin: &Origin) -> Gateway {
    let gateway = Site::before(origin).with(with_pages).start().await;
    user(&gateway, "alice").await;
    gateway
}

/// A user with the password [`PASSWORD`].
pub async fn user(gateway: &Gateway, name: &str) -> SubjectId {
    let password = Some(Password::parse(PASSWORD).unwrap());
    gateway.store.accounts.create(NewUser { password, ..NewUser::named(name) }).await.unwrap().0.account.id
}

/// A browser: keeps cookies and fills in forms.
#[derive(Clone, Default)]
pub struct Browser {
    pub jar: BTreeMap<String, String>,
}

impl Browser {
    /// A browser that is signed in.
    pub async fn of(gateway: &Gateway, name: &str) -> Browser {
        let mut browser = Browser::default();
        let answer = browser.log_in(gateway, name, PASSWORD).await;
        assert_eq!((answer.status, answer.fields.get("location")), (302, Some("/auth/account/")), "{answer:?}");
        browser
    }

    pub async fn log_in(&mut self, gateway: &Gateway, name: &str, password: &str) -> Answer {
        self.submit(gateway, "/auth/login/", "/auth/login/", &[("username", name), ("password", password)]).await
    }

    pub async fn get(&mut self, gateway: &Gateway, target: &str) -> Answer {
        let answer = self.with_cookies(Ask::get(target)).to(gateway).await;
        self.take(&answer);
        answer
    }

    /// Loads a page and sends a form with its CSRF token.
    pub async fn submit(&mut self, gateway: &Gateway, page: &str, target: &str, fields: &[(&str, &str)]) -> Answer {
        let secret = secret(&self.get(gateway, page).await);
        let fields = [&[("csrfmiddlewaretoken", secret.as_str())], fields].concat();
        self.post(gateway, target, &fields).await
    }

    /// Sends a form without changes.
    pub async fn post(&mut self, gateway: &Gateway, target: &str, fields: &[(&str, &str)]) -> Answer {
        let answer = self.with_cookies(form(target, fields).field("Origin", ORIGIN)).to(gateway).await;
        self.take(&answer);
        answer
    }

    pub fn with_cookies(&self, ask: Ask) -> Ask {
        if self.jar.is_empty() { ask } else { ask.field("Cookie", self.cookies()) }
    }

    fn cookies(&self) -> String {
        self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    /// Stores the cookies of a response as browsers do.
    fn take(&mut self, answer: &Answer) {
        for line in answer.fields.all("set-cookie") {
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            match line.contains("Max-Age=0;") {
                true => drop(self.jar.remove(name)),
                false => drop(self.jar.insert(name.to_owned(), value.to_owned())),
            }
        }
    }

    pub fn session(&self) -> &str {
        &self.jar[SESSION]
    }
}

/// A form without headers about its origin.
pub fn form(target: &str, fields: &[(&str, &str)]) -> Ask {
    let pairs: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    Ask::post(target, pairs.join("&")).field("Content-Type", "application/x-www-form-urlencoded")
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// The CSRF token in the first form of a page.
pub fn secret(page: &Answer) -> String {
    let rest = page.text().split("name=\"csrfmiddlewaretoken\" value=\"").nth(1).unwrap_or_else(|| panic!("{page:?}"));
    rest.split('"').next().unwrap().to_owned()
}

/// The key that an account page shows.
pub fn shown_key(page: &Answer) -> String {
    assert_eq!(page.status, 200, "{page:?}");
    let rest = page.text().split("<p><code>").nth(1).unwrap_or_else(|| panic!("{}", page.text()));
    rest.split('<').next().unwrap().to_owned()
}
