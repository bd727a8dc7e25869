//! The Huffman code of HPACK (RFC 7541, appendix B).
//!
//! The code is canonical: codes of one length are consecutive in the order of their symbols, and longer codes follow
//! shorter ones. So the lengths determine the whole code.

use std::sync::LazyLock;

/// The length of each byte's code in bits; the last one is that of the end-of-text symbol.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];
/// Codes of at most this many bits are decoded with one table lookup. Most bytes of texts have such codes.
const SHORT_BITS: u8 = 8;
const MAX_BITS: u8 = 30;

static CODE: LazyLock<Code> = LazyLock::new(Code::new);

struct Code {
    /// Symbol and length for each value that the next eight bits can have; length 0: the code is longer.
    short: Vec<(u8, u8)>,
    /// For each length: the first value beyond its codes, left-aligned in 32 bits, and the first code.
    ends: Vec<Length>,
    /// Symbols in the order of their codes.
    symbols: Vec<u8>,
}

struct Length {
    bits: u8,
    /// The first code of this length and the first value beyond, left-aligned in 32 bits.
    first: u64,
    end: u64,
    /// The index of the first symbol.
    place: usize,
}

impl Code {
    fn new() -> Code {
        let (mut short, mut ends, mut symbols) = (Vec::new(), Vec::new(), Vec::new());
        let mut first = 0_u64;
        for bits in 1..=MAX_BITS {
            let place = symbols.len();
            // The end-of-text symbol has the last code; it is not a byte.
            let of_this_length = (0..=u8::MAX).zip(LENGTHS).filter(|(_, length)| *length == bits);
            symbols.extend(of_this_length.map(|(symbol, _)| symbol));
            let count = u64::try_from(symbols.len() - place).unwrap_or(0);
            let end = first + (count << (32 - bits));
            if bits <= SHORT_BITS {
                for symbol in symbols.iter().skip(place) {
                    short.extend(std::iter::repeat_n((*symbol, bits), 1 << (SHORT_BITS - bits)));
                }
            }
            if count > 0 {
                ends.push(Length { bits, first, end, place });
            }
            first = end;
        }
        short.resize(1 << SHORT_BITS, (0, 0));
        Code { short, ends, symbols }
    }

    /// Returns the symbol whose code these bits begin with, and the length of the code.
    fn find(&self, bits: u64) -> Option<(u8, u8)> {
        let [next, ..] = bits.to_be_bytes();
        match self.short.get(usize::from(next)) {
            Some((symbol, bits)) if *bits > 0 => Some((*symbol, *bits)),
            _ => {
                let window = bits >> 32;
                let length = self.ends.iter().find(|length| window < length.end)?;
                let offset = usize::try_from((window - length.first) >> (32 - length.bits)).ok()?;
                Some((*self.symbols.get(length.place + offset)?, length.bits))
            }
        }
    }
}

/// Decodes a text and appends it to `into`; `None`: the text is invalid.
pub(super) fn decode(coded: &[u8], into: &mut Vec<u8>) -> Option<()> {
    let code = &*CODE;
    let mut coded = coded.iter();
    // The `have` highest bits of `bits` have not been decoded yet; the others are 0.
    let (mut bits, mut have) = (0_u64, 0_u8);
    loop {
        while have <= 56
            && let Some(byte) = coded.next()
        {
            bits |= u64::from(*byte) << (56 - have);
            have += 8;
        }
        match code.find(bits) {
            Some((symbol, length)) if length <= have => {
                into.push(symbol);
                bits <<= length;
                have -= length;
            }
            _ if have >= MAX_BITS => return None,
            _ => break,
        }
    }
    // Fewer than eight bits are left, all of them 1: the start of the end-of-text code (RFC 7541 §5.2).
    (have < 8 && bits.count_ones() == u32::from(have)).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The code of one text, with its padding.
    fn encode(text: &[u8]) -> Vec<u8> {
        let mut bits = String::new();
        for byte in text {
            let code = &*CODE;
            let place = code.symbols.iter().position(|symbol| symbol == byte).unwrap();
            let length = code.ends.iter().rev().find(|length| length.place <= place).unwrap();
            let word = (length.first >> (32 - length.bits)) + u64::try_from(place - length.place).unwrap();
            bits.push_str(&format!("{word:0width$b}", width = usize::from(length.bits)));
        }
        while !bits.len().is_multiple_of(8) {
            bits.push('1');
        }
        let bytes = bits.as_bytes().chunks(8);
        bytes.map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap()).collect()
    }

    #[test]
    fn every_byte_is_decoded_next_to_every_kind_of_neighbour() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        let mut texts: Vec<Vec<u8>> = all.iter().map(|byte| vec![*byte]).collect();
        texts.extend(all.iter().flat_map(|byte| [vec![b'0', *byte, b'X'], vec![*byte, 255, *byte], vec![b'&', *byte]]));
        texts.push(all);
        texts.push(Vec::new());
        for text in texts {
            let mut decoded = Vec::new();
            assert_eq!(decode(&encode(&text), &mut decoded), Some(()), "{text:?}");
            assert_eq!(decoded, text);
        }
    }

    #[test]
    fn codes_are_those_of_the_rfc() {
        for (text, coded) in [
            (b"0".as_slice(), [0x07].as_slice()),
            (b"www.example.com", &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff]),
            (b"\n", &[0xff, 0xff, 0xff, 0xf3]),
            (&[0xff], &[0xff, 0xff, 0xfb, 0xbf]),
        ] {
            assert_eq!(encode(text), coded, "{text:?}");
        }
    }
}
