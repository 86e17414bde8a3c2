//! The rows of addresses, prefixes and interfaces.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::abi::map;
use lb_common::net::Family;
use serde::Serialize;

use super::{Ids, ServiceRef, words};
use crate::maps::{Snapshot, addresses_map, clients_map, service_cidrs_map, source_ranges_map};
use crate::plan::InterfaceEntry;

/// An address that frontends are at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AddressRow {
    /// The map it is in.
    pub map: &'static str,
    /// The address.
    pub address: IpAddr,
    /// What is no frontend's is rejected.
    pub closed: bool,
}

/// A source range of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceRangeRow {
    /// The map it is in.
    pub map: &'static str,
    /// Whose guarded frontends it admits to.
    pub service: ServiceRef,
    /// Whom it admits.
    pub range: String,
}

/// A prefix of clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClientRow {
    /// The map it is in.
    pub map: &'static str,
    /// The prefix.
    pub prefix: String,
    /// Pods.
    pub pod: bool,
    /// This node itself.
    pub node: bool,
    /// Nobody can tell pods from others.
    pub untold: bool,
}

/// A prefix that ClusterIPs are allocated from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceCidrRow {
    /// The map it is in.
    pub map: &'static str,
    /// The prefix.
    pub prefix: String,
}

/// An interface of which something is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InterfaceRow {
    /// Its ifindex.
    pub index: u32,
    /// Pods of this node are behind it.
    pub workload: bool,
    /// The source of masqueraded IPv4 packets that leave here; absent if the node's own, under
    /// index 0, counts.
    pub v4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl SourceRangeRow {
    /// `SRC_RANGES_V4 service=1 203.0.113.0/25`.
    #[must_use]
    pub fn line(&self, ids: Ids) -> String {
        format!("{} service={} {}", self.map, self.service.text(ids), self.range)
    }
}

/// `ADDRESSES_V4 10.96.0.10 closed`.
impl fmt::Display for AddressRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let closed = if self.closed { " closed" } else { "" };
        write!(f, "{} {}{closed}", self.map, self.address)
    }
}

/// `CLIENTS_V4 10.244.0.0/16 pod`.
impl fmt::Display for ClientRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = words(&[("node", self.node), ("pod", self.pod), ("untold", self.untold)]);
        let kinds = if kinds.is_empty() { "outside" } else { &kinds };
        write!(f, "{} {} {kinds}", self.map, self.prefix)
    }
}

/// `SVC_CIDRS_V4 10.96.0.0/16`.
impl fmt::Display for ServiceCidrRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.map, self.prefix)
    }
}

/// `INTERFACES 7 workload 192.168.0.11 fd00::11`.
impl fmt::Display for InterfaceRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let workload = if self.workload { " workload" } else { "" };
        write!(f, "{} {}{workload}", map::INTERFACES, self.index)?;
        let addresses = [self.v4.map(IpAddr::from), self.v6.map(IpAddr::from)];
        addresses.iter().flatten().try_for_each(|address| write!(f, " {address}"))
    }
}

pub(super) fn addresses(snapshot: &Snapshot) -> Vec<AddressRow> {
    let rows = snapshot.addresses.iter().map(|(&address, entry)| AddressRow {
        map: addresses_map(Family::of(&address)),
        address,
        closed: entry.closed,
    });
    rows.collect()
}

pub(super) fn source_ranges(snapshot: &Snapshot) -> Vec<SourceRangeRow> {
    let rows = snapshot.source_ranges.iter().map(|&(id, range)| SourceRangeRow {
        map: source_ranges_map(Family::of(&range.addr())),
        service: ServiceRef::new(id, snapshot),
        range: range.to_string(),
    });
    rows.collect()
}

pub(super) fn clients(snapshot: &Snapshot) -> Vec<ClientRow> {
    let rows = snapshot.clients.iter().map(|(prefix, client)| ClientRow {
        map: clients_map(Family::of(&prefix.addr())),
        prefix: prefix.to_string(),
        pod: client.pod,
        node: client.node,
        untold: client.untold,
    });
    rows.collect()
}

pub(super) fn service_cidrs(snapshot: &Snapshot) -> Vec<ServiceCidrRow> {
    let rows = snapshot.service_cidrs.iter().map(|prefix| ServiceCidrRow {
        map: service_cidrs_map(Family::of(&prefix.addr())),
        prefix: prefix.to_string(),
    });
    rows.collect()
}

pub(super) fn interfaces(snapshot: &Snapshot) -> Vec<InterfaceRow> {
    let row = |(&index, entry): (&u32, &InterfaceEntry)| {
        let InterfaceEntry { workload, v4, v6 } = *entry;
        InterfaceRow { index, workload, v4, v6 }
    };
    snapshot.interfaces.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;

    use super::*;
    use crate::maps::AddressEntry;
    use crate::maps::dump::Dump;
    use crate::plan::Client;

    #[test]
    fn every_row_is_a_line() {
        let net = |prefix: &str| prefix.parse::<IpNet>().unwrap();
        let both = Client { node: true, untold: true, ..Client::default() };
        let addressed = InterfaceEntry {
            workload: false,
            v4: "192.168.0.11".parse().ok(),
            v6: "fd00::11".parse().ok(),
        };
        let pods = InterfaceEntry { workload: true, ..InterfaceEntry::default() };
        let snapshot = Snapshot {
            names: [(1, ("demo/web:http/TCP".to_owned(), Family::V4))].into(),
            addresses: [
                ("10.96.0.10".parse().unwrap(), AddressEntry { closed: true }),
                ("fd96::a".parse().unwrap(), AddressEntry { closed: false }),
            ]
            .into(),
            source_ranges: [(1, net("203.0.113.0/25"))].into(),
            clients: [(net("10.244.0.0/16"), Client::default()), (net("::/0"), both)].into(),
            service_cidrs: [net("10.96.0.0/16")].into(),
            interfaces: [
                (0, addressed),
                (7, InterfaceEntry { workload: true, ..addressed }),
                (8, pods),
            ]
            .into(),
            ..Snapshot::default()
        };
        let text = Dump::new(&snapshot).text(Ids::Masked);
        let lines: Vec<_> = text.lines().skip(1).collect();
        let expected = [
            "ADDRESSES_V4 10.96.0.10 closed",
            "ADDRESSES_V6 fd96::a",
            "SRC_RANGES_V4 service=demo/web:http/TCP 203.0.113.0/25",
            "CLIENTS_V4 10.244.0.0/16 outside",
            "CLIENTS_V6 ::/0 node,untold",
            "SVC_CIDRS_V4 10.96.0.0/16",
            "INTERFACES 0 192.168.0.11 fd00::11",
            "INTERFACES 7 workload 192.168.0.11 fd00::11",
            "INTERFACES 8 workload",
        ];
        assert_eq!(lines, expected);
        assert!(Dump::new(&snapshot).text(Ids::Shown).contains("SRC_RANGES_V4 service=1 203"));
    }
}
