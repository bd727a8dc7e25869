//! The request: from its head to its answer, as one line.

pub mod fields;
pub mod framing;
