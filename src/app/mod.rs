//! The house: starts workers and control, stops them.
