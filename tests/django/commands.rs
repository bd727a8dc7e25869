//! The commands of `tokengate` on a Django database.
