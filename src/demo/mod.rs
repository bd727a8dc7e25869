//! `tokengate demo`: a product service, a store, a certificate and a gateway in one process.

pub mod certificate;
pub mod product;
pub mod products;
pub mod products_store;
