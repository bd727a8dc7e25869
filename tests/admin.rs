//! The admin application over real HTTPS, as a browser uses it.
//!
//! Attacks against it and against logins, and the tests that cover them:
//!
//! | attack | tests |
//! |---|---|
//! | a form or script of another site, `Origin: null` | `guards::a_change_must_come_from_…`, `guards::another_site_…`, `api::access::pages_of_other_sites_…` |
//! | DNS rebinding: a foreign name that resolves to us | `guards::only_configured_hosts_…`, `api::access::pages_of_other_sites_…` |
//! | a CSRF token of another sign-in | `guards::a_form_needs_the_secret_…` |
//! | a copied cookie | `sign_in::a_copy_of_the_cookie_…`, `…::a_sign_in_ends_…`, `…::a_new_sign_in_ends_…` |
//! | other spellings of a path | `guards::paths_have_one_spelling`, `api::access::pages_of_other_sites_…` |
//! | an action without permission | `users::staff_sees_…`, `…::users_cannot_lock_…`, `…::privileged_and_irreversible_…`, `tokens`, `api::access::each_endpoint_…` |
//! | its paths, health, metrics, profiles on a public listener | `guards::no_path_of_it_…`, `api::access::there_is_no_api_…` |
//! | learning whether a user exists | `sign_in::only_staff_can_sign_in_…`, `login::answers::all_failed_logins_…`; timing: `benches/site/login_timing.rs` |
//! | a hundred concurrent attempts under many spellings | `login::throttles::a_hundred_concurrent_…`, `…::beyond_a_short_queue_…`, `sign_in::attempts_are_bounded_…` |
//! | slow clients, too many connections, large requests | `server` |
//! | superusers who remove each other | `last_superuser`, `stores::accounts::of_two_superusers_…` |

mod filters;
mod forms;
mod operations;
mod server;
mod guards;
mod last_superuser;
mod lists;
pub mod outage;
mod pages;
mod record;
mod sign_in;
mod tokens;
mod traffic;
mod trail;
mod users;

use tokengate::config::settings::{Admin, Auth, EndpointAddress, Route};
use tokengate::store::{NewUser, Password};
use tokengate::token::SubjectId;

use crate::support::client::{Tls, connect};
use crate::support::gateway::route;
use crate::support::{Answer, Ask, Gateway, Origin, PATIENCE, Postgres, Site, Wire, eventually, nowhere, soon};

/// The password of all users in these tests.
pub const PASSWORD: &str = "correct horse";

/// A gateway with an admin application, a superuser `root`, a staff user `helper`, and an ordinary user `alice`.
pub async fn gateway(origin: &Origin) -> Gateway {
    gateway_with(origin, |_| {}).await
}

async fn gateway_with(origin: &Origin, change: impl FnOnce(&mut Admin)) -> Gateway {
    started(site(origin, change)).await
}

/// A gateway whose route of this name leads to an endpoint that does not listen.
pub fn with_a_dead_one(origin: &Origin, name: &str) -> Site {
    let gone = nowhere();
    site(origin, |_| {}).with(|settings| {
        let mut dead = settings.upstreams[0].clone();
        dead.name = name.to_owned();
        dead.endpoints[0].authority = gone.to_string();
        dead.endpoints[0].address = EndpointAddress::Tcp(gone.ip().to_string(), gone.port());
        settings.upstreams.push(dead);
        settings.routes.push(Route { upstream: 1, ..route(name, &format!("/{name}/"), Auth::None) });
    })
}

/// The gateway of this site, with the users of these tests.
pub async fn started(site: Site) -> Gateway {
    let gateway = site.start().await;
    add_users(&gateway).await;
    gateway
}

pub fn site(origin: &Origin, change: impl FnOnce(&mut Admin)) -> Site {
    let mut admin = Admin { address: "127.0.0.1:0".parse().unwrap(), ..Admin::with(0) };
    change(&mut admin);
    Site::before(origin).with(|settings| {
        settings.admin = Some(admin);
        settings.store.hashing.failed_after = std::time::Duration::from_millis(1);
    })
}

pub async fn add_users(gateway: &Gateway) {
    let password = || Password::parse(PASSWORD).ok();
    for new in [
        NewUser { staff: true, superuser: true, password: password(), ..NewUser::named("root") },
        NewUser { staff: true, password: password(), ..NewUser::named("helper") },
        NewUser { email: "alice@example.test".to_owned(), password: password(), ..NewUser::named("alice") },
    ] {
        gateway.store.accounts.create(new).await.unwrap();
    }
}

/// A browser: it keeps the cookie and sends the origin.
struct Browser<'g> {
    gateway: &'g Gateway,
    cookie: String,
}

impl<'g> Browser<'g> {
    /// A browser that is not signed in.
    fn new(gateway: &'g Gateway) -> Browser<'g> {
        Browser { gateway, cookie: String::new() }
    }

    /// A browser that is signed in.
    async fn of(gateway: &'g Gateway, user: &str) -> Browser<'g> {
        let mut browser = Browser::new(gateway);
        let answer = browser.sign_in(user, PASSWORD).await;
        assert_eq!((answer.status, answer.fields.get("location")), (303, Some("/")), "{}", answer.text());
        browser
    }

    async fn sign_in(&mut self, user: &str, password: &str) -> Answer {
        // Loads the form without a sign-in: a signed-in browser would be redirected.
        let (secret, kept) = sign_in_form(&Browser::new(self.gateway).get("/sign-in").await);
        let body = encoded(&[("username", user), ("password", password), ("next", "/"), ("csrf", &secret)]);
        let cookies = if self.cookie.is_empty() { kept } else { format!("{}; {kept}", self.cookie) };
        let answer = Browser { gateway: self.gateway, cookie: cookies }.send(self.form("/sign-in", body)).await;
        if answer.status == 303 {
            self.cookie = cookie(&answer);
        }
        answer
    }

    /// A form as a browser sends it from a page of the application.
    fn form(&self, path: &str, body: String) -> Ask {
        let own = format!("https://localhost:{}", self.address().port());
        Ask::post(path, body).field("Content-Type", "application/x-www-form-urlencoded").field("Origin", own)
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Ask::get(path)).await
    }

    /// The text of a page, which must exist.
    async fn page(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.text().to_owned()
    }

    /// Loads the page at `from`, fills in a form with its CSRF token, and sends it.
    async fn submit(&self, from: &str, to: &str, fields: &[(&str, &str)]) -> Answer {
        let csrf = csrf(&self.page(from).await);
        let fields: Vec<_> = fields.iter().copied().chain([("csrf", csrf.as_str())]).collect();
        self.send(self.form(to, encoded(&fields))).await
    }

    /// As [`Browser::submit`], then loads the page that the response redirects to.
    async fn submit_and_follow(&self, from: &str, to: &str, fields: &[(&str, &str)]) -> String {
        let answer = self.submit(from, to, fields).await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        self.page(answer.fields.get("location").unwrap()).await
    }

    /// Sends a request with the cookie, to the host `localhost`.
    async fn send(&self, ask: Ask) -> Answer {
        let host = format!("localhost:{}", self.address().port());
        self.send_to(&host, ask).await
    }

    async fn send_to(&self, host: &str, ask: Ask) -> Answer {
        let ask = if self.cookie.is_empty() { ask } else { ask.field("Cookie", &self.cookie) };
        let bytes =
            String::from_utf8(ask.bytes()).unwrap().replacen("Host: localhost\r\n", &format!("Host: {host}\r\n"), 1);
        raw(self.gateway, &bytes).await
    }

    fn address(&self) -> std::net::SocketAddr {
        self.gateway.admin_address()
    }
}

/// Sends these bytes on a separate connection.
async fn raw(gateway: &Gateway, bytes: &str) -> Answer {
    let config = Tls::default().config(gateway);
    let stream = soon("handshake", connect(gateway.admin_address(), &config, "localhost")).await.unwrap();
    Wire::over(stream).ask(bytes).await
}

/// The CSRF token of the sign-in form, and its cookie.
fn sign_in_form(answer: &Answer) -> (String, String) {
    (csrf(answer.text()), cookie(answer))
}

/// The cookie that a response sets.
fn cookie(answer: &Answer) -> String {
    answer.fields.get("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

/// The CSRF token in the forms of a page.
fn csrf(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"csrf\" value=\"").expect("a form with a secret");
    rest.split('"').next().unwrap().to_owned()
}

fn encoded(fields: &[(&str, &str)]) -> String {
    let pair = |(name, value): &(&str, &str)| {
        format!("{name}={}", value.bytes().map(|b| format!("%{b:02X}")).collect::<String>())
    };
    fields.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// The key that a page shows.
fn shown_key(page: &str) -> Option<String> {
    let (_, rest) = page.split_once("<code id=\"key\">")?;
    rest.split('<').next().map(str::to_owned)
}

async fn id_of(gateway: &Gateway, user: &str) -> SubjectId {
    gateway.store.accounts.find(user).await.unwrap().unwrap().account.id
}
