//! Doors for clients: sockets, TLS, HTTP.
