//! What a host may look like.

/// Whether `host` is a host name, an IPv4 address, or an IPv6 address in brackets.
pub(in crate::config) fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(plain);
    host.len() <= 253 && host.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::is_host;

    #[test]
    fn hosts_are_names_or_ip_addresses() {
        for good in ["localhost", "api.example.com", "10.0.0.1", "[::1]", "my_service", "xn--bcher-kva.example"] {
            assert!(is_host(good), "{good}");
        }
        let long = format!("{}.example", "a".repeat(64));
        for bad in
            ["", ".", "a..b", "example.com.", "::1", "[::g]", "a b", "a:80", "*.example.com", "bücher.example", &long]
        {
            assert!(!is_host(bad), "{bad}");
        }
    }
}
