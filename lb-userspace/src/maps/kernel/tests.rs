//! The same writes to maps in the kernel and in memory. Needs root: it creates maps.

mod carried;
mod flows;
mod sockets;

use std::net::SocketAddr;
use std::path::PathBuf;

use aya::Pod;
use aya::maps::lpm_trie::LpmTrie;
use aya::maps::{Array, Map, PerCpuArray};
use ipnet::IpNet;
use lb_common::abi::address::{At, ServiceCidr};
use lb_common::abi::backend::Backend;
use lb_common::abi::carried::Carried;
use lb_common::abi::counter::Counter;
use lb_common::abi::flow::{Flow, FlowKey, Hook};
use lb_common::abi::frontend::{Frontend, FrontendKey};
use lb_common::abi::prefix::Ranged;
use lb_common::abi::service::SlotRange;
use lb_common::abi::socket::{Socket, SocketKey};
use lb_common::abi::{capacity, counter};
use lb_common::clock::Ticks;
use lb_common::net::{Address, Port, protocol};
use nix::mount::{MsFlags, mount, umount};

use super::*;
use crate::maps::fake::Fake;
use crate::maps::{
    AddressEntry, BackendEntry, FrontendEntry, addresses_map, backends_map, clients_map, flows_map,
    frontends_map, service_cidrs_map, sockets_map, source_ranges_map,
};
use crate::model::Protocol;
use crate::plan::{Client, FrontendAddress, InterfaceEntry};

/// `BPF_F_MMAPABLE`, since Linux 5.5.
const MMAPABLE: u32 = 1 << 10;
/// `BPF_F_NO_PREALLOC`, without which there are no tries.
const NO_PREALLOC: u32 = 1;

const SMALL: Capacities = Capacities {
    frontends: 2,
    services: 4,
    slots: 600,
    backends: 8,
    flows: 8,
    clients: 8,
    source_ranges: 8,
    sockets: 8,
};

/// Whether maps can be created here; without root a test says that it checked nothing, and fails
/// where `CI` is set.
fn can_create_maps() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    assert!(is_root || std::env::var_os("CI").is_none(), "needs root");
    if !is_root {
        tracing::warn!("not root: nothing was checked");
    }
    is_root
}

/// A BPF file system of our own, unmounted at the end.
struct Pins(tempfile::TempDir);

impl Pins {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        mount(Some("bpf"), directory.path(), Some("bpf"), MsFlags::empty(), None::<&str>).unwrap();
        Self(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        umount(self.0.path()).unwrap();
    }
}

/// Fresh maps in the kernel.
fn kernel_maps() -> KernelMaps {
    let pins = Pins::new();
    pin_twins::<Addr4>(&pins);
    pin_twins::<Addr6>(&pins);
    let services = Array::<_, Service>::create(SMALL.services, MMAPABLE).unwrap();
    services.pin(pins.path(map::SERVICES)).unwrap();
    let slots = Array::<_, Slot>::create(SMALL.slots, MMAPABLE).unwrap();
    slots.pin(pins.path(map::SLOTS)).unwrap();
    let names = HashMap::<_, u32, ServiceName>::create(SMALL.services, 0).unwrap();
    names.pin(pins.path(map::SERVICE_NAMES)).unwrap();
    let carried = Array::<_, Carried>::create(SMALL.services, MMAPABLE).unwrap();
    carried.pin(pins.path(map::SERVICE_CARRIED)).unwrap();
    let counters = PerCpuArray::<_, u64>::create(counter::CAPACITY, 0).unwrap();
    counters.pin(pins.path(map::COUNTERS)).unwrap();
    let interfaces = HashMap::<_, u32, Interface>::create(8, 0).unwrap();
    interfaces.pin(pins.path(map::INTERFACES)).unwrap();
    KernelMaps::from_pins(pins.0.path()).unwrap()
}

fn pin_twins<A: Address + Pod>(pins: &Pins)
where
    Ranged<A>: Pod,
    ServiceCidr<A>: Pod,
    FrontendKey<A>: Pod,
    Backend<A>: Pod,
    FlowKey<A>: Pod,
    Flow<A>: Pod,
    SocketKey<A>: Pod,
    Socket<A>: Pod,
{
    let frontends = HashMap::<_, FrontendKey<A>, Frontend>::create(SMALL.frontends, 0).unwrap();
    frontends.pin(pins.path(frontends_map(A::FAMILY))).unwrap();
    let backends = Array::<_, Backend<A>>::create(SMALL.backends, MMAPABLE).unwrap();
    backends.pin(pins.path(backends_map(A::FAMILY))).unwrap();
    let flows = HashMap::<_, FlowKey<A>, Flow<A>>::create(SMALL.flows, 0).unwrap();
    flows.pin(pins.path(flows_map(A::FAMILY))).unwrap();
    let sockets = HashMap::<_, SocketKey<A>, Socket<A>>::create(SMALL.sockets, 0).unwrap();
    sockets.pin(pins.path(sockets_map(A::FAMILY))).unwrap();
    let addresses = HashMap::<_, A, At>::create(SMALL.frontends, 0).unwrap();
    addresses.pin(pins.path(addresses_map(A::FAMILY))).unwrap();
    let ranges = LpmTrie::<_, Ranged<A>, u32>::create(SMALL.source_ranges, NO_PREALLOC).unwrap();
    ranges.pin(pins.path(source_ranges_map(A::FAMILY))).unwrap();
    let clients = LpmTrie::<_, A, u32>::create(SMALL.clients, NO_PREALLOC).unwrap();
    clients.pin(pins.path(clients_map(A::FAMILY))).unwrap();
    let cidrs = Array::<_, ServiceCidr<A>>::create(capacity::SERVICE_CIDRS, MMAPABLE).unwrap();
    cidrs.pin(pins.path(service_cidrs_map(A::FAMILY))).unwrap();
}

fn frontend(address: &str, protocol: Protocol) -> FrontendAddress {
    let address: SocketAddr = address.parse().unwrap();
    FrontendAddress { ip: address.ip(), port: address.port(), protocol }
}

fn put_backend(id: BackendId, address: &str, serving: bool, local: bool) -> Write {
    let address: SocketAddr = address.parse().unwrap();
    let service = if address.is_ipv4() { 1 } else { 2 };
    let entry = BackendEntry {
        address,
        service,
        generation: 7,
        serving,
        local,
        in_cluster_list: serving,
        in_local_list: local,
    };
    Write::PutBackend(entry.family(), id, entry)
}

fn net(prefix: &str) -> IpNet {
    prefix.parse().unwrap()
}

fn nets(prefixes: &[&str]) -> Vec<IpNet> {
    prefixes.iter().map(|prefix| net(prefix)).collect()
}

fn interface(v4: &str, v6: &str) -> InterfaceEntry {
    InterfaceEntry { workload: false, v4: v4.parse().ok(), v6: v6.parse().ok() }
}

/// What is written of addresses, prefixes and interfaces, while service 1 is guarded and closed.
fn prefix_writes() -> Vec<Write> {
    let (pod, node) =
        (Client { pod: true, ..Client::default() }, Client { node: true, ..Client::default() });
    let both = Client { node: true, untold: true, pod: false };
    let closed = |closed| AddressEntry { closed };
    let guarded = FrontendEntry { service: 1, guarded: true, closed: true, ..Default::default() };
    let v4 = frontend("10.96.0.10:80", Protocol::Tcp);
    vec![
        Write::PutSourceRange(1, net("203.0.113.200/25")),
        Write::PutSourceRange(1, net("0.0.0.0/0")),
        Write::PutSourceRange(2, net("203.0.113.128/25")),
        Write::PutSourceRange(2, net("2001:db8::/33")),
        Write::PutFrontend(v4, guarded),
        Write::PutAddress(v4.ip, closed(true)),
        Write::PutAddress("fd96::a".parse().unwrap(), closed(false)),
        Write::PutAddress(v4.ip, closed(false)),
        Write::DeleteSourceRange(1, net("203.0.113.128/25")),
        Write::DeleteSourceRange(2, net("203.0.113.128/26")),
        Write::PutAddress("10.96.0.99".parse().unwrap(), closed(false)),
        Write::DeleteAddress("10.96.0.99".parse().unwrap()),
        Write::DeleteAddress("10.96.0.99".parse().unwrap()),
        Write::PutClient(net("10.244.0.0/16"), pod),
        Write::PutClient(net("10.244.3.1/32"), node),
        Write::PutClient(net("::/0"), Client { untold: true, ..Client::default() }),
        Write::PutClient(net("fd00::9/128"), both),
        Write::PutClient(net("10.244.0.9/16"), node),
        Write::DeleteClient(net("10.244.3.1/32")),
        Write::DeleteClient(net("10.244.3.1/32")),
        Write::PutServiceCidrs(Family::V4, nets(&["10.96.0.0/12", "172.30.0.0/31"])),
        Write::PutServiceCidrs(Family::V6, nets(&["fd96::/108", "fd97::/48", "fd98::1/128"])),
        Write::PutServiceCidrs(Family::V6, nets(&["fd97::/64", "fd98::/112"])),
        Write::PutServiceCidrs(Family::V4, vec![net("10.96.0.0/16"); 8]),
        Write::PutServiceCidrs(Family::V4, vec![]),
        Write::PutInterface(0, interface("192.168.0.11", "fd00::11")),
        Write::PutInterface(7, InterfaceEntry { workload: true, ..InterfaceEntry::default() }),
        Write::PutInterface(u32::MAX, interface("10.244.1.0", "::1")),
        Write::PutInterface(
            7,
            InterfaceEntry { workload: true, ..interface("10.0.0.1", "fd00::1") },
        ),
        Write::DeleteInterface(7),
        Write::DeleteInterface(7),
    ]
}

/// One of every kind of write, each after what it needs.
fn writes() -> Vec<Write> {
    let (v4, v6) =
        (frontend("10.96.0.10:80", Protocol::Tcp), frontend("[fd96::a]:53", Protocol::Udp));
    let entry = |service| FrontendEntry {
        service,
        local: service == 2,
        external: service == 1,
        ..FrontendEntry::default()
    };
    let lists = |cluster, local| ServiceEntry { cluster, local, usable: true, affinity_s: 10_800 };
    vec![
        put_backend(1, "10.1.0.2:8080", true, true),
        put_backend(7, "10.1.1.3:65535", false, false),
        put_backend(7, "[fd01::3]:53", true, false),
        put_backend(2, "10.1.1.4:1", true, false),
        Write::FreeBackend(Family::V4, 2),
        Write::FreeBackend(Family::V6, 3),
        Write::PutSlots { offset: 0, backends: vec![1, 7, 1] },
        Write::PutSlots { offset: 599, backends: vec![7] },
        Write::PutService(1, lists(SlotRange::new(0, 2), SlotRange::new(2, 1))),
        Write::PutService(2, lists(SlotRange::new(599, 1), SlotRange::EMPTY)),
        Write::PutService(3, lists(SlotRange::EMPTY, SlotRange::EMPTY)),
        Write::PutServiceName(1, "demo/web:http/TCP".to_owned(), Family::V4),
        Write::PutServiceName(2, "demo/dns/UDP".to_owned(), Family::V6),
        Write::PutServiceName(3, "demo/gone/TCP".to_owned(), Family::V4),
        Write::PutFrontend(v4, entry(1)),
        Write::PutFrontend(v6, entry(2)),
        Write::PutFrontend(frontend("10.96.0.10:80", Protocol::Sctp), entry(1)),
        Write::DeleteFrontend(frontend("10.96.0.10:80", Protocol::Sctp)),
        Write::DeleteFrontend(frontend("10.96.0.11:80", Protocol::Tcp)),
        Write::FreeService(3),
        Write::DeleteServiceName(3),
        Write::DeleteServiceName(3),
        put_backend(7, "10.1.1.3:65535", true, true),
    ]
}

#[test]
fn the_kernel_holds_what_memory_holds_after_every_write() {
    if !can_create_maps() {
        return;
    }
    let (mut kernel, mut fake) = (kernel_maps(), Fake::new(SMALL));
    assert_eq!(kernel.capacities(), fake.capacities());
    for write in writes().into_iter().chain(prefix_writes()) {
        kernel.apply(&write).unwrap();
        fake.apply(&write).unwrap();
        assert_eq!(kernel.snapshot().unwrap(), fake.snapshot().unwrap(), "{write:?}");
    }
}

#[test]
fn a_full_map_names_the_setting_to_raise() {
    if !can_create_maps() {
        return;
    }
    let mut maps = kernel_maps();
    let entry = FrontendEntry { service: 1, ..FrontendEntry::default() };
    let lists = ServiceEntry {
        cluster: SlotRange::EMPTY,
        local: SlotRange::EMPTY,
        usable: false,
        affinity_s: 0,
    };
    let mut refusals = (1u16..=3)
        .map(|port| {
            Write::PutFrontend(
                FrontendAddress { port, ..frontend("10.96.0.1:1", Protocol::Tcp) },
                entry,
            )
        })
        .chain([
            Write::PutSlots { offset: 599, backends: vec![1, 1] },
            Write::PutService(4, lists),
            put_backend(8, "10.1.0.2:80", true, true),
            Write::PutServiceCidrs(Family::V4, vec![net("10.96.0.0/16"); 9]),
        ])
        .chain((1u8..=3).map(|host| {
            Write::PutAddress([10, 96, 0, host].into(), AddressEntry { closed: false })
        }))
        .chain((0u8..=8).map(|length| {
            Write::PutClient(IpNet::new_assert([10, 0, 0, 0].into(), length + 8), Client::default())
        }))
        .chain(
            (0u8..=8).map(|length| {
                Write::PutSourceRange(1, IpNet::new_assert([0xfd; 16].into(), length))
            }),
        )
        .filter_map(|write| maps.apply(&write).err())
        .map(|error| error.to_string());
    let mut next = || refusals.next().unwrap();
    assert_eq!(next(), "map FRONTENDS_V4 is full at 2 entries; raise --max-frontends");
    assert_eq!(next(), "map SLOTS is full at 600 entries; raise --max-slots");
    assert_eq!(next(), "map SERVICES is full at 4 entries; raise --max-services");
    assert_eq!(next(), "map BACKENDS_V4 is full at 8 entries; raise --max-backends");
    let fixed = "map SVC_CIDRS_V4 is full at 8 entries; its size is fixed, so have fewer of them";
    assert_eq!(next(), fixed);
    assert_eq!(next(), "map ADDRESSES_V4 is full at 2 entries; raise --max-frontends");
    assert_eq!(next(), "map CLIENTS_V4 is full at 8 entries; raise --max-clients");
    assert_eq!(next(), "map SRC_RANGES_V6 is full at 8 entries; raise --max-source-ranges");
    assert_eq!(refusals.next(), None);
}

#[test]
fn what_is_of_the_other_family_or_everything_is_refused() {
    if !can_create_maps() {
        return;
    }
    let mut maps = kernel_maps();
    for prefix in ["fd96::/64", "0.0.0.0/0"] {
        let error = maps.apply(&Write::PutServiceCidrs(Family::V4, vec![net(prefix)])).unwrap_err();
        assert!(matches!(error, MapError::Kernel { map: map::SERVICE_CIDRS_V4, .. }), "{error}");
    }
    assert_eq!(maps.snapshot().unwrap(), Snapshot::default());
}

#[test]
fn what_the_array_holds_is_what_a_system_call_reads() {
    if !can_create_maps() {
        return;
    }
    let pins = Pins::new();
    Array::<_, Backend<Addr6>>::create(4, MMAPABLE).unwrap().pin(pins.path("array")).unwrap();
    let open = || MapData::from_pin(pins.path("array")).unwrap();
    let mapped = MappedArray::<Backend<Addr6>>::new(&open()).unwrap();
    let array = Array::<_, Backend<Addr6>>::try_from(Map::from_map_data(open()).unwrap()).unwrap();
    let value = |tag: u8| Backend {
        addr: Addr6::from_octets([tag; 16]),
        port: Port::from_host(u16::from(tag)),
        flags: u16::from(tag) << 8,
        generation: u32::from(tag) << 16,
        service: u32::from(tag) << 24,
    };
    let values = || (0u32..).zip((1..=4).map(value));
    values().for_each(|(index, value)| mapped.store(index, &value, 2).unwrap());
    for (index, value) in values() {
        assert_eq!(array.get(&index, 0).unwrap(), value);
        assert_eq!(mapped.load(index), Some(value));
    }
    assert_eq!((mapped.store(4, &value(1), 2), mapped.load(4)), (None, None));
}

fn flow_to<A: Address>(key: &FlowKey<A>, seen: Ticks) -> Flow<A> {
    Flow {
        packets: 3,
        bytes: 180,
        src: key.src,
        dst: key.dst,
        src_port: key.src_port,
        dst_port: key.dst_port,
        backend: 1,
        generation: 2,
        service: 3,
        seen,
        flags: 0,
        state: 0,
        opening: 0,
    }
}

#[test]
fn flows_and_counters_are_read() {
    if !can_create_maps() {
        return;
    }
    let mut maps = kernel_maps();
    let key = FlowKey {
        src: Addr4::from_octets([10, 1, 0, 2]),
        dst: Addr4::from_octets([10, 96, 0, 10]),
        src_port: Port::from_host(40_000),
        dst_port: Port::from_host(80),
        protocol: protocol::TCP,
        hook: Hook::Egress as u8,
        pad: [0; 2],
    };
    let flow = flow_to(&key, Ticks(4));
    maps.v4.flows.insert(key, flow, 0).unwrap();
    assert_eq!(maps.flows().unwrap(), [FlowRow::new(&key, &flow)]);
    let on_each_cpu = vec![2; aya::util::nr_cpus().unwrap()];
    let total = 2 * on_each_cpu.len() as u64;
    maps.counters
        .0
        .set(Counter::RejectNoEndpoint as u32, on_each_cpu.try_into().unwrap(), 0)
        .unwrap();
    let row = |row: &CounterRow| (row.name == "reject_no_endpoint").then_some(row.value);
    assert_eq!(maps.counters().unwrap().iter().find_map(row), Some(total));
}
