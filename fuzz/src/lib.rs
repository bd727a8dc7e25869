//! The functions of the fuzz targets.
//!
//! Each target parses its input with the gateway's own code and checks properties of the result, usually by parsing it
//! a second time in another way. A violated property is a panic. The programs in `bin/` pass the fuzzer's inputs; the
//! test suite includes this file too, so that every seed is tested with every change.

pub mod answers;
pub mod chunks;
pub mod credentials;
pub mod forward_auth;
pub mod forwarded;
pub mod hpack;
pub mod pem;
pub mod proxy_protocol;
pub mod requests;
pub mod target;

/// The name of a target, its program and its folder in `seeds/`, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("answers", answers::run),
    ("chunks", chunks::run),
    ("credentials", credentials::run),
    ("forward_auth", forward_auth::run),
    ("forwarded", forwarded::run),
    ("hpack", hpack::run),
    ("pem", pem::run),
    ("proxy_protocol", proxy_protocol::run),
    ("requests", requests::run),
    ("target", target::run),
];

/// The input in pieces as a network could deliver it: whole, byte by byte, and split where the input itself determines.
fn deliveries(bytes: &[u8]) -> [Vec<&[u8]>; 3] {
    let mut uneven = Vec::new();
    let mut rest = bytes;
    // Any function of the input is suitable, as long as a seed stays readable and a finding is reproducible.
    let mut chance = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    while !rest.is_empty() {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let length = usize::from(chance.to_be_bytes()[0] % 32) + 1;
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        uneven.push(piece);
        rest = behind;
    }
    [vec![bytes], bytes.chunks(1).collect(), uneven]
}
