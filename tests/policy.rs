//! What routes and listeners decide: who may use a route, where a request comes from, what browsers may do.

mod addresses;
mod browsers;
mod haproxy;
mod proxies;
mod tokens;

use http::Method;
use tokengate::config::settings::{Admission, Auth, MethodScopes, Route};
use tokengate::token::{Networks, ScopeSet};

use crate::support::client::BOTH;
use crate::support::gateway::route;
use crate::support::{Ask, Origin, Site};

const DENIED: &str = "You do not have permission to perform this action.";

#[tokio::test]
async fn a_route_admits_callers_by_method_group_and_address() {
    let scopes = |text| ScopeSet::parse(text).unwrap();
    let admission = |name: &str, auth, admission| Route { admission, ..route(name, &format!("/{name}/"), auth) };
    let origin = Origin::answering("ok").await;
    let site = Site::before(&origin).with(|settings| {
        let here = || Networks::parse("127.0.0.0/8").unwrap();
        let method_scopes = MethodScopes::new(vec![(Method::GET, scopes("read"))], scopes("write"));
        let none = Admission::default;
        settings.routes.extend([
            admission("methods", Auth::Required, Admission { method_scopes, ..none() }),
            admission("groups", Auth::Required, Admission { groups: vec!["staff".to_owned()], ..none() }),
            admission("near", Auth::Required, Admission { allow_ips: here(), ..none() }),
            admission(
                "far",
                Auth::Required,
                Admission { allow_ips: Networks::parse("192.0.2.0/24").unwrap(), ..none() },
            ),
            admission("denied", Auth::None, Admission { deny_ips: here(), ..none() }),
        ]);
    });
    let gateway = site.start().await;
    let clock = gateway.clock();
    let reader = gateway.issue_named("alice", "read", None, &clock).await;
    let writer = gateway.issue_named("alice", "read write", None, &clock).await;
    let post = |target: &str| Ask::post(target, "x");
    for http in BOTH {
        for (ask, status, outcome, detail) in [
            (Ask::get("/methods/x").token(&reader), 200, "", ""),
            (Ask::new("HEAD", "/methods/x").token(&reader), 200, "", ""),
            (post("/methods/x").token(&reader), 403, "scope", "This token lacks the scope write."),
            (post("/methods/x").token(&writer), 200, "", ""),
            (Ask::get("/groups/x").token(&reader), 403, "group", DENIED),
            (Ask::get("/near/x").token(&reader), 200, "", ""),
            (Ask::get("/far/x").token(&reader), 403, "address", DENIED),
            (Ask::get("/far/x"), 401, "no_credentials", "Authentication credentials were not provided."),
            (Ask::get("/denied/x"), 403, "address", DENIED),
        ] {
            let seen = origin.count();
            let answer = ask.over(http, &gateway).await;
            assert_eq!(answer.status, status, "{http:?} {ask:?}");
            assert_eq!(origin.count() - seen, usize::from(status == 200), "{ask:?}");
            if status != 200 {
                assert_eq!(answer.detail(), detail);
                let log = || async { gateway.log.text().contains(&format!("outcome={outcome}")) };
                crate::support::eventually(crate::support::PATIENCE, outcome, log).await;
            }
        }
    }
}
