//! A user who is signed in to the admin application, on one connection.

use tokengate::config::settings::Admin;
use tokengate::store::{NewUser, Password};
use tokengate::token::SubjectId;

use crate::support::client::{Tls, connect};
use crate::support::{Answer, Ask, Gateway, Wire};

const PASSWORD: &str = "correct horse";

pub struct Operator {
    wire: Wire,
    host: String,
    cookie: String,
}

/// An admin application on any free port.
pub fn admin() -> Admin {
    Admin { address: "127.0.0.1:0".parse().unwrap(), ..Admin::with(0) }
}

impl Operator {
    /// A new superuser, signed in; `number` must be unique.
    pub async fn new(gateway: &Gateway, number: i64) -> Operator {
        let (name, password) = (format!("operator{number}"), Password::parse(PASSWORD).ok());
        // An id after those of the users that were inserted directly, without the sequence.
        let id = Some(SubjectId(1_000_000_000 + number));
        let user = NewUser { id, superuser: true, password, ..NewUser::named(&name) };
        gateway.store.accounts.create(user).await.unwrap();
        let address = gateway.admin_address();
        let stream = connect(address, &Tls::default().config(gateway), "localhost").await.unwrap();
        let host = format!("localhost:{}", address.port());
        let mut operator = Operator { wire: Wire::over(stream), host, cookie: String::new() };
        let form = operator.send(Ask::get("/sign-in")).await;
        let (_, secret) = form.text().split_once("name=\"csrf\" value=\"").unwrap();
        let (secret, password) = (secret.split('"').next().unwrap(), PASSWORD.replace(' ', "+"));
        let fields = format!("username={name}&password={password}&next=/&csrf={secret}");
        let filled = Ask::post("/sign-in", fields)
            .field("Content-Type", "application/x-www-form-urlencoded")
            .field("Origin", format!("https://{}", operator.host))
            .field("Cookie", cookie(&form));
        let signed_in = operator.send(filled).await;
        assert_eq!(signed_in.status, 303, "{}", signed_in.text());
        operator.cookie = cookie(&signed_in);
        operator
    }

    /// Loads a page, which must exist.
    pub async fn page(&mut self, path: &str) -> Answer {
        let ask = Ask::get(path).field("Cookie", &self.cookie);
        let answer = self.send(ask).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer
    }

    async fn send(&mut self, ask: Ask) -> Answer {
        let text = String::from_utf8(ask.bytes()).unwrap();
        self.wire.ask(text.replacen("Host: localhost\r\n", &format!("Host: {}\r\n", self.host), 1)).await
    }
}

/// The cookie that a response sets.
fn cookie(answer: &Answer) -> String {
    answer.fields.get("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}
