//! Permission checks for files that hold a secret.
//!
//! The owner and groups of this process may read keys and passwords: Kubernetes mounts secrets with such a group
//! (`fsGroup`). A file that other users can read or change is refused.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// The error for a file that other users or groups may read or change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenToOthers {
    /// Every user of this machine.
    #[error("open to others (mode {mode:04o})")]
    Everyone {
        /// Its permissions.
        mode: u32,
    },
    /// A group that this process does not belong to.
    #[error("open to the group {group}, which the gateway does not belong to (mode {mode:04o})")]
    Group {
        /// Its permissions.
        mode: u32,
        /// Its group.
        group: u32,
    },
}

impl OpenToOthers {
    /// Returns advice on how to fix the permissions of a file.
    pub fn mend(self, file: &Path) -> String {
        format!("run: chmod 600 {}", file.display())
    }
}

/// Checks the permissions of a file that is open or about to be opened.
///
/// # Errors
/// [`OpenToOthers`] names the users who may read or change it.
pub fn check(file: &Metadata) -> Result<(), OpenToOthers> {
    judge(file.permissions().mode(), file.gid(), our_groups)
}

fn judge(mode: u32, group: u32, ours: impl FnOnce() -> Vec<u32>) -> Result<(), OpenToOthers> {
    let mode = mode & 0o7777;
    if mode & 0o007 != 0 {
        return Err(OpenToOthers::Everyone { mode });
    }
    if mode & 0o070 != 0 && !ours().contains(&group) {
        return Err(OpenToOthers::Group { mode, group });
    }
    Ok(())
}

/// The effective and supplementary groups of this process.
fn our_groups() -> Vec<u32> {
    let mut groups: Vec<u32> =
        rustix::process::getgroups().unwrap_or_default().iter().map(|gid| gid.as_raw()).collect();
    groups.push(rustix::process::getegid().as_raw());
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_may_be_readable_by_its_owner_and_our_groups() {
        let everyone = |mode| Err(OpenToOthers::Everyone { mode });
        let group = |mode| Err(OpenToOthers::Group { mode, group: 7 });
        for (mode, ours, foreign) in [
            (0o400, Ok(()), Ok(())),
            (0o600, Ok(()), Ok(())),
            (0o440, Ok(()), group(0o440)),
            (0o640, Ok(()), group(0o640)),
            (0o660, Ok(()), group(0o660)),
            (0o620, Ok(()), group(0o620)),
            (0o604, everyone(0o604), everyone(0o604)),
            (0o602, everyone(0o602), everyone(0o602)),
            (0o444, everyone(0o444), everyone(0o444)),
            (0o644, everyone(0o644), everyone(0o644)),
        ] {
            assert_eq!(judge(0o100_000 | mode, 7, || vec![3, 7]), ours, "{mode:o}");
            assert_eq!(judge(0o100_000 | mode, 7, || vec![3]), foreign, "{mode:o}");
        }
    }

    #[test]
    fn a_file_that_we_create_belongs_to_one_of_our_groups() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::set_permissions(file.path(), PermissionsExt::from_mode(0o440)).unwrap();
        assert_eq!(check(&file.path().metadata().unwrap()), Ok(()));
    }
}
