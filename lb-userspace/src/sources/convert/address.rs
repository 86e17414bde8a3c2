//! Addresses and prefixes as Kubernetes accepts them.
//!
//! Octets of an IPv4 address may have leading zeros and are decimal all the same: stored objects
//! from before CVE-2021-29923 have them, and reading them as octal would be another address.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

/// An address that a client can dial or an endpoint can have.
pub(super) fn unicast(text: &str) -> Result<IpAddr, String> {
    let address = parse(text).ok_or_else(|| format!("{text:?} is not an IP address"))?;
    let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    if address.is_unspecified() || address.is_loopback() || address.is_multicast() || broadcast {
        return Err(format!("{address} cannot be load balanced; use a unicast address"));
    }
    Ok(address)
}

/// A prefix; host bits are cleared.
pub(super) fn prefix(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let parsed = text.split_once('/').and_then(|(address, length)| {
        let (written, length) = (parse_as_written(address)?, length.parse::<u8>().ok()?);
        let canonical = written.to_canonical();
        // Of an IPv4 address in IPv6 notation the first 96 bits say nothing.
        let skipped = if written == canonical { 0 } else { 96 };
        IpNet::new(canonical, length.checked_sub(skipped)?).ok()
    });
    parsed
        .map(|prefix| prefix.trunc())
        .ok_or_else(|| format!("{text:?} is not a CIDR such as 10.0.0.0/8"))
}

fn parse(text: &str) -> Option<IpAddr> {
    parse_as_written(text).map(|address| address.to_canonical())
}

fn parse_as_written(text: &str) -> Option<IpAddr> {
    if text.contains(':') { text.parse().ok() } else { parse_v4(text).map(IpAddr::V4) }
}

fn parse_v4(text: &str) -> Option<Ipv4Addr> {
    let octets: Vec<u8> = text.split('.').map(decimal).collect::<Option<_>>()?;
    <[u8; 4]>::try_from(octets).ok().map(Ipv4Addr::from)
}

fn decimal(octet: &str) -> Option<u8> {
    octet.bytes().all(|byte| byte.is_ascii_digit()).then(|| octet.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_kubernetes_reads_them() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(unicast(text).ok(), expected.map(|ip| ip.parse().unwrap()), "{text}");
        };
        check("10.0.0.1", Some("10.0.0.1"));
        check("010.096.000.010", Some("10.96.0.10"));
        check("fd00::1", Some("fd00::1"));
        check("::ffff:10.0.0.1", Some("10.0.0.1"));
        for bad in ["", "10.0.0", "10.0.0.256", "10.0.0.+1", "10.0.0.1.2", "10.0.0.", "x", "::g"] {
            check(bad, None);
        }
        for special in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::", "::1"] {
            check(special, None);
        }
    }

    #[test]
    fn prefixes_are_trimmed_and_lose_their_host_bits() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(prefix(text).ok(), expected.map(|net| net.parse().unwrap()), "{text}");
        };
        check(" 203.0.113.0/25 ", Some("203.0.113.0/25"));
        check("10.1.2.3/8", Some("10.0.0.0/8"));
        check("010.0.0.0/8", Some("10.0.0.0/8"));
        check("fd00::1/64", Some("fd00::/64"));
        check("0.0.0.0/0", Some("0.0.0.0/0"));
        check("::ffff:10.0.0.0/104", Some("10.0.0.0/8"));
        check("::ffff:10.0.0.0/95", None);
        for bad in ["10.0.0.1", "10.0.0.0/33", "fd00::/129", "fd00::/300", "/8", "10.0.0.0/"] {
            check(bad, None);
        }
    }
}
