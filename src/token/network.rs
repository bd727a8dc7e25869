//! Networks that restrict the use of a token.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;

/// An address and a prefix length. IPv4-mapped IPv6 networks are stored as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// A list of networks. An empty list contains no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Networks(Arc<[Network]>);

/// The error for a text that is not a network or a list of networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a list of networks has IP addresses, each with a prefix length unless it is a single host, such as 10.0.0.0/8"
)]
pub struct NoNetworks;

/// The prefix length of IPv4-mapped IPv6 addresses.
const MAPPED: u8 = 96;

impl Network {
    /// Reads `10.0.0.0/8`, `2001:db8::/32` or a single address.
    ///
    /// # Errors
    /// [`NoNetworks`] for anything else: netmasks, ranges, names, and networks that hold IPv4-mapped addresses and
    /// others.
    pub fn parse(text: &str) -> Result<Network, NoNetworks> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| NoNetworks)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => bits.parse().map_err(|_| NoNetworks)?,
            Some(_) => return Err(NoNetworks),
        };
        let canonical = address.to_canonical();
        let bits = match (address == canonical, bits) {
            (true, bits) if bits <= most => bits,
            (false, MAPPED..=128) => bits - MAPPED,
            _ => return Err(NoNetworks),
        };
        Ok(Network { address: canonical, bits })
    }

    /// Reports whether the network contains this address. An IPv4-mapped IPv6 address is compared as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differs = own.to_bits() ^ other.to_bits();
                differs.checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differs = own.to_bits() ^ other.to_bits();
                differs.checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Networks {
    /// An address of each network.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.0.iter().map(|network| network.address)
    }

    /// Collects networks into a list.
    pub fn of(networks: impl IntoIterator<Item = Network>) -> Networks {
        Networks(networks.into_iter().collect())
    }

    /// Reads a list separated by commas or spaces. `None`: the text is empty.
    ///
    /// # Errors
    /// [`NoNetworks`] if any member cannot be read, and for a text of separators alone.
    pub fn parse(text: &str) -> Result<Option<Networks>, NoNetworks> {
        if text.is_empty() {
            return Ok(None);
        }
        let members = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|member| !member.is_empty());
        Networks::all(members)?.ok_or(NoNetworks).map(Some)
    }

    /// Reads a PostgreSQL array: `{10.0.0.0/8,::1}`. `None`: the array is empty.
    ///
    /// # Errors
    /// [`NoNetworks`] if any member cannot be read.
    pub fn from_array(text: &str) -> Result<Option<Networks>, NoNetworks> {
        let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).ok_or(NoNetworks)?;
        if inner.is_empty() { Ok(None) } else { Networks::all(inner.split(',').map(unquoted)) }
    }

    /// Reads JSON: a list of texts, or one text as [`Networks::parse`] reads it. `None`: the list or text is empty, or
    /// the value is `null`.
    ///
    /// # Errors
    /// [`NoNetworks`] for every other value, and if any member cannot be read.
    pub fn from_json(text: &str) -> Result<Option<Networks>, NoNetworks> {
        match serde_json::from_str(text).map_err(|_| NoNetworks)? {
            Value::Null => Ok(None),
            Value::String(list) => Networks::parse(&list),
            Value::Array(members) => {
                let members = members.iter().map(|member| member.as_str().ok_or(NoNetworks));
                Networks::all(members.collect::<Result<Vec<_>, _>>()?.into_iter())
            }
            Value::Bool(_) | Value::Number(_) | Value::Object(_) => Err(NoNetworks),
        }
    }

    fn all<'t>(members: impl Iterator<Item = &'t str>) -> Result<Option<Networks>, NoNetworks> {
        let networks = members.map(|member| Network::parse(member.trim())).collect::<Result<Vec<_>, _>>()?;
        Ok((!networks.is_empty()).then(|| Networks::of(networks)))
    }

    /// Reports whether one of the networks contains this address.
    pub fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Iterates over the networks.
    pub fn iter(&self) -> impl Iterator<Item = &Network> {
        self.0.iter()
    }
}

/// Separates the members with commas.
impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, network) in self.0.iter().enumerate() {
            write!(f, "{}{network}", if place == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// Removes the quotes around a member of a PostgreSQL array.
fn unquoted(member: &str) -> &str {
    member.strip_prefix('"').and_then(|member| member.strip_suffix('"')).unwrap_or(member)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_parsed_in_every_notation_and_contain_their_addresses() {
        type Parse = fn(&str) -> Result<Option<Networks>, NoNetworks>;
        let lists: [(Parse, &str); 9] = [
            (Networks::parse, "10.0.0.0/8"),
            (Networks::parse, "10.1.2.3/8"),
            (Networks::parse, "::ffff:10.0.0.0/104"),
            (Networks::parse, "192.0.2.1, 10.0.0.0/8"),
            (Networks::parse, "192.0.2.1\n10.0.0.0/8 "),
            (Networks::from_array, "{10.0.0.0/8}"),
            (Networks::from_array, "{192.0.2.1/32,\"10.0.0.0/8\"}"),
            (Networks::from_json, "[\"10.0.0.0/8\", \"2001:db8::/32\"]"),
            (Networks::from_json, "\"10.0.0.0/8\""),
        ];
        for (parse, list) in lists {
            let networks = parse(list).unwrap().unwrap();
            for (address, is_in) in
                [("10.9.9.9", true), ("::ffff:10.9.9.9", true), ("11.0.0.0", false), ("2001:db9::1", false)]
            {
                assert_eq!(networks.contain(address.parse().unwrap()), is_in, "{list} {address}");
            }
        }
        for (list, address, is_in) in [
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "203.0.113.9", false),
            ("203.0.113.9", "203.0.113.9", true),
            ("203.0.113.9/32", "203.0.113.8", false),
            ("::ffff:203.0.113.9", "203.0.113.9", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::1", "2001:db8::2", false),
            ("203.0.113.8/31", "203.0.113.9", true),
            ("203.0.113.8/31", "203.0.113.10", false),
        ] {
            let networks = Networks::parse(list).unwrap().unwrap();
            assert_eq!(networks.contain(address.parse().unwrap()), is_in, "{list} {address}");
        }
    }

    #[test]
    fn an_empty_list_is_no_restriction_and_a_list_with_an_invalid_member_is_an_error() {
        assert_eq!(Networks::parse(""), Ok(None));
        assert_eq!(Networks::from_array("{}"), Ok(None));
        for empty in ["[]", " [ ] ", "null", "\"\""] {
            assert_eq!(Networks::from_json(empty), Ok(None), "{empty:?}");
        }
        for odd in [
            ",",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "/8",
            "10.0.0.0/255.0.0.0",
            "10.0.0.0/8/8",
            "10.0.0",
            "010.0.0.1",
            "10.0.0.1-10.0.0.9",
            "localhost",
            "*",
            "fe80::1%eth0",
            "::ffff:0:0/90",
            "::/129",
            "10.0.0.0/8;11.0.0.0/8",
            "10.0.0.0/8, x",
            "{NULL}",
            "{10.0.0.0/8,}",
            "{\"\"}",
            "{10.0.0.0/8",
            "{{10.0.0.0/8}}",
            "[\"\"]",
            "[null]",
            "[10]",
            "[\"10.0.0.0/8\"",
            "[[\"10.0.0.0/8\"]]",
            "{\"a\": \"10.0.0.0/8\"}",
            "NULL",
            "true",
            "10.0.0.0/8\0",
        ] {
            for parse in [Networks::parse, Networks::from_array, Networks::from_json] {
                assert_eq!(parse(odd), Err(NoNetworks), "{odd:?}");
            }
        }
        // Each notation is that of its type alone: `{}` is an empty array, and no list in a text or in JSON.
        for odd in ["{}", "[]", "{10.0.0.0/8}", "[\"10.0.0.0/8\"]", "null", "  "] {
            assert_eq!(Networks::parse(odd), Err(NoNetworks), "{odd:?}");
        }
        for odd in ["", " {}", "[]", "null", "10.0.0.0/8", "[\"10.0.0.0/8\"]"] {
            assert_eq!(Networks::from_array(odd), Err(NoNetworks), "{odd:?}");
        }
        for odd in ["", "{}", "10.0.0.0/8", "{10.0.0.0/8}", "0", "false"] {
            assert_eq!(Networks::from_json(odd), Err(NoNetworks), "{odd:?}");
        }
    }
}
