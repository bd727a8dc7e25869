//! The variables of `"${NAME}"`: from the environment, from a file that it names, or from a credential of systemd.
//!
//! Secrets in files do not appear in the list of processes, in crash reports and in the environment of child processes.

use std::fs;
use std::path::Path;

/// Where systemd puts the credentials of a service (`LoadCredential=`, `SetCredentialEncrypted=`).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Why a variable has no value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoValue {
    /// Nothing defines it.
    Missing,
    /// The file that `NAME_FILE` names cannot be read.
    Unreadable {
        /// The path.
        file: String,
    },
}

/// Looks a variable up. `environment` is that of the process.
pub(super) fn look_up(name: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<String, NoValue> {
    if let Some(value) = environment(name) {
        return Ok(value);
    }
    // As containers of databases read their passwords.
    if let Some(file) = environment(&format!("{name}_FILE")) {
        return read(Path::new(&file)).ok_or(NoValue::Unreadable { file });
    }
    // A name with a slash or only dots would lead to another folder.
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    let folder = environment(CREDENTIALS).filter(|_| is_plain && !name.is_empty());
    folder.and_then(|folder| read(&Path::new(&folder).join(name))).ok_or(NoValue::Missing)
}

/// The text of a file, without the line break at its end.
fn read(file: &Path) -> Option<String> {
    let mut text = fs::read_to_string(file).ok()?;
    let end = text.strip_suffix('\n').map_or(text.len(), |line| line.strip_suffix('\r').unwrap_or(line).len());
    text.truncate(end);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_comes_first_then_a_file_then_a_credential() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::write(path("file"), "from a file\r\n").unwrap();
        fs::write(path("PASSWORD"), "from a credential\n\n").unwrap();
        fs::write(path("empty"), "").unwrap();
        let (file, credentials) = (("PASSWORD_FILE", path("file")), (CREDENTIALS, path("")));
        let missing = ("PASSWORD_FILE", path("missing"));
        let elsewhere = (CREDENTIALS, path("elsewhere"));
        let (set, empty) = (("PASSWORD", "set".to_owned()), ("PASSWORD", String::new()));
        let table = [
            (vec![&set, &missing, &credentials], Ok("set")),
            (vec![&empty, &file], Ok("")),
            (vec![&file, &credentials], Ok("from a file")),
            (vec![&missing, &credentials], Err(NoValue::Unreadable { file: path("missing") })),
            (vec![&credentials], Ok("from a credential\n")),
            (vec![&elsewhere], Err(NoValue::Missing)),
            (vec![], Err(NoValue::Missing)),
        ];
        for (variables, wanted) in table {
            let environment = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, v)| v.clone());
            assert_eq!(look_up("PASSWORD", &environment), wanted.map(str::to_owned), "{variables:?}");
        }
        for name in ["", "..", "../file", "a/../file", "empty/"] {
            let environment = |asked: &str| (asked == CREDENTIALS).then(|| path(""));
            assert_eq!(look_up(name, &environment), Err(NoValue::Missing), "{name}");
        }
    }
}
