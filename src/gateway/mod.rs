//! The request: from its head to its answer, as one line.
