//! What is asked about: `SRC[:PORT]` and `DST:PORT[/PROTOCOL]`.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use lb_common::net::protocol::{SCTP, TCP, UDP};

/// Who sends the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) ip: IpAddr,
    /// The choice of a backend depends on it.
    pub(super) port: Option<u16>,
}

/// What is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) address: SocketAddr,
    /// The number of the IP protocol.
    pub(super) protocol: u8,
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { ip: address.ip(), port: Some(address.port()) });
        }
        let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(text);
        let ip = bare.parse();
        ip.map(|ip| Self { ip, port: None })
            .map_err(|_| "give an address, as 10.1.0.2, 10.1.0.2:40000 or [fd00::2]:40000".into())
    }
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, name) = text.split_once('/').unwrap_or((text, "TCP"));
        let protocol = match name.to_ascii_uppercase().as_str() {
            "TCP" => TCP,
            "UDP" => UDP,
            "SCTP" => SCTP,
            _ => return Err(format!("protocol {name} is not balanced; give TCP, UDP or SCTP")),
        };
        let address = address.parse().map_err(|_| {
            "give an address with a port, as 10.96.0.10:80/TCP or [fd00:96::10]:80".to_owned()
        })?;
        Ok(Self { address, protocol })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(src: &str, ip: &str, port: Option<u16>) {
        assert_eq!(src.parse(), Ok(Source { ip: ip.parse().unwrap(), port }));
    }

    #[test]
    fn a_source_has_a_port_or_has_none() {
        check("10.1.0.2", "10.1.0.2", None);
        check("10.1.0.2:40000", "10.1.0.2", Some(40_000));
        check("fd00::2", "fd00::2", None);
        check("[fd00::2]", "fd00::2", None);
        check("[fd00::2]:40000", "fd00::2", Some(40_000));
    }

    #[test]
    fn a_destination_is_of_tcp_unless_it_says_otherwise() {
        let protocol = |text: &str| text.parse::<Destination>().map(|it| it.protocol);
        assert_eq!(protocol("10.96.0.10:80"), Ok(TCP));
        assert_eq!(protocol("10.96.0.10:53/udp"), Ok(UDP));
        assert_eq!(protocol("[fd00:96::10]:80/SCTP"), Ok(SCTP));
        assert!(protocol("10.96.0.10").unwrap_err().contains("with a port"));
        assert!(protocol("10.96.0.10:1/ICMP").unwrap_err().contains("give TCP, UDP or SCTP"));
    }
}
