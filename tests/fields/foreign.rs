//! Identity headers of other systems: none reaches an upstream from a client.

use http::HeaderName;

use crate::support::client::BOTH;
use crate::support::origin::{Request, chunked, ok};
use crate::support::{Ask, Gateway, Origin, Site, Step};

/// Names that well-known products trust, one or more of each family.
const FOREIGN: &[&str] = &[
    // Gateways and identity-aware proxies.
    "X-Goog-Authenticated-User-Email",
    "X-Goog-Iap-Jwt-Assertion",
    "Cf-Access-Jwt-Assertion",
    "Cf-Access-Authenticated-User-Email",
    "X-Pomerium-Jwt-Assertion",
    "X-Pomerium-Claim-Email",
    "X-Authentik-Username",
    "X-Authentik-Meta-Outpost",
    "X-Amzn-Oidc-Data",
    "X-Amzn-Oidc-Identity",
    "X-Amzn-Mtls-Clientcert-Subject",
    "X-Amzn-Request-Context",
    "X-MS-Client-Principal",
    "X-MS-Client-Principal-Name",
    "X-MS-Token-AAD-Id-Token",
    "X-Remote-User",
    "X-Remote-Group",
    "X-Remote-Extra-Scopes",
    "Remote-User",
    "Remote-Roles",
    "X-WebAuth-User",
    "X-WEBAUTH-EMAIL",
    "X-Auth-User",
    "X-Auth-Username",
    "X-Auth-Request-Access-Token",
    "X-Authenticated-Userid",
    "X-Userinfo",
    "X-Consumer-Custom-ID",
    "X-Credential-Identifier",
    "X-Credential-Username",
    "X-Anonymous-Consumer",
    "X-Id-Token",
    "X-Jwt-Assertion",
    "X-Jwt-Claim-Sub",
    "X-Oidc-Subject",
    "OIDC-Claim-Sub",
    "X-Token-Claim-Sub",
    "X-Token-Subject",
    "X-Token-User-Email",
    "X-Endpoint-Api-Userinfo",
    "X-Apigateway-Api-Userinfo",
    "Tailscale-User-Login",
    "X-Vouch-User",
    "X-Proxy-User",
    "X-Rstudio-Username",
    "Kubeflow-Userid",
    "Impersonate-User",
    "Impersonate-Extra-Scopes",
    "Shib-Identity-Provider",
    "Teleport-Jwt-Assertion",
    "Ngrok-Auth-User-Email",
    "Dapr-Caller-App-Id",
    "X-Sso-User",
    "X-Forwarded-User",
    "X-Forwarded-Groups",
    // Client certificates.
    "X-Ssl-Client-S-Dn",
    "X-Ssl-Client-Verify",
    "SSL-Client-Cert",
    "Client-Cert",
    "Client-Cert-Chain",
    "X-Client-Cert",
    "X-Client-Dn",
    "X-Arr-ClientCert",
    "Wl-Proxy-Client-Cert",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-Tls-Client-Cert-Info",
    // Client addresses.
    "True-Client-IP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "X-Originating-IP",
    "Client-IP",
    "Cf-Connecting-IP",
    "Cf-Connecting-IPv6",
    "Fly-Client-IP",
    "Fastly-Client-IP",
    "X-Azure-ClientIP",
    "X-Azure-SocketIP",
    "X-Envoy-External-Address",
    "Cloudfront-Viewer-Address",
    "Proxy-Client-IP",
    "X-Vercel-Forwarded-For",
    "X-Real-Ipv6",
    // Instructions and other targets.
    "Proxy",
    "X-Envoy-Internal",
    "X-Envoy-Original-Path",
    "X-Original-User",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-Middleware-Subrequest",
    "X-Accel-Mapping",
    "X-Sendfile-Type",
    "X-Http-Method-Override",
    "X-Script-Name",
];

/// Further spellings that some server treats as the same header.
fn spellings(name: &str) -> Vec<String> {
    let bare: String = name.chars().filter(|c| *c != '-').collect();
    [name.to_owned(), name.to_ascii_uppercase(), name.replace('-', "_"), name.replace('-', "."), bare].into()
}

fn has(seen: &Request, name: &str) -> bool {
    seen.fields.0.iter().any(|(sent, _)| sent.eq_ignore_ascii_case(name))
}

#[tokio::test]
async fn headers_of_other_systems_reach_no_upstream_in_any_spelling() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let key = gateway.issue("alice").await;
    let mut arrived = Vec::new();
    for http in BOTH {
        for (path, with_token) in
            [("/api/x", true), ("/optional/x", true), ("/optional/x", false), ("/public/x", false)]
        {
            for names in FOREIGN.chunks(10) {
                let names: Vec<String> = names.iter().flat_map(|name| spellings(name)).collect();
                let mut ask = Ask::get(path).field("Accept", "*/*");
                for name in &names {
                    ask = ask.field(name, "forged");
                }
                if with_token {
                    ask = ask.token(&key);
                }
                assert_eq!(ask.over(http, &gateway).await.status, 200, "{http:?} {path}");
                let seen = origin.last();
                assert!(has(&seen, "accept"));
                arrived.extend(names.into_iter().filter(|name| has(&seen, name)).map(|name| (path, name)));
            }
        }
    }
    assert!(arrived.is_empty(), "{arrived:?}");
}

#[tokio::test]
async fn headers_for_the_application_pass() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let names = [
        "Accept",
        "Content-Language",
        "X-Requested-With",
        "X-CSRFToken",
        "X-Api-Key",
        "X-Auth-Token",
        "X-Auth-Key",
        "X-Access-Token",
        "X-Token",
        "X-Client-Version",
        "X-Trace-Id",
        "X-Amzn-Trace-Id",
        "X-B3-TraceId",
        "Traceparent",
        "Cf-Ray",
        "X-Ms-Version",
        "Sec-Fetch-Mode",
        "If-None-Match",
        "Range",
        "Idempotency-Key",
        "X-Atlassian-Token",
        "Sentry-Trace",
    ];
    for http in BOTH {
        let ask = names.iter().fold(Ask::get("/public/x"), |ask, name| ask.field(name, "1"));
        assert_eq!(ask.over(http, &gateway).await.status, 200);
        let seen = origin.last();
        let lost: Vec<_> = names.into_iter().filter(|name| !has(&seen, name)).collect();
        assert!(lost.is_empty(), "{http:?} {lost:?}");
    }
}

#[tokio::test]
async fn instructions_for_a_server_in_front_do_not_reach_the_client() {
    let instructions = [
        "X-Accel-Redirect",
        "X-Accel-Buffering",
        "x-accel-expires",
        "X_Accel_Redirect",
        "X-Sendfile",
        "X-SendFile2",
        "X-Lighttpd-Send-File",
        "X-LIGHTTPD-send-tempfile",
        "X-Reproxy-Url",
    ];
    let lines: String = instructions.iter().map(|name| format!("{name}: /srv/secret\r\n")).collect();
    let with_lines = |answer: Vec<u8>| {
        let text = String::from_utf8(answer).unwrap();
        text.replacen("\r\n", &format!("\r\n{lines}X-Kept: 1\r\n"), 1).into_bytes()
    };
    for answer in [with_lines(ok("hello")), with_lines(chunked("hello", "X-Accel-Redirect: /srv/secret\r\n"))] {
        let origin = Origin::doing(vec![Step::Read, Step::Send(answer)]).await;
        let gateway = Gateway::before(&origin).await;
        for http in BOTH {
            let answer = Ask::get("/public/x").over(http, &gateway).await;
            assert_eq!((answer.status, answer.text(), answer.fields.get("x-kept")), (200, "hello", Some("1")));
            let passed: Vec<_> = instructions.iter().filter(|name| answer.fields.has(name)).collect();
            assert!(passed.is_empty() && !answer.trailers.has("x-accel-redirect"), "{http:?} {passed:?}");
        }
    }
}

#[tokio::test]
async fn pass_headers_allows_one_header_in_one_spelling_on_one_route() {
    let origin = Origin::answering("hello").await;
    let site = Site::before(&origin).with(|settings| {
        // The gateway's own headers pass on no route, whatever the settings are.
        let names = ["proxy", "x-goog-iap-jwt-assertion", "my_field", "x-user-id", "x-forwarded-for", "x-auth-method"];
        settings.routes[1].pass_headers = names.map(HeaderName::from_static).into();
    });
    let gateway = site.start().await;
    for http in BOTH {
        let mut ask = Ask::get("/public/x");
        for name in ["Proxy", "X-Goog-Iap-Jwt-Assertion", "my_field", "X-User-Id", "X-Forwarded-For", "X-Auth-Method"] {
            ask = ask.field(name, "said");
        }
        for name in ["X_Goog_Iap_Jwt_Assertion", "X-Goog-Other", "my.field", "X-Remote-User"] {
            ask = ask.field(name, "forged");
        }
        assert_eq!(ask.over(http, &gateway).await.status, 200);
        let seen = origin.last();
        let passed: Vec<_> = seen.fields.0.iter().filter(|(_, value)| value == "said").map(|(name, _)| name).collect();
        let mut passed: Vec<_> = passed.into_iter().map(|name| name.to_ascii_lowercase()).collect();
        passed.sort_unstable();
        assert_eq!(passed, ["my_field", "proxy", "x-goog-iap-jwt-assertion"], "{http:?}");
        assert!(seen.fields.0.iter().all(|(_, value)| value != "forged"), "{seen:?}");
        assert_eq!(ask_elsewhere(&ask).over(http, &gateway).await.status, 200);
        assert!(origin.last().fields.0.iter().all(|(_, value)| value != "said" && value != "forged"));
    }
}

fn ask_elsewhere(ask: &Ask) -> Ask {
    Ask { target: "/optional/x".to_owned(), ..ask.clone() }
}
