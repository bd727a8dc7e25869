//! Which `Authorization` header reaches an upstream.

use tokengate::config::settings::ForwardAuthorization;

use crate::support::client::BOTH;
use crate::support::{Ask, Gateway, Origin, Site};

/// Credentials of the application, which the gateway does not read.
const FOREIGN: [&str; 6] = [
    "Basic dG9rZW46c2VjcmV0",
    "Bearer eyJhbGciOiJIUzI1NiJ9.e30.abc",
    "Digest username=\"token\", realm=\"x\", nonce=\"1\", uri=\"/\", response=\"2\"",
    "AWS4-HMAC-SHA256 Credential=AKIA/20260101/eu/s3/aws4_request, SignedHeaders=host, Signature=1",
    "Negotiate YII=",
    "Tokens 9944b09199c62bcf9418ad846dd0e4bb",
];

#[tokio::test]
async fn credentials_of_the_application_pass_where_no_token_is_required() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    for http in BOTH {
        for path in ["/public/x", "/optional/x"] {
            for line in FOREIGN {
                let answer = Ask::get(path).field("Authorization", line).over(http, &gateway).await;
                assert_eq!(answer.status, 200, "{http:?} {path} {line}");
                assert_eq!(origin.last().fields.all("authorization"), [line], "{http:?} {path}");
                assert_eq!(origin.last().fields.get("x-auth-method"), Some("anonymous"));
            }
        }
        for line in FOREIGN {
            let answer = Ask::get("/api/x").field("Authorization", line).over(http, &gateway).await;
            assert_eq!(answer.status, 401, "{http:?} {line}");
        }
    }
}

#[tokio::test]
async fn no_credential_of_the_gateways_own_reaches_an_upstream_by_default() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let key = gateway.issue("alice").await;
    // A key that this process has never looked up.
    let unseen = gateway.issue("bob").await;
    let lines = [
        format!("Bearer {unseen}"),
        format!("Apikey key=\"{unseen}\""),
        format!("Token {key}"),
        format!("token {key}"),
        format!("TOKEN\t{key}"),
        format!("Token  {key} "),
        format!("Token token={key}"),
        format!("Token token=\"{key}\", nonce=\"x\""),
        format!("Token,{key}"),
        format!("Token={key}"),
        format!("Token:{key}"),
        format!("Basic dG9r, Token {key}"),
        format!("\"Token\" {key}"),
        "Token 0000000000000000000000000000000000000000".to_owned(),
        "Token".to_owned(),
    ];
    for http in BOTH {
        for line in &lines {
            let answer = Ask::get("/public/x").field("Authorization", line).over(http, &gateway).await;
            assert_eq!(answer.status, 200, "{http:?} {line}");
            assert!(!origin.last().fields.has("authorization"), "{http:?} {line}");
        }
        // A valid key with a wrong scheme, after the key was used.
        assert_eq!(Ask::get("/api/x").token(&key).over(http, &gateway).await.status, 200);
        for line in [format!("Bearer {key}"), format!("Apikey key={key}"), key.clone()] {
            for path in ["/public/x", "/optional/x"] {
                assert_eq!(Ask::get(path).field("Authorization", &line).over(http, &gateway).await.status, 200);
                assert!(!origin.last().fields.has("authorization"), "{http:?} {path} {line}");
            }
        }
        let ask = Ask::get("/optional/x").token(&key);
        assert_eq!(ask.over(http, &gateway).await.status, 200);
        assert!(!origin.last().fields.has("authorization"));
        let ask = Ask::get("/optional/x").field("Proxy-Authorization", "Basic eDp5");
        assert_eq!(ask.over(http, &gateway).await.status, 200);
        assert!(!origin.last().fields.has("proxy-authorization"));
    }
}

#[tokio::test]
async fn a_route_configures_which_credentials_its_upstream_gets() {
    use ForwardAuthorization::{Always, Foreign, Never};
    let origin = Origin::answering("hello").await;
    for (forwarding, gets_foreign, gets_own) in [(Never, false, false), (Foreign, true, false), (Always, true, true)] {
        let site = Site::before(&origin).with(|settings| {
            settings.routes.iter_mut().for_each(|route| route.forward_authorization = forwarding);
            settings.tokens.schemes = vec!["Token".to_owned(), "Bearer".to_owned()];
        });
        let gateway = site.start().await;
        let key = gateway.issue("alice").await;
        for http in BOTH {
            for (path, line, arrives) in [
                ("/public/x", "Basic eDp5".to_owned(), gets_foreign),
                ("/optional/x", "Basic eDp5".to_owned(), gets_foreign),
                ("/public/x", format!("Token {key}"), gets_own),
                ("/public/x", format!("bearer {key}"), gets_own),
                ("/optional/x", format!("Bearer {key}"), gets_own),
                ("/api/x", format!("Token {key}"), gets_own),
            ] {
                let answer = Ask::get(path).field("Authorization", &line).over(http, &gateway).await;
                assert_eq!(answer.status, 200, "{http:?} {path} {line}");
                let expected: Vec<&str> = arrives.then_some(line.as_str()).into_iter().collect();
                assert_eq!(origin.last().fields.all("authorization"), expected, "{forwarding:?} {http:?} {path}");
            }
        }
    }
}
