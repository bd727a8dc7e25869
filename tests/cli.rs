//! The `tokengate` command, as a shell sees it.
