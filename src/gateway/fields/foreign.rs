//! Headers with which other systems tell an upstream facts about a request.
//!
//! A gateway, identity-aware proxy, content delivery network or mesh sets them, and an application behind it trusts
//! them. Behind this gateway they can only come from a client. So no upstream gets one, unless its route allows it by
//! name (`pass_headers`).

/// Prefixes of names. Compared *folded*: `x-goog-` also matches `X_Goog_…` and `xgoog…`.
pub(super) const FAMILIES: &[&str] = &[
    // The caller's identity, in headers of other gateways.
    "x-auth",         // nginx and Traefik examples, oauth2-proxy (X-Auth-Request-*), authentik, Kong, Swift
    "auth-user",      // as the former, without `X-`
    "authenticated-", // the same
    "remote-",        // Authelia, and CGI's REMOTE_USER in servers that turn headers into variables
    "x-remote-",      // the request headers of Kubernetes, Home Assistant, Mattermost
    "redirect-remote",
    "oidc-",          // mod_auth_openidc: OIDC_CLAIM_*
    "x-oidc-",        // OpenID Connect filters
    "x-openid",       // the same
    "x-saml-",        // service providers of SAML
    "shib-",          // Shibboleth
    "x-shib-",        // the same
    "x-consumer-",    // Kong, APISIX
    "x-credential-",  // Kong
    "x-anonymous-",   // Kong
    "x-userinfo",     // lua-resty-openidc, Kong, APISIX
    "x-user-info",    // the same
    "x-id-token",     // the same; not signed there
    "x-jwt-",         // WSO2 (X-JWT-Assertion), Envoy and Istio filters
    "x-token-",       // caddy-security (X-Token-User-*), Traefik and Envoy filters (X-Token-Claim-*)
    "x-claim",        // Envoy and Istio filters
    "x-webauth-",     // Grafana, Gitea
    "x-grafana-user", // Grafana towards its data sources
    "x-proxy-",       // OpenSearch, X-ProxyUser-IP
    "es-security-",   // Elasticsearch behind Kibana: run as
    "x-goog-",        // Google: Identity-Aware Proxy, API Gateway
    "x-endpoint-api", // Google Cloud Endpoints
    "x-apigateway-",  // Google API Gateway
    "cf-access-",     // Cloudflare Access
    "x-pomerium-",
    "x-vouch-",
    "x-amzn-oidc-",           // AWS load balancers
    "x-amzn-mtls-",           // the same: client certificates
    "x-amzn-lattice-",        // VPC Lattice
    "x-amzn-request-context", // Lambda Web Adapter
    "x-amzn-lambda-context",  // the same
    "x-amzn-apigateway-",
    "x-ms-client-", // Azure App Service (X-MS-CLIENT-PRINCIPAL)
    "x-ms-token-",  // the same
    "x-rh-identity",
    "tailscale-",
    "x-tailscale-",
    "teleport-",
    "ngrok-auth-",
    "x-ngrok-",
    "x-vercel-", // addresses, and an identity (X-Vercel-OIDC-Token)
    "x-replit-user",
    "kubeflow-", // Kubeflow
    "x-rstudio-",
    "x-hass-",      // Home Assistant
    "impersonate-", // the Kubernetes API
    "x-impersonate",
    "x-sso-",
    "sso-user",
    "osso-",   // Oracle Single Sign-On
    "oam-",    // Oracle Access Manager
    "sm-user", // SiteMinder
    "sm-universalid",
    "sm-serversession",
    "iv-user", // WebSEAL
    "iv-groups",
    "iv-creds",
    "iv-remote-address",
    "iv-server-name",
    "ct-remote-", // ClearTrust
    "x-ldap-",    // nginx-ldap-auth takes its directory and its template from these
    "x-spiffe-",
    "x-istio-",
    "dapr-call", // Dapr: the calling and the called application
    "l5d-",      // Linkerd: the peer, and where to send to
    "x-trusted-",
    "x-identity",
    "x-principal",
    // Client certificates, in headers of a TLS-terminating proxy.
    "ssl-", // mod_ssl: SSL_CLIENT_*
    "x-ssl",
    "x-tls-client-",
    "x-mtls-",
    "x-client-cert",
    "x-client-dn",
    "x-client-s-dn",
    "x-client-i-dn",
    "x-client-subject",
    "x-client-issuer",
    "x-client-serial",
    "x-client-verif",
    "x-client-cn",
    "x-client-ssl",
    "x-client-tls",
    "x-peer-cert",
    "x-arr-", // Azure Application Request Routing (X-ARR-ClientCert)
    "cf-cert-",
    "cf-client-",
    "wl-proxy-", // WebLogic: WL-Proxy-Client-Cert, WL-Proxy-Client-IP
    // The origin of a request.
    "x-forwarded", // also an identity (X-Forwarded-User); the gateway sets some itself, which are reserved
    "x-client-ip",
    "x-client-addr",
    "x-client-port",
    "x-client-proto",
    "x-client-host",
    "client-ip",
    "x-cluster-client",
    "x-originating-",
    "x-real-ip", // in longer forms
    "x-real-port",
    "x-source-ip",
    "true-client-",
    "proxy-client-ip",
    "cf-connecting-",
    "cf-pseudo-",
    "cf-ip", // Cloudflare's location of the address
    "cloudfront-",
    "fastly-",
    "fly-",
    "akamai-",
    "x-akamai-",
    "x-azure-",
    "x-fd-",
    "x-nf-client-",
    "x-sucuri-",
    "incap-client-",
    "ali-cdn-",
    "x-appengine-", // location, task queues and cron jobs, which applications trust
    "x-cloudscheduler",
    "x-cloudtasks-",
    // The target, host, method or scheme that a request is meant for.
    "x-original-", // X-Original-URL (Symfony, IIS), X-Original-User
    "x-rewrite-",
    "x-override-",
    "x-http-method",
    "x-http-host",
    "x-http-path",
    "x-envoy-",
    "x-middleware-", // Next.js: X-Middleware-Subrequest skips the checks of an application
    "x-waws-",
    "front-end-https",
    "x-scheme",
    "x-url-scheme",
    // Instructions for a server in front, which some frameworks read from requests (X-Accel-Mapping, X-Sendfile-Type).
    "x-accel-",
    "x-sendfile",
];

/// Whole names.
pub(super) const NAMES: &[&str] = &[
    "proxy", // HTTP_PROXY of CGI: the proxy that the application then uses (httpoxy)
    "proxy-user",
    "proxy-remote-user",
    "auth-type",
    "path-info",
    "script-name",
    "x-script-name",
    "x-path-info",
    "x-ingress-path",
    "x-method-override",
    "x-host",
    "x-proto",
    "x-https",
    "disguised-host",
    "was-default-hostname",
    "x-user",
    "x-username",
    "x-user-login",
    "x-user-role",
    "x-user-roles",
    "x-user-group",
    "x-roles",
    "x-groups",
    "x-identity-status", // OpenStack
    // Attributes of Shibboleth.
    "eppn",
    "affiliation",
    "unscoped-affiliation",
    "entitlement",
    "persistent-id",
    "targeted-id",
    "subject-id",
    "pairwise-id",
];

/// Names with such a prefix that pass all the same: the application verifies their values, or they are no statement
/// about the caller.
pub(super) const HARMLESS: &[&str] = &[
    "x-auth-token", // a credential, of OpenStack and others
    "x-auth-key",   // the same, of Swift and Cloudflare
    "x-authorization",
    "x-author",
    "x-jwt",
    "x-jwt-token",
    "x-token",
];
