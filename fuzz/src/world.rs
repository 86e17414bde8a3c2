//! The tables that packets meet: few services, but of every kind, in one family.

use lb_common::abi::frontend::flags::{EXTERNAL, LOCAL, SOURCE_RANGES};
use lb_common::abi::interface;
use lb_common::abi::prefix::client;
use lb_common::native::MemoryTables;

use crate::builders::world::World;
use crate::choices::Choices;
use crate::view::{SCTP, TCP, UDP};

/// The addresses of one family.
#[derive(Debug)]
pub struct Names {
    /// A ClusterIP.
    pub vip: &'static str,
    /// Another ClusterIP, with the same backends.
    pub other: &'static str,
    /// A ClusterIP without endpoints.
    pub empty: &'static str,
    /// A ClusterIP that no service has.
    pub unallocated: &'static str,
    /// The node.
    pub node: &'static str,
    /// The node, at the interface that pods are behind.
    pub gateway: &'static str,
    /// A load balancer's address, for clients of source ranges.
    pub guarded: &'static str,
    /// A backend on this node.
    pub near: &'static str,
    /// A backend on another node.
    pub far: &'static str,
    /// A pod of this node that serves nothing.
    pub pod: &'static str,
    /// Somebody outside.
    pub outside: &'static str,
    cidr: &'static str,
    pods: &'static str,
    range: &'static str,
}

impl Names {
    /// Whether they are IPv6's.
    #[must_use]
    pub fn is_v6(&self) -> bool {
        self.vip.contains(':')
    }
}

/// IPv4's.
pub const V4: Names = Names {
    vip: "10.96.0.10",
    other: "10.96.0.11",
    empty: "10.96.0.12",
    unallocated: "10.96.0.13",
    node: "192.0.2.1",
    gateway: "10.1.0.1",
    guarded: "203.0.113.5",
    near: "10.1.0.2",
    far: "10.2.0.3",
    pod: "10.1.0.9",
    outside: "198.51.100.7",
    cidr: "10.96.0.0/16",
    pods: "10.0.0.0/12",
    range: "198.51.100.0/24",
};

/// IPv6's.
pub const V6: Names = Names {
    vip: "fd00:96::10",
    other: "fd00:96::11",
    empty: "fd00:96::12",
    unallocated: "fd00:96::13",
    node: "2001:db8::1",
    gateway: "fd00:1::1",
    guarded: "2001:db8:5::5",
    near: "fd00:1::2",
    far: "fd00:2::3",
    pod: "fd00:1::9",
    outside: "2001:db8:7::7",
    cidr: "fd00:96::/108",
    pods: "fd00::/30",
    range: "2001:db8:7::/48",
};

/// The interface that pods are behind; the other one is 1.
pub const WORKLOAD: u32 = 2;

/// `address:port`, as it is written in the family of `address`.
#[must_use]
pub fn at(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// Bits of the byte that chooses a world. The lowest two are the setting of masquerading.
pub mod bits {
    /// The flow table takes next to nothing.
    pub const FULL: u8 = 1 << 2;
    /// Nobody can tell pods from others.
    pub const UNTOLD: u8 = 1 << 3;
    /// Packets come by the interface that pods are behind.
    pub const WORKLOAD: u8 = 1 << 4;
    /// The services are IPv6's.
    pub const V6: u8 = 1 << 5;
    /// The node itself sends what leaves.
    pub const OWN: u8 = 1 << 6;
}

/// A world by the next byte of `choices`, and the names of its addresses.
#[must_use]
pub fn chosen(choices: &mut Choices) -> (MemoryTables, &'static Names) {
    let chosen = choices.byte();
    let has = |bit| chosen & bit != 0;
    let names = if has(bits::V6) { &V6 } else { &V4 };
    let world = services(World::default().masquerade(u32::from(chosen & 3)), names);
    let world = if has(bits::UNTOLD) { nobody_told(world, names) } else { told(world, names) };
    let world = if has(bits::FULL) { world.flow_capacity(4) } else { world };
    let world = world.source(interface::NODE, names.node).source(WORKLOAD, names.gateway);
    let mut tables = world.interface(WORKLOAD, interface::flags::WORKLOAD).tables();
    tables.is_own = has(bits::OWN);
    tables.ifindex = if has(bits::WORKLOAD) { WORKLOAD } else { 1 };
    (tables, names)
}

fn services(world: World, names: &Names) -> World {
    let (near, far) = (names.near, names.far);
    let web = [&*at(near, 8080), &*at(far, 8080)];
    let dns = [&*at(near, 53), &*at(far, 5353)];
    let world = world
        .service(TCP, &[&at(names.vip, 80)], &web)
        .policy(0, 1)
        .frontend(TCP, &at(names.node, 30080), EXTERNAL)
        .frontend(TCP, &at(names.node, 30081), EXTERNAL | LOCAL)
        .service(TCP, &[&at(names.other, 80)], &web)
        .affinity(60)
        .service(TCP, &[&at(names.guarded, 443)], &web)
        .policy(EXTERNAL | SOURCE_RANGES, 0)
        .source_range(names.range)
        .service(TCP, &[&at(names.empty, 80)], &[])
        .service(UDP, &[&at(names.vip, 53)], &dns)
        .policy(0, 1)
        .frontend(UDP, &at(names.node, 30053), EXTERNAL)
        .service(UDP, &[&at(names.other, 53)], &dns)
        .service(UDP, &[&at(names.empty, 53)], &[])
        .service(SCTP, &[&at(names.vip, 80), &at(names.other, 80)], &web)
        .frontend(SCTP, &at(names.node, 30080), EXTERNAL)
        .service(SCTP, &[&at(names.empty, 80)], &[]);
    let closed = [names.vip, names.other, names.empty, names.guarded];
    let world = closed.iter().fold(world, |world, address| world.closed(address));
    world.service_cidr(names.cidr)
}

fn told(world: World, names: &Names) -> World {
    let bits = if names.is_v6() { 128 } else { 32 };
    let node = format!("{}/{bits}", names.node);
    world.clients(names.pods, client::POD).clients(&node, client::NODE)
}

fn nobody_told(world: World, names: &Names) -> World {
    world.clients(if names.is_v6() { "::/0" } else { "0.0.0.0/0" }, client::UNTOLD)
}
