//! Judges the header blocks of HTTP/2 requests.
//!
//! The HTTP library drops the fragment of `:path`, `:scheme` and the pseudo-headers of trailers, and resets a stream
//! without a response for a character that it does not accept. So header blocks are read here first. A valid
//! block is passed to the library unchanged. An invalid one is replaced: a head by a request that the gateway refuses,
//! trailers by trailers that the library refuses.
//!
//! The library's HPACK table lacks the entries of a replaced block. From the first replaced block on, the library
//! therefore gets every block of the connection in a form that needs no table.

use std::sync::Arc;

use http::uri::Authority;

use super::hpack::{BadBlock, Decoder, write_literal};
use crate::client::{HeadFault, REFUSED_METHOD};
use crate::config::settings::Limits;
use crate::http1::request_head::is_target;

/// The overhead of a field that counts toward the size of a header list (RFC 9113 §6.5.2).
const FIELD_OVERHEAD: usize = 32;
/// A block may decode to this multiple of the limit of a head. A larger one is a decompression bomb, and the connection
/// ends.
const MAX_EXPANSION: usize = 4;

/// The header blocks of one connection.
pub struct Blocks {
    decoder: Decoder,
    limits: Arc<Limits>,
    /// The last block in a form that needs no table.
    literals: Vec<u8>,
    replaces: bool,
}

impl Blocks {
    /// Before the first block.
    pub fn new(limits: Arc<Limits>) -> Blocks {
        Blocks { decoder: Decoder::default(), limits, literals: Vec::new(), replaces: false }
    }

    /// Checks a block, and returns what the library must read instead; `None`: the unchanged block.
    ///
    /// # Errors
    /// [`BadBlock`]: the rest of the connection cannot be read.
    pub fn judge(&mut self, block: &[u8], is_head: bool) -> Result<Option<&[u8]>, BadBlock> {
        let Blocks { decoder, limits, literals, replaces } = self;
        literals.clear();
        let mut verdict = Verdict::default();
        decoder.read(block, |name, value| {
            verdict.count(name, value);
            if is_head {
                verdict.head(name, value);
            } else if name.first() == Some(&b':') {
                verdict.fault = Some(HeadFault::FieldLine);
            }
            // A few bytes of a block can decode to megabytes: bytes beyond the limit are counted and not stored.
            if verdict.size <= limits.header_bytes {
                write_literal(literals, name, value);
            }
        })?;
        if verdict.size > limits.header_bytes.saturating_mul(MAX_EXPANSION) {
            return Err(BadBlock);
        }
        if verdict.size > limits.header_bytes {
            verdict.fault = Some(HeadFault::TooLong);
        }
        match verdict.fault {
            Some(fault) if is_head => {
                literals.clear();
                stand_in(literals, fault);
            }
            Some(_) => {
                literals.clear();
                // Forbidden in HTTP/2 (RFC 9113 §8.2.2): the library resets the stream.
                write_literal(literals, b"connection", b"close");
            }
            None if !*replaces => return Ok(None),
            None => {}
        }
        *replaces = true;
        Ok(Some(literals))
    }
}

/// The request that the gateway refuses because of `fault`.
fn stand_in(block: &mut Vec<u8>, fault: HeadFault) {
    let place = FAULTS.iter().position(|known| *known == fault).unwrap_or(0);
    let path = format!("/{place}");
    for (name, value) in
        [(":method", REFUSED_METHOD), (":scheme", "https"), (":authority", "refused"), (":path", &path)]
    {
        write_literal(block, name.as_bytes(), value.as_bytes());
    }
}

/// The faults of stand-ins, by the number in the path of the stand-in.
const FAULTS: [HeadFault; 4] = [HeadFault::Target, HeadFault::Scheme, HeadFault::Authority, HeadFault::TooLong];

/// The fault because of which a request was replaced by a stand-in. A client that sends the stand-in itself gets the
/// same refusal.
pub fn fault(method: &http::Method, path: &str) -> Option<HeadFault> {
    let place = || path.strip_prefix('/').and_then(|place| place.parse::<usize>().ok());
    let refused = method.as_str() == REFUSED_METHOD;
    refused.then(|| place().and_then(|place| FAULTS.get(place).copied()).unwrap_or(HeadFault::Target))
}

#[derive(Default)]
struct Verdict {
    fault: Option<HeadFault>,
    size: usize,
    cookies: bool,
}

impl Verdict {
    fn count(&mut self, name: &[u8], value: &[u8]) {
        // Several `cookie` fields are one header (RFC 9113 §8.2.3).
        let joined = name == b"cookie" && std::mem::replace(&mut self.cookies, true);
        self.size += if joined { value.len() + 2 } else { name.len() + value.len() + FIELD_OVERHEAD };
    }

    fn head(&mut self, name: &[u8], value: &[u8]) {
        let good = match name {
            // The library resets the stream of an empty block.
            b":path" => value.is_empty() || is_path(value),
            b":scheme" => value.eq_ignore_ascii_case(b"https"),
            b":authority" => is_authority(value),
            _ => return,
        };
        if !good && self.fault.is_none() {
            self.fault = Some(match name {
                b":scheme" => HeadFault::Scheme,
                b":authority" => HeadFault::Authority,
                _ => HeadFault::Target,
            });
        }
    }
}

/// Whether it is a path, with or without a query, or the asterisk.
fn is_path(value: &[u8]) -> bool {
    (value.starts_with(b"/") && is_target(value)) || value == b"*"
}

/// Whether the library accepts it. `Target::read` checks its content.
fn is_authority(value: &[u8]) -> bool {
    let name = value.strip_suffix(b":443").unwrap_or(value);
    let ordinary = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(byte));
    ordinary || Authority::try_from(value).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_decodes_to_far_more_than_its_bytes_ends_the_connection_and_is_not_stored() {
        let limits = Limits { header_bytes: 64 << 10, ..Limits::default() };
        let mut blocks = Blocks::new(Arc::new(limits));
        // A field of 4,000 bytes enters the table; afterwards one byte refers to it.
        let field = [&[0x40, 1, b'a', 0x7f, 0xa1, 0x1e][..], &[b'x'; 4_000]].concat();
        let bomb = |times: usize| [field.clone(), vec![0xbe; times]].concat();
        assert!(matches!(blocks.judge(&bomb(20), true), Ok(Some(_))), "too long, and answered");
        assert!(blocks.literals.capacity() <= 128 << 10, "{}", blocks.literals.capacity());
        assert_eq!(blocks.judge(&bomb(20_000), true), Err(BadBlock));
        assert_eq!(blocks.judge(&bomb(20_000), false), Err(BadBlock));
        assert!(blocks.literals.capacity() <= 256 << 10, "{}", blocks.literals.capacity());
    }
}
