//! Reads header blocks (HPACK, RFC 7541).
//!
//! The HTTP library reads them as well, but drops parts of them before our code can check them. This decoder reads the
//! same blocks in the same order and has the same table. It passes each field to its caller as bytes and checks
//! nothing.

mod huffman;
mod statics;

use std::collections::VecDeque;

/// Maximum size of the table: the default, since no other size is announced (RFC 9113 §6.5.2).
const TABLE: usize = 4_096;
/// The overhead of a table entry in bytes (RFC 7541 §4.1).
const ENTRY: usize = 32;

/// The block cannot be decoded, nor can anything after it on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadBlock;

/// The decoder of one connection.
#[derive(Debug)]
pub struct Decoder {
    table: VecDeque<Entry>,
    size: usize,
    limit: usize,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// The name, followed by the value.
#[derive(Debug)]
struct Entry {
    text: Box<[u8]>,
    name: usize,
}

impl Entry {
    fn parts(&self) -> (&[u8], &[u8]) {
        self.text.split_at_checked(self.name).unwrap_or_default()
    }

    fn size(&self) -> usize {
        self.text.len() + ENTRY
    }
}

impl Default for Decoder {
    /// Creates the decoder of a new connection.
    fn default() -> Decoder {
        Decoder { table: VecDeque::new(), size: 0, limit: TABLE, name: Vec::new(), value: Vec::new() }
    }
}

impl Decoder {
    /// Decodes a complete block and passes its fields to the caller in order.
    ///
    /// # Errors
    /// [`BadBlock`]; some fields may have been passed on before.
    pub fn read(&mut self, mut block: &[u8], mut field: impl FnMut(&[u8], &[u8])) -> Result<(), BadBlock> {
        let mut begun = false;
        while let Some(first) = block.first().copied() {
            match first {
                0x80.. => {
                    let index = number(&mut block, 7)?;
                    let (name, value) = self.entry(index).ok_or(BadBlock)?;
                    field(name, value);
                }
                0x20..0x40 => {
                    let limit = number(&mut block, 5)?;
                    if begun || limit > TABLE {
                        return Err(BadBlock);
                    }
                    self.limit = limit;
                    self.make_room(0);
                    continue;
                }
                _ => {
                    let kept = first & 0x40 != 0;
                    let index = number(&mut block, if kept { 6 } else { 4 })?;
                    let (mut name, mut value) = (std::mem::take(&mut self.name), std::mem::take(&mut self.value));
                    let read = self.literal(index, &mut block, &mut name, &mut value);
                    if read.is_ok() {
                        field(&name, &value);
                        if kept {
                            self.insert(&name, &value);
                        }
                    }
                    (self.name, self.value) = (name, value);
                    read?;
                }
            }
            begun = true;
        }
        Ok(())
    }

    fn literal(
        &self,
        index: usize,
        block: &mut &[u8],
        name: &mut Vec<u8>,
        value: &mut Vec<u8>,
    ) -> Result<(), BadBlock> {
        if index == 0 {
            text(block, name)?;
        } else {
            name.clear();
            name.extend_from_slice(self.entry(index).ok_or(BadBlock)?.0);
        }
        text(block, value)
    }

    fn entry(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let index = index.checked_sub(1)?;
        match statics::ENTRIES.get(index) {
            Some((name, value)) => Some((name.as_bytes(), value.as_bytes())),
            None => self.table.get(index - statics::ENTRIES.len()).map(Entry::parts),
        }
    }

    fn insert(&mut self, name: &[u8], value: &[u8]) {
        let size = name.len() + value.len() + ENTRY;
        self.make_room(size);
        // An entry that is larger than the table empties it and is not stored (RFC 7541 §4.4).
        if size <= self.limit {
            self.table.push_front(Entry { text: [name, value].concat().into(), name: name.len() });
            self.size += size;
        }
    }

    fn make_room(&mut self, wanted: usize) {
        while self.size + wanted > self.limit
            && let Some(oldest) = self.table.pop_back()
        {
            self.size -= oldest.size();
        }
    }
}

/// Decodes an integer whose first `prefix` bits are in the first byte (RFC 7541 §5.1).
fn number(block: &mut &[u8], prefix: u8) -> Result<usize, BadBlock> {
    let mask = 0xff_u8 >> (8 - prefix);
    let mut value = usize::from(take(block)? & mask);
    if value < usize::from(mask) {
        return Ok(value);
    }
    // At most four more bytes: no valid index or length is longer.
    for shift in [0, 7, 14, 21] {
        let byte = take(block)?;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(BadBlock)
}

fn take(block: &mut &[u8]) -> Result<u8, BadBlock> {
    let (first, rest) = block.split_first().ok_or(BadBlock)?;
    *block = rest;
    Ok(*first)
}

/// Decodes a text, with or without the Huffman code (RFC 7541 §5.2).
fn text(block: &mut &[u8], into: &mut Vec<u8>) -> Result<(), BadBlock> {
    let coded = block.first().ok_or(BadBlock)? & 0x80 != 0;
    let length = number(block, 7)?;
    let (bytes, rest) = block.split_at_checked(length).ok_or(BadBlock)?;
    *block = rest;
    into.clear();
    if coded {
        huffman::decode(bytes, into).ok_or(BadBlock)
    } else {
        into.extend_from_slice(bytes);
        Ok(())
    }
}

/// Encodes a field as a literal that does not use the table (RFC 7541 §6.2.2).
pub fn write_literal(into: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    into.push(0);
    for text in [name, value] {
        let [.., low] = text.len().to_be_bytes();
        if text.len() < 0x7f {
            into.push(low);
        } else {
            into.push(0x7f);
            let mut left = text.len() - 0x7f;
            while left >= 0x80 {
                let [.., low] = left.to_be_bytes();
                into.push(low | 0x80);
                left >>= 7;
            }
            let [.., low] = left.to_be_bytes();
            into.push(low);
        }
        into.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<_> = text.chars().filter_map(|c| c.to_digit(16)).collect();
        digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
    }

    fn read(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, BadBlock> {
        let mut fields = Vec::new();
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        decoder.read(block, |name, value| fields.push(format!("{}={}", shown(name), shown(value))))?;
        Ok(fields)
    }

    /// RFC 7541, appendices C.3 and C.4: three requests on one connection, without and with the Huffman code.
    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let plain = [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ];
        let coded = [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ];
        for blocks in [plain, coded] {
            let mut decoder = Decoder::default();
            let [first, second, third] = blocks.map(|block| read(&mut decoder, &hex(block)).unwrap());
            let common = [":method=GET", ":scheme=http", ":path=/", ":authority=www.example.com"];
            assert_eq!(first, common);
            assert_eq!(second, [common.as_slice(), &["cache-control=no-cache"]].concat());
            let [method, _, _, authority] = common;
            let own = [method, ":scheme=https", ":path=/index.html", authority, "custom-key=custom-value"];
            assert_eq!(third, own);
            assert_eq!((decoder.table.len(), decoder.size), (3, 164));
        }
    }

    #[test]
    fn what_is_written_is_read_again_whatever_its_length() {
        for length in [0, 1, 126, 127, 128, 254, 255, 256, 300, 16_383, 16_510, 16_511, 70_000] {
            let (name, value) = ("n".repeat(length), "v".repeat(length / 2));
            let mut block = Vec::new();
            write_literal(&mut block, name.as_bytes(), value.as_bytes());
            let mut decoder = Decoder::default();
            assert_eq!(read(&mut decoder, &block).unwrap(), [format!("{name}={value}")]);
            assert_eq!(decoder.size, 0);
        }
    }

    #[test]
    fn the_table_stays_within_its_limit() {
        let mut decoder = Decoder::default();
        for count in 0..200_u32 {
            let mut block = vec![0x40, 1, b'a', 100];
            block.extend(format!("{count:0>100}").into_bytes());
            read(&mut decoder, &block).unwrap();
            assert!(decoder.size <= TABLE, "{count}");
        }
        assert_eq!(decoder.table.len(), TABLE / 133);
        assert_eq!(read(&mut decoder, &[0xbe]).unwrap(), [format!("a={:0>100}", 199)]);
        // An entry that is too large, then a smaller limit.
        let long = [&[0x40, 1, b'b', 0x7f, 0xa1, 0x1e][..], &[b'x'; 4_000]].concat();
        assert_eq!(read(&mut decoder, &long).map(|_| decoder.table.len()), Ok(1));
        assert_eq!(read(&mut decoder, &[0x20]).map(|_| decoder.table.len()), Ok(0));
        assert_eq!(read(&mut decoder, &[0xbe]), Err(BadBlock));
    }

    #[test]
    fn damaged_blocks_are_refused_and_never_panic() {
        for block in [
            "80",                // index 0
            "be",                // no such entry
            "ff ff ff ff ff 0f", // a number without an end
            "40",                // no name
            "40 05 61",          // cut short
            "00 01 61",          // no value
            "82 20",             // a limit after a field
            "3f e2 1f",          // a limit above the allowed one
            "00 01 61 81 00",    // padding of zeros
            "00 01 61 82 1f ff", // padding of more than seven bits
            "00 01 61 84 ff ff ff ff",
        ] {
            assert_eq!(read(&mut Decoder::default(), &hex(block)), Err(BadBlock), "{block}");
        }
        let mut state = 88_172_645_463_325_252_u64;
        let mut decoder = Decoder::default();
        for _ in 0..20_000 {
            let mut block = Vec::new();
            for _ in 0..24 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                block.push(state.to_be_bytes()[0]);
            }
            if read(&mut decoder, &block).is_err() {
                decoder = Decoder::default();
            }
            assert!(decoder.size <= TABLE);
        }
    }
}
