//! `tokengate demo`: a product service, a store, a certificate and a gateway in one process.
