//! Header blocks of one HTTP/2 connection: headers stay the same when they are written again without a table.

use tokengate::listener::hpack::{Decoder, write_literal};

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// The input is a sequence of blocks, each after a byte with its length.
pub fn run(mut bytes: &[u8]) {
    let mut decoder = Decoder::default();
    while let Some((length, rest)) = bytes.split_first() {
        let (block, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        bytes = rest;
        let Some(fields) = read(&mut decoder, block) else { return };
        let mut written = Vec::new();
        for (name, value) in &fields {
            write_literal(&mut written, name, value);
        }
        let mut fresh = Decoder::default();
        assert_eq!(read(&mut fresh, &written).as_ref(), Some(&fields), "what was written is read as something else");
        assert_eq!(read(&mut fresh, &[0xbe]), None, "a literal has touched the table");
    }
}

fn read(decoder: &mut Decoder, block: &[u8]) -> Option<Fields> {
    let mut fields = Vec::new();
    decoder.read(block, |name, value| fields.push((name.to_vec(), value.to_vec()))).ok()?;
    Some(fields)
}
