//! Invalid settings of the admin application, each with all its errors.

use std::time::Duration;

use super::Folder;
use super::refused::{BASE, each_is_refused};

const CERTIFICATE: &str = "[certificates.a] | cert_file = \"certs/dev-cert.pem\" | key_file = \"certs/dev-key.pem\" | ";

#[test]
fn invalid_admin_settings_are_refused() {
    let listener = "[listeners.admin] | address = \"127.0.0.1:8444\" | plaintext = \"refuse\" | ";
    for (fragment, expected) in [
        ("[admin]", "4: admin.certificate: missing; add `certificate = \"NAME\"`: one of [certificates]"),
        (
            "[admin] | certificate = \"b\" | address = \"8444\" | session_ttl = \"1s\" | audit_keep = \"1h\" | hosts = [\"https://a\"]",
            "5: admin.certificate: `b` is not the name of any certificate in this file; did you mean `a`? | \
             6: admin.address: `8444` is not an address with a port; write an IP address with a port, such as \"127.0.0.1:8444\" | \
             7: admin.session_ttl: `1s` is out of bounds; write 1m to 30d | \
             8: admin.audit_keep: `1h` is out of bounds; write 1d or more | \
             9: admin.hosts: `https://a` is not a valid host; write a name or an IP address, without port, such as \"admin.example.com\"",
        ),
        (
            "[admin] | certificate = \"a\" | address = \"0.0.0.0:8444\"",
            "6: admin.address: needs the host names that browsers use; add `hosts = [\"NAME\"]`",
        ),
        (
            "[admin] | certificate = \"a\" | [store] | url = \"django+sqlite:db.sqlite3\"",
            "4: admin: the users belong to a Django project and are managed in its own admin; remove [admin], or import the users into tokengate's own store",
        ),
        (
            "[admin] | certificate = \"a\" | traffic_file = \"\"",
            "6: admin.traffic_file: `` is not a file path; write a path, relative to this file",
        ),
    ] {
        each_is_refused(&[(&format!("{CERTIFICATE}{fragment}"), expected)]);
    }
    each_is_refused(&[(
        &format!("{CERTIFICATE}{listener}[admin] | certificate = \"a\""),
        "7: admin.address: `127.0.0.1:8444` is already used by listeners.admin; choose another port | \
         7: admin: a listener is named `admin`, which is the name of the application in logs; rename the listener",
    )]);
}

#[test]
fn valid_admin_settings_apply() {
    let folder = Folder::new();
    let table = "[admin] | certificate = \"a\" | hosts = [\"Admin.Test\", \"10.0.0.7\"] | session_ttl = \"1h\"";
    let settings = folder.settings(&format!("{}{BASE}", format!("{CERTIFICATE}{table}").replace(" | ", "\n")));
    let admin = settings.admin.unwrap();
    assert_eq!((admin.address.to_string().as_str(), admin.certificate), ("127.0.0.1:8444", 0));
    assert_eq!(admin.hosts, ["admin.test", "10.0.0.7"]);
    assert_eq!((admin.session_ttl, admin.audit_keep), (Duration::from_secs(3_600), Duration::from_secs(400 * 86_400)));
    assert_eq!(admin.traffic_file, None);
    assert!(folder.settings(BASE).admin.is_none());
    let table = table.replace("session_ttl = \"1h\"", "traffic_file = \"last-hour\"");
    let settings = folder.settings(&format!("{}{BASE}", format!("{CERTIFICATE}{table}").replace(" | ", "\n")));
    assert_eq!(settings.admin.unwrap().traffic_file.unwrap().file_name().unwrap(), "last-hour");
}
