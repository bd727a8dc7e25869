//! Permissions of files with secrets.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

use super::Folder;
use super::refused::BASE;

/// A group that this process certainly does not belong to.
const STRANGERS: u32 = 64_123;

#[test]
fn a_secret_is_refused_where_others_or_a_foreign_group_can_read_it() {
    let folder = Folder::new();
    let key = fs::read_to_string(folder.path("certs/dev-key.pem")).unwrap();
    folder.write("key.pem", &key, 0o600);
    folder.write("password", "hunter2", 0o600);
    folder.write("tokengate.key", "", 0o600);
    let own = fs::metadata(folder.path("key.pem")).unwrap().gid();
    let listener = "[listeners.a]\naddress = \"127.0.0.1:1\"\ncertificates = [\"a\"]\n[certificates.a]\ncert_file = \
                    \"certs/dev-cert.pem\"\nkey_file = \"key.pem\"\n";
    let postgres = "[store]\nurl = \"postgres://db/a?sslmode=verify-full&sslcert=certs/dev-cert.pem&sslkey=key.pem\"\n";
    let mysql =
        "[store]\nurl = \"django+mysql://db/a?ssl-mode=VERIFY_CA&ssl-cert=certs/dev-cert.pem&ssl-key=key.pem\"\n";
    let redis = "[cache.redis]\nurl = \"redis://cache\"\npassword_file = \"password\"\n";
    let mut wrong = Vec::new();
    for (text, file) in [
        (listener, "key.pem"),
        (postgres, "key.pem"),
        (mysql, "key.pem"),
        (redis, "password"),
        ("[store]\nkey_file = \"tokengate.key\"\n", "tokengate.key"),
    ] {
        for (mode, group, part) in [
            (0o400, own, None),
            (0o440, own, None),
            (0o640, own, None),
            (0o444, own, Some("open to others (mode 0444); run: chmod 600 ")),
            (0o602, own, Some("open to others (mode 0602); run: chmod 600 ")),
            (0o400, STRANGERS, None),
            (0o440, STRANGERS, Some("open to the group 64123, which the gateway does not belong to (mode 0440)")),
        ] {
            let path = folder.path(file);
            // Only root can give a file to such a group.
            if chown(&path, None, Some(group)).is_err() {
                continue;
            }
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            let errors = folder.errors(&format!("{text}{BASE}"));
            let right = match part {
                None => errors.is_empty(),
                Some(part) => errors.len() == 1 && errors[0].contains(part),
            };
            if !right {
                wrong.push(format!("{file} {mode:o} {group}: {errors:?}"));
            }
        }
        chown(folder.path(file), None, Some(own)).unwrap();
        fs::set_permissions(folder.path(file), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
