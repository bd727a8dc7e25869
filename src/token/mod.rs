//! Tokens: the key that the owner has, the digest that stores keep, and the stored record.
//!
//! Pure data types: no I/O and no clock.

mod digest;
mod format;
mod key;
mod network;
mod own_rate;
mod record;
mod scope;

pub use digest::TokenDigest;
pub use format::TokenFormat;
pub use key::{MalformedToken, ShownKey, TokenHint, TokenKey, is_token68};
pub use network::{Network, Networks, NoNetworks};
pub use own_rate::{InvalidRate, OwnRate};
pub use record::{Account, AuthMethod, OwnRates, Restrictions, SubjectId, TokenId, TokenRecord, UseBy};
pub use scope::{InvalidScope, Scope, ScopeSet};

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
