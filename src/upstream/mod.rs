//! Connections to endpoints: one pool per worker and endpoint, no locks.
