//! The header with the prefix that a route strips.

use tokengate::config::settings::{Auth, Route};

use crate::support::client::BOTH;
use crate::support::gateway::route;
use crate::support::{Ask, Origin, Site};

#[tokio::test]
async fn an_upstream_gets_the_stripped_prefix_and_never_another() {
    let origin = Origin::answering("hello").await;
    let cut = |name, prefix| Route { strip_prefix: true, ..route(name, prefix, Auth::None) };
    let site = Site::before(&origin).with(|settings| {
        settings.routes.push(cut("cut", "/cut"));
        settings.routes.push(cut("deep", "/cut/v1/"));
        settings.routes.push(cut("spelt", "/a b/ó/"));
        settings.routes.push(cut("all", "/"));
    });
    let gateway = site.start().await;
    for http in BOTH {
        for (target, arrives, prefix) in [
            ("/cut", "/", Some("/cut")),
            ("/cut/x?q", "/x?q", Some("/cut")),
            ("/%63ut/x", "/x", Some("/cut")),
            ("/cut/v1/x", "/x", Some("/cut/v1")),
            ("/a%20b/%c3%B3/x", "/x", Some("/a%20b/%C3%B3")),
            ("/x", "/x", None),
            ("/public/x", "/public/x", None),
        ] {
            for forged in ["X-Forwarded-Prefix", "X_Forwarded_Prefix", "xforwardedprefix"] {
                let ask = Ask::get(target).field(forged, "/admin");
                assert_eq!(ask.over(http, &gateway).await.status, 200, "{http:?} {target}");
                let seen = origin.last();
                assert_eq!(seen.target, arrives);
                let told = seen.fields.0.iter().filter(|(name, _)| name.to_ascii_lowercase().contains("prefix"));
                let told: Vec<_> = told.map(|(_, value)| value.as_str()).collect();
                assert_eq!(told, prefix.into_iter().collect::<Vec<_>>(), "{http:?} {target}");
            }
        }
    }
}
