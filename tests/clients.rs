//! Common HTTP clients, unchanged: they trust the gateway's CA, and no check is switched off.

mod admin;
pub mod chromium;
mod program;
mod tokens;
mod uploads;
mod walk;

use std::time::Duration;

use tempfile::TempDir;
use tokengate::config::settings::{Auth, Browser, ExposedToken, Hashing, Login, Plaintext};
use tokengate::demo::products::{self, RunningProducts};
use tokengate::store::{NewUser, Password};
use tokengate::token::AuthMethod;

use crate::support::gateway::{plain, route};
use crate::support::{Gateway, Site};

const USER: &str = "alice";
const PASSWORD: &str = "correct & horse=9 é";

/// A gateway in front of the demo's product service, and a user with a password.
struct Shop {
    gateway: Gateway,
    _products: RunningProducts,
    _folder: TempDir,
}

impl Shop {
    async fn open() -> Shop {
        let folder = tempfile::tempdir().unwrap();
        let products = products::start(folder.path(), "127.0.0.1:0".parse().unwrap()).await.unwrap();
        let site = Site::before_all(&[products.address()]).with(|settings| {
            let browser = Some(Browser::default());
            settings.login = Some(Login { per_user: None, per_address: None, browser, ..Login::default() });
            settings.store.hashing = Hashing { at_once: 4, failed_after: Duration::from_millis(1) };
            settings.routes = vec![route("products", "/product_api/", Auth::Required)];
            settings.routes[0].credentials = vec![AuthMethod::Token, AuthMethod::Session];
            settings.listeners[1].role = plain(Plaintext::Redirect, ExposedToken::Mark);
        });
        let gateway = site.start().await;
        let password = Some(Password::parse(PASSWORD).unwrap());
        gateway.store.accounts.create(NewUser { password, ..NewUser::named(USER) }).await.unwrap();
        Shop { gateway, _products: products, _folder: folder }
    }

    /// A URL with the host name of the certificate.
    fn https(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.gateway.address().port())
    }

    fn http(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.gateway.plain_address().port())
    }
}
