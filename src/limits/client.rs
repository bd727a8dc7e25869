//! The definition of one client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One client for all limits per client: an IPv4 address, or the /64 network of an IPv6 address, which is what a
/// provider assigns to one customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client(IpAddr);

impl Client {
    /// All loopback addresses count as one client, because a program on this machine can connect from 127.0.0.2,
    /// 127.0.0.3 and so on.
    pub const THIS_MACHINE: Client = Client(IpAddr::V4(Ipv4Addr::LOCALHOST));

    /// The client that this address belongs to. An IPv4-mapped IPv6 address is the IPv4 address.
    pub fn of(address: IpAddr) -> Client {
        Client(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
            address @ IpAddr::V4(_) => address,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        let client = |text: &str| Client::of(text.parse().unwrap());
        assert_eq!(client("2001:db8:1:2::1"), client("2001:db8:1:2:ffff::"));
        assert_ne!(client("2001:db8:1:2::1"), client("2001:db8:1:3::1"));
        assert_eq!(client("::ffff:10.0.0.1"), client("10.0.0.1"));
        assert_ne!(client("10.0.0.1"), client("10.0.0.2"));
    }
}
