//! Quantities as operators write them: `"30s"`, `"8MiB"`, `"100/min"`.
