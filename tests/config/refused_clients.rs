//! Invalid settings of client certificates, each with all its errors.

use super::refused::each_is_refused;

const ROUTE: &str = "[routes.a] | path = \"/a\" | upstream = \"base\"";

#[test]
fn settings_without_an_effect_are_refused() {
    each_is_refused(&[
        (
            &format!("{ROUTE} | credentials = [\"certificate\"]"),
            " routes.a.credentials: no listener asks clients for certificates; add `client_ca_file` to a listener",
        ),
        (
            &format!("{ROUTE} | forward_certificate = \"leaf\""),
            " routes.a.forward_certificate: no listener asks clients for certificates; add `client_ca_file` to a listener",
        ),
        (
            &format!("{ROUTE} | pass_headers = [\"Client-Cert-Verified\"]"),
            "4: routes.a.pass_headers: `Client-Cert-Verified` is set or read by the gateway itself; remove it; the gateway \
             always removes a client's copy",
        ),
    ]);
}

#[test]
fn names_and_fingerprints_are_checked() {
    let listener = "[listeners.a] | address = \"127.0.0.1:0\" | plaintext = \"refuse\" | [listeners.a.client_users.ci]";
    each_is_refused(&[(
        &format!("{listener} | email = [\"ci\"] | dns = [\"a b\"] | uri = [\"x\"] | sha256 = [\"ab:cd\"]"),
        "5: listeners.a.client_users.ci.email: `ci` is not an e-mail address; write one such as \"ci@example.com\" | \
         6: listeners.a.client_users.ci.dns: `a b` is not a DNS name; write one such as \"build.example.com\" | \
         7: listeners.a.client_users.ci.uri: `x` is not a URI; write one such as \"spiffe://example.com/build\" | \
         8: listeners.a.client_users.ci.sha256: `ab:cd` is not the SHA-256 fingerprint of a certificate; write 64 \
         hexadecimal digits: openssl x509 -noout -fingerprint -sha256 -in client.pem",
    )]);
}
