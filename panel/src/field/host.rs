//! A proxy's host: a name (RFC 1123 §2.1) or an address.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Complaint;
use crate::texts;

/// Longest label of a name (RFC 1035 §2.3.4).
const LABEL_MAX: usize = 63;

/// The entry as it is stored: an IPv4 address loses its leading zeros.
pub(super) fn checked(entry: &str, ipv6_only: bool) -> Result<String, Complaint> {
    if entry.is_empty() {
        return Err(texts::NO_HOST_NAME);
    }
    if ipv6_only && entry.contains(':') {
        let address: Ipv6Addr = entry.parse().map_err(|_| texts::NO_IPV6_ADDRESS)?;
        return Ok(address.to_string());
    }
    if entry.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return ipv4(entry)
            .map(|address| address.to_string())
            .ok_or(texts::NO_HOST_ADDRESS);
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_MAX
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if entry.split('.').all(label) {
        Ok(entry.to_owned())
    } else {
        Err(texts::NO_HOST_NAME)
    }
}

/// Four numbers of up to three digits. Leading zeros mean nothing: that is how the other fields of the
/// panel write addresses.
fn ipv4(entry: &str) -> Option<Ipv4Addr> {
    let numbers: Vec<u8> = entry
        .split('.')
        .map(|number| (number.len() <= 3).then_some(number)?.parse().ok())
        .collect::<Option<_>>()?;
    <[u8; 4]>::try_from(numbers).ok().map(Ipv4Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_told_apart() {
        let v4 = |entry| checked(entry, false);
        assert_eq!(v4("PROXY.EXAMPLE-1.ORG"), Ok("PROXY.EXAMPLE-1.ORG".into()));
        assert_eq!(v4("176.034.020.005"), Ok("176.34.20.5".into()));
        assert_eq!(v4("176.34.20"), Err(texts::NO_HOST_ADDRESS));
        assert_eq!(v4("1.2.3.256"), Err(texts::NO_HOST_ADDRESS));
        assert_eq!(v4(""), Err(texts::NO_HOST_NAME));
        for name in ["A..B", "-A", "A-.B", ".A"] {
            assert_eq!(v4(name), Err(texts::NO_HOST_NAME), "{name}");
        }
    }

    #[test]
    fn an_ipv6_address_is_compressed() {
        let v6 = |entry| checked(entry, true);
        assert_eq!(v6("2001:DB8:0:0:0:0:0:1"), Ok("2001:db8::1".into()));
        assert_eq!(v6("2001:DB8"), Err(texts::NO_IPV6_ADDRESS));
    }
}
