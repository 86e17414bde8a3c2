//! The world of the random stories, and what kube-proxy says of it: who may be led where, and who is
//! hidden from whom (kube-proxy-behaviour §4.3), in words that share nothing with the datapath's.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use lb_common::abi::frontend::flags::{EXTERNAL, LOCAL};
use lb_common::abi::interface::NODE;
use lb_common::abi::prefix::client;
use lb_common::abi::settings::masquerade::{ALL, LOCAL_BACKENDS};
use lb_common::net::protocol::{SCTP, TCP, UDP};
use lb_tests::datapath::{Datapath, World};

/// The source ports of masqueraded flows: so few that flows clash.
pub(super) const PORTS: RangeInclusive<u16> = 50_000..=50_031;
/// The port that backends listen at.
pub(super) const BACKEND_PORT: u16 = 8080;
/// Ports that clients use.
pub(super) const CLIENT_PORTS: [u16; 4] = [50_000, 50_001, OTHER_PORT, BACKEND_PORT];
/// One that is not of that range.
pub(super) const OTHER_PORT: u16 = 40_000;
/// How many frontends can be dialled; backends follow them.
pub(super) const FRONTENDS: usize = 4;
/// The client that is the backend on this node.
pub(super) const LOCAL_BACKEND: usize = 1;

/// Who a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Pod,
    OtherNode,
    Outside,
}

/// What a client dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    ClusterIp,
    NodePort,
    /// A load balancer's address under `externalTrafficPolicy: Local`.
    LocalLb,
    /// A backend's own address.
    Direct,
}

/// Addresses of one family.
#[derive(Debug)]
pub(super) struct Cast {
    pub(super) clients: [(&'static str, Who); 6],
    /// What can be dialled. The first three are of one service, the fourth of another one with the
    /// same backends; those follow.
    pub(super) dialled: [(&'static str, Kind); 6],
    /// The address that packets are masqueraded with.
    pub(super) node: &'static str,
    /// Somebody on the way, at either side.
    pub(super) router: &'static str,
    pods: &'static str,
    other_node: &'static str,
}

const V4: Cast = Cast {
    clients: [
        ("10.1.0.9", Who::Pod),
        ("10.1.0.2", Who::Pod),
        ("10.2.0.2", Who::Pod),
        ("192.0.2.7", Who::OtherNode),
        ("203.0.113.9", Who::Outside),
        ("203.0.113.10", Who::Outside),
    ],
    dialled: [
        ("10.96.0.10:80", Kind::ClusterIp),
        ("192.0.2.1:30080", Kind::NodePort),
        ("198.51.100.5:80", Kind::LocalLb),
        ("10.96.0.11:80", Kind::ClusterIp),
        ("10.1.0.2:8080", Kind::Direct),
        ("10.2.0.2:8080", Kind::Direct),
    ],
    node: "192.0.2.1",
    router: "203.0.113.254",
    pods: "10.0.0.0/12",
    other_node: "192.0.2.7/32",
};

const V6: Cast = Cast {
    clients: [
        ("fd00:1::9", Who::Pod),
        ("fd00:1::2", Who::Pod),
        ("fd00:2::2", Who::Pod),
        ("fd00:ffff::7", Who::OtherNode),
        ("2001:db8::9", Who::Outside),
        ("2001:db8::10", Who::Outside),
    ],
    dialled: [
        ("[fd00:96::10]:80", Kind::ClusterIp),
        ("[fd00:ffff::1]:30080", Kind::NodePort),
        ("[2001:db8:5::5]:80", Kind::LocalLb),
        ("[fd00:96::11]:80", Kind::ClusterIp),
        ("[fd00:1::2]:8080", Kind::Direct),
        ("[fd00:2::2]:8080", Kind::Direct),
    ],
    node: "fd00:ffff::1",
    router: "2001:db8::fe",
    pods: "fd00::/30",
    other_node: "fd00:ffff::7/128",
};

impl Cast {
    pub(super) fn of(is_v6: bool) -> &'static Self {
        if is_v6 { &V6 } else { &V4 }
    }

    /// The backend on this node, and the one on another.
    fn backends(&self) -> [&'static str; 2] {
        [self.dialled[FRONTENDS].0, self.dialled[FRONTENDS + 1].0]
    }

    fn serve(&self, world: World, protocol: u8) -> World {
        let [vip, node_port, lb, other] = [0, 1, 2, 3].map(|index| self.dialled[index].0);
        world
            .service(protocol, &[vip], &self.backends())
            .policy(0, 1)
            .frontend(protocol, node_port, EXTERNAL)
            .frontend(protocol, lb, EXTERNAL | LOCAL)
            .service(protocol, &[other], &self.backends())
            .policy(0, 1)
    }

    fn settle(&self, world: World) -> World {
        world
            .clients(self.pods, client::POD)
            .clients(self.other_node, client::NODE)
            .source(NODE, self.node)
    }

    /// Whether `who` may be led from `kind` to `backend`.
    pub(super) fn may_serve(&self, who: Who, kind: Kind, backend: SocketAddr) -> bool {
        let is_here = |at: &str| at.parse() == Ok(backend);
        let [here, there] = self.backends();
        let only_here = kind == Kind::LocalLb && who == Who::Outside;
        is_here(here) || is_here(there) && !only_here
    }

    /// Whether `client`, who dialled `kind`, is to be hidden from `backend`.
    pub(super) fn is_hidden(
        &self,
        setting: u32,
        (client, who): (IpAddr, Who),
        kind: Kind,
        backend: SocketAddr,
    ) -> bool {
        let is_here = self.backends()[0].parse() == Ok(backend);
        match kind {
            Kind::Direct => false,
            _ if client == backend.ip() => true,
            Kind::ClusterIp => who != Who::Pod || setting & ALL != 0,
            Kind::NodePort => !is_here || setting & LOCAL_BACKENDS != 0,
            Kind::LocalLb => who == Who::OtherNode && (!is_here || setting & LOCAL_BACKENDS != 0),
        }
    }
}

/// The datapath with one setting of [`masquerade`](lb_common::abi::settings::masquerade).
pub(super) fn datapath(setting: u32) -> Datapath {
    let world = World::default().masquerade(setting).masquerade_ports(*PORTS.start(), *PORTS.end());
    let world = [&V4, &V6].into_iter().fold(world, |world, cast| {
        let world = [TCP, UDP, SCTP].into_iter().fold(world, |world, it| cast.serve(world, it));
        cast.settle(world)
    });
    Datapath::new(world.tables())
}
