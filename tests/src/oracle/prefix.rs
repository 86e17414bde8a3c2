//! Networks, written `address/length`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::Family;

/// The addresses whose first `length` bits are those of `address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    /// An address in it.
    pub address: IpAddr,
    /// Bits that count, 32 or 128 at most.
    pub length: u32,
}

impl Prefix {
    /// The family of its addresses.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.address)
    }

    /// Whether `address` is one of its addresses.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (prefix, address) = (binary(self.address), binary(address));
        let length = usize::try_from(self.length).expect("a small number");
        prefix.len() == address.len() && prefix[..length] == address[..length]
    }
}

/// The digits of an address in base 2.
fn binary(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("{:032b}", address.to_bits()),
        IpAddr::V6(address) => format!("{:0128b}", address.to_bits()),
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('/').ok_or_else(|| format!("{text:?} has no length"))?;
        let address: IpAddr = parts.0.parse().map_err(|_| format!("{text:?} has no address"))?;
        let length = parts.1.parse().map_err(|_| format!("{text:?} has no length"))?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        if length > bits {
            return Err(format!("{text:?} is longer than an address"));
        }
        Ok(Self { address, length })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(prefix: &str, address: &str, expected: bool) {
        let prefix: Prefix = prefix.parse().unwrap();
        assert_eq!(prefix.contains(address.parse().unwrap()), expected);
    }

    #[test]
    fn a_prefix_holds_the_addresses_that_begin_like_it() {
        check("203.0.113.0/25", "203.0.113.127", true);
        check("203.0.113.0/25", "203.0.113.128", false);
        check("203.0.113.7/32", "203.0.113.7", true);
        check("0.0.0.0/0", "255.255.255.255", true);
        check("0.0.0.0/0", "::1", false);
        check("fd00:1::/64", "fd00:1::9", true);
        check("fd00:1::/64", "fd00:1:0:1::9", false);
    }
}
