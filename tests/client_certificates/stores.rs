//! Client certificates with each kind of store, and while the store is away.

use std::time::Duration;

use tokengate::config::settings::DjangoMode;

use super::{Asks, ClientCa, asking, email, site, status};
use crate::django::project::Project;
use crate::django::sessions::users;
use crate::support::client::{BOTH, Http};
use crate::support::postgres::Postgres;
use crate::support::watched::Watched;
use crate::support::{Origin, PATIENCE, eventually};

#[tokio::test]
async fn an_outage_of_the_store_refuses_no_known_user_and_says_503_for_others() {
    let (origin, ca) = (Origin::answering("hello").await, ClientCa::new());
    let (gateway, store) = Watched::start(site(&origin, &ca, &Asks::optional())).await;
    for user in ["known@x.test", "other@x.test"] {
        gateway.user(user).await;
    }
    store.changes_are_applied().await;
    let known = ca.issue("known", &[email("known@x.test")]);
    let others = [ca.issue("other", &[email("other@x.test")]), ca.issue("nobody", &[email("nobody@x.test")])];
    assert_eq!(status(&gateway, Some(&known), Http::One, "/cert/x").await, Some(200));
    store.set_away(true);
    for http in BOTH {
        for path in ["/cert/x", "/both/x", "/free/x"] {
            assert_eq!(status(&gateway, Some(&known), http, path).await, Some(200), "{path}");
            let seen = origin.count();
            for other in &others {
                assert_eq!(status(&gateway, Some(other), http, path).await, Some(503), "{path}");
            }
            assert_eq!(origin.count(), seen);
        }
        // These need no store.
        assert_eq!(status(&gateway, Some(&others[0]), http, "/open/x").await, Some(200));
        assert_eq!(status(&gateway, None, http, "/cert/x").await, Some(403));
        assert_eq!(status(&gateway, None, http, "/both/x").await, Some(401));
    }
    // A cached user passes as long as a cached token.
    gateway.hand.advance(Duration::from_secs(61));
    assert_eq!(status(&gateway, Some(&known), Http::One, "/cert/x").await, Some(200));
    gateway.hand.advance(Duration::from_secs(240));
    assert_eq!(status(&gateway, Some(&known), Http::One, "/cert/x").await, Some(503));
    store.set_away(false);
    for (client, path, expected) in
        [(&known, "/cert/x", 200), (&others[0], "/cert/x", 200), (&others[1], "/both/x", 401)]
    {
        eventually(PATIENCE, "the store is back", || async {
            status(&gateway, Some(client), Http::One, path).await == Some(expected)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_are_found_in_postgresql_and_an_outage_of_the_server_is_no_refusal() {
    let mut server = Postgres::start().await;
    let url = server.database().await;
    let (origin, ca) = (Origin::answering("hello").await, ClientCa::new());
    let site = site(&origin, &ca, &Asks::optional()).with(|settings| settings.store.url = url);
    let gateway = site.start().await;
    let mut clients = Vec::new();
    for name in ["alice", "bob", "carol"] {
        let user = format!("{name}@x.test");
        clients.push((gateway.user(&user).await, ca.issue(name, &[email(&user)])));
    }
    let [(_, alice), (bob_id, bob), (_, carol)] = &clients[..] else { panic!("three clients") };
    for client in [alice, bob] {
        assert_eq!(status(&gateway, Some(client), Http::Two, "/cert/x").await, Some(200));
    }
    gateway.store.accounts.deactivate(*bob_id).await.unwrap();
    eventually(PATIENCE, "the change is applied", || async {
        gateway.hand.advance(Duration::from_millis(20));
        status(&gateway, Some(bob), Http::One, "/cert/x").await == Some(403)
    })
    .await;
    server.kill().await;
    for http in BOTH {
        assert_eq!(status(&gateway, Some(alice), http, "/cert/x").await, Some(200));
        assert_eq!(status(&gateway, Some(carol), http, "/cert/x").await, Some(503));
    }
    server.restart().await;
    eventually(PATIENCE, "the server is back", || async {
        status(&gateway, Some(carol), Http::One, "/cert/x").await == Some(200)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_are_found_in_a_django_database() {
    for project in [Project::on_sqlite().await, Project::on_postgres().await] {
        users(&project, &["alice@x.test", "off@x.test"]).await;
        project.python("User.objects.filter(username='off@x.test').update(is_active=False)").await;
        let (origin, ca) = (Origin::answering("hello").await, ClientCa::new());
        let site = asking(project.site(&origin, DjangoMode::ReadOnly), &ca, &Asks::optional());
        let gateway = site.start().await;
        let alice = ca.issue("alice", &[email("alice@x.test")]);
        for http in BOTH {
            assert_eq!(status(&gateway, Some(&alice), http, "/cert/x").await, Some(200));
            let fields = origin.last().fields;
            let sent = ["x-user-name", "x-auth-method", "x-token-id"].map(|name| fields.get(name));
            assert_eq!(sent, [Some("alice@x.test"), Some("certificate"), None]);
            for name in ["off", "nobody"] {
                let client = ca.issue(name, &[email(&format!("{name}@x.test"))]);
                assert_eq!(status(&gateway, Some(&client), http, "/cert/x").await, Some(403), "{name}");
            }
        }
        project.python("User.objects.filter(username='alice@x.test').update(is_active=False)").await;
        eventually(PATIENCE, "the cached user is looked up again", || async {
            gateway.hand.advance(Duration::from_secs(10));
            status(&gateway, Some(&alice), Http::One, "/cert/x").await == Some(403)
        })
        .await;
    }
}
