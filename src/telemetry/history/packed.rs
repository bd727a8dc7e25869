//! Packs the counters of many routes into few bytes.
//!
//! Each route with requests is stored as its number, one bit per non-zero counter, then those counters. Numbers are
//! little-endian base 128: seven bits per byte, the eighth bit set on all but the last byte. An idle route takes no
//! room, a busy one about 30 bytes.

use super::counts::Counts;

// One bit per counter.
const _: () = assert!(Counts::FIELDS <= 64);

/// Packs the counters of numbered routes; those without requests take no room.
pub(super) fn pack(routes: &[(usize, Counts)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, counts) in routes {
        let index = u64::try_from(*number).unwrap_or(u64::MAX);
        let present = counts.fields().enumerate().filter(|(_, number)| *number > 0);
        let bits = present.fold(0_u64, |bits, (field, _)| bits | 1 << field);
        if bits > 0 {
            write(&mut bytes, index);
            write(&mut bytes, bits);
            counts.fields().filter(|number| *number > 0).for_each(|number| write(&mut bytes, number));
        }
    }
    bytes
}

/// Calls `see` for each packed route.
pub(super) fn unpack(mut bytes: &[u8], mut see: impl FnMut(usize, &Counts)) {
    while let Some((index, counts)) = next(&mut bytes) {
        see(index, &counts);
    }
}

fn next(bytes: &mut &[u8]) -> Option<(usize, Counts)> {
    let index = usize::try_from(read(bytes)?).ok()?;
    let bits = read(bytes)?;
    let mut counts = Counts::default();
    for (field, number) in counts.fields_mut().enumerate() {
        if bits >> field & 1 == 1 {
            *number = read(bytes)?;
        }
    }
    Some((index, counts))
}

pub(super) fn write(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return bytes.push(low & 0x7f);
        }
        bytes.push(low | 0x80);
    }
}

pub(super) fn read(bytes: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0_u64, 0_u32);
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_counters_are_read_unchanged_and_idle_routes_take_no_room() {
        let mut routes = vec![Counts::default(); 300];
        for (value, number) in (1..).zip(routes[299].fields_mut()) {
            *number = u64::MAX >> value;
        }
        routes[7].statuses[4] = u64::MAX;
        let routes: Vec<_> = routes.into_iter().enumerate().collect();
        let bytes = pack(&routes);
        let mut found = Vec::new();
        unpack(&bytes, |index, counts| found.push((index, counts.clone())));
        assert_eq!(found, [routes[7].clone(), routes[299].clone()]);
        assert!(pack(&routes[8..299]).is_empty());
    }

    #[test]
    fn bytes_that_break_off_end_the_list() {
        let mut routes = vec![Counts::default(); 2];
        (routes[0].statuses[0], routes[1].statuses[0]) = (1, 200);
        let bytes = pack(&routes.into_iter().enumerate().collect::<Vec<_>>());
        for length in 0..bytes.len() {
            let mut seen = 0;
            unpack(&bytes[..length], |_, _| seen += 1);
            assert_eq!(seen, usize::from(length >= 3), "{length}");
        }
    }
}
