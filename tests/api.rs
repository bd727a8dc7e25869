//! The JSON API over real HTTPS, as programs use it.

/// Runs tests with a gateway over each kind of store.
macro_rules! on_each_store {
    ($($test:ident)+) => {
        mod on_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    super::$test(crate::api::Api::start().await).await;
                }
            )+
        }
        mod on_postgres {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    super::$test(crate::api::Api::over_postgres().await).await;
                }
            )+
        }
    };
}

mod access;
mod document;
mod export;
mod gateway;
mod once;
mod patches;
mod problems;
mod tokens;
mod users;

use serde_json::Value;
use tokengate::config::Settings;
use tokengate::config::settings::Admin;
use tokengate::store::{NamedToken, NewUser};
use tokengate::token::{ScopeSet, SubjectId};

use crate::support::client::{Tls, connect};
use crate::support::postgres::Postgres;
use crate::support::{Answer, Ask, Gateway, Origin, Site, Wire, soon};

const SCOPE: &str = "tokengate:admin";

/// A gateway with an API, and the keys of its callers.
struct Api {
    gateway: Gateway,
    /// The key of a superuser.
    root: String,
    /// The key of a staff user.
    helper: String,
    _origin: Origin,
}

impl Api {
    async fn start() -> Api {
        Api::with(|_| {}).await
    }

    async fn over_postgres() -> Api {
        let database = Postgres::shared().await.database().await;
        Api::with(|settings| settings.store.url = database).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Api {
        let origin = Origin::answering("fine").await;
        let site = Site::before(&origin).with(|settings| {
            settings.admin = Some(Admin { address: "127.0.0.1:0".parse().unwrap(), ..Admin::with(0) });
            change(settings);
        });
        let gateway = site.start().await;
        let mut keys = Vec::new();
        for new in [
            // An id far from those of the users that the tests create and delete.
            NewUser { id: Some(SubjectId(70_001)), superuser: true, ..NewUser::named("root") },
            NewUser { staff: true, ..NewUser::named("helper") },
        ] {
            let id = gateway.store.accounts.create(new).await.unwrap().0.account.id;
            keys.push(issue(&gateway, id, SCOPE).await);
        }
        let helper = keys.pop().unwrap();
        Api { gateway, root: keys.pop().unwrap(), helper, _origin: origin }
    }

    /// Sends a request as a superuser.
    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.ask_as(Some(&self.root), method, path, body).await
    }

    async fn ask_as(&self, key: Option<&str>, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.send(ask(key, method, path, body)).await
    }

    /// Sends a request as a superuser; it must succeed.
    async fn done(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let answer = self.ask(method, path, body).await;
        assert!(answer.status / 100 == 2, "{method} {path}: {}", answer.text());
        if answer.body.is_empty() { Value::Null } else { json(&answer) }
    }

    async fn send(&self, ask: Ask) -> Answer {
        self.connect().await.ask(ask.bytes()).await
    }

    async fn connect(&self) -> Wire {
        let config = Tls::default().config(&self.gateway);
        Wire::over(soon("handshake", connect(self.gateway.admin_address(), &config, "localhost")).await.unwrap())
    }

    /// Creates an ordinary user.
    async fn user(&self, name: &str) -> i64 {
        self.gateway.user(name).await.0
    }

    /// Issues a named token to this user.
    async fn token(&self, user: i64, scopes: &str) -> String {
        issue(&self.gateway, SubjectId(user), scopes).await
    }

    /// How many tokens this user has.
    async fn count(&self, user: i64) -> usize {
        let list = self.done("GET", &format!("/users/{user}/tokens?limit=200"), None).await;
        list["tokens"].as_array().unwrap().len()
    }
}

async fn issue(gateway: &Gateway, owner: SubjectId, scopes: &str) -> String {
    let order = NamedToken {
        name: "test".to_owned(),
        expires: None,
        scopes: ScopeSet::parse(scopes).unwrap(),
        ..NamedToken::default()
    };
    gateway.store.ledger.issue_named(owner, &order).await.unwrap().key.expose().to_owned()
}

/// A request; `path` is what follows `/api/v1`.
fn ask(key: Option<&str>, method: &str, path: &str, body: Option<Value>) -> Ask {
    let mut ask = Ask::new(method, &format!("/api/v1{path}"));
    if let Some(key) = key {
        ask = ask.token(key);
    }
    if let Some(body) = body {
        ask = ask.field("Content-Type", "application/json");
        ask.body = Some(body.to_string().into_bytes());
    }
    ask
}

/// The body of a response, which must be JSON that is not cached.
fn json(answer: &Answer) -> Value {
    assert_eq!(answer.fields.get("cache-control"), Some("no-store"), "{answer:?}");
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"))
}

/// Status and code of a response, which must be a problem in the common format.
fn problem(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.fields.get("content-type"), Some("application/problem+json"), "{answer:?}");
    let body = json(answer);
    let mut names: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    names.retain(|name| *name != "errors");
    names.sort_unstable();
    assert_eq!(names, ["code", "detail", "request_id", "status", "title", "type"]);
    assert_eq!(body["status"], answer.status);
    assert_eq!(body["request_id"].as_str(), answer.fields.get("x-request-id"));
    assert!(!body["detail"].as_str().unwrap().is_empty());
    (answer.status, body["code"].as_str().unwrap().to_owned())
}
