//! What an agent has written, as the tables of the native execution.
//!
//! Written anew from the layouts' documentation, not shared with the kernel's maps: a mistake there
//! shows as a difference between the two executions.

use std::net::SocketAddr;

use lb_common::abi::address::{self, At, ServiceCidr};
use lb_common::abi::backend::{self, Backend};
use lb_common::abi::frontend::{self, Frontend, FrontendKey};
use lb_common::abi::interface::{self, Interface};
use lb_common::abi::prefix::{ClientPrefix, Ranged, SourceRange, client};
use lb_common::abi::service::{self, Service, SlotRange};
use lb_common::native::{FamilyMaps, MemoryTables};
use lb_common::net::{Addr4, Addr6, Address, Port};
use lb_userspace::maps::{AddressEntry, BackendEntry, FrontendEntry, ServiceEntry, Snapshot};
use lb_userspace::plan::{Client, InterfaceEntry};

/// Tables without flows that hold what `snapshot` does, of programs with the setting `masquerade`.
#[must_use]
pub fn tables(snapshot: &Snapshot, masquerade: u32) -> MemoryTables {
    let mut tables = empty(masquerade);
    for (&id, state) in &snapshot.services {
        tables.services.insert(id, to_service(&state.entry));
        for (range, ids) in
            [(state.entry.cluster, &state.cluster), (state.entry.local, &state.local)]
        {
            tables.slots.extend(slots(range).zip(ids.iter().copied()));
        }
    }
    let interfaces = snapshot.interfaces.iter();
    tables.interfaces = interfaces.map(|(&index, entry)| (index, to_interface(entry))).collect();
    fill(&mut tables.v4, snapshot);
    fill(&mut tables.v6, snapshot);
    fill_prefixes(&mut tables.v4, snapshot);
    fill_prefixes(&mut tables.v6, snapshot);
    tables
}

/// Tables that hold nothing but the setting.
pub(super) fn empty(masquerade: u32) -> MemoryTables {
    let mut tables = MemoryTables::default();
    tables.masquerade = masquerade;
    tables
}

fn to_interface(entry: &InterfaceEntry) -> Interface {
    Interface {
        flags: if entry.workload { interface::flags::WORKLOAD } else { 0 },
        v4: entry.v4.map(|ip| Addr4::from_octets(ip.octets())).unwrap_or_default(),
        v6: entry.v6.map(|ip| Addr6::from_octets(ip.octets())).unwrap_or_default(),
    }
}

fn slots(range: SlotRange) -> impl Iterator<Item = u32> {
    range.offset()..range.offset() + range.count()
}

fn fill<A: Address + Ord>(maps: &mut FamilyMaps<A>, snapshot: &Snapshot) {
    for (address, entry) in &snapshot.frontends {
        if let Some(addr) = A::from_ip(address.ip) {
            let port = Port::from_host(address.port);
            let key = FrontendKey::new(addr, port, address.protocol.number());
            maps.frontends.insert(key, to_frontend(*entry));
        }
    }
    for (&ip, entry) in &snapshot.addresses {
        if let Some(addr) = A::from_ip(ip) {
            maps.addresses.insert(addr, to_at(*entry));
        }
    }
    for (&(_, id), entry) in &snapshot.backends {
        if let Some(addr) = A::from_ip(entry.address.ip()) {
            maps.backends.insert(id, to_backend(addr, entry));
        }
    }
}

fn fill_prefixes<A: Address + Ord>(maps: &mut FamilyMaps<A>, snapshot: &Snapshot) {
    for prefix in &snapshot.service_cidrs {
        if let (Some(mask), Some(addr)) =
            (A::from_ip(prefix.netmask()), A::from_ip(prefix.network()))
        {
            maps.service_cidrs.push(ServiceCidr { mask, addr });
        }
    }
    for (prefix, client) in &snapshot.clients {
        if let Some(addr) = A::from_ip(prefix.network()) {
            let key = ClientPrefix { length: u32::from(prefix.prefix_len()), addr };
            maps.clients.insert(key, to_client(*client));
        }
    }
    for &(service, prefix) in &snapshot.source_ranges {
        if let Some(addr) = A::from_ip(prefix.network()) {
            let length = 32 + u32::from(prefix.prefix_len());
            maps.source_ranges.insert(SourceRange { length, range: Ranged { service, addr } });
        }
    }
}

/// The flags that are set.
fn flags<F: Copy + std::ops::BitOr<Output = F> + Default>(all: &[(bool, F)]) -> F {
    all.iter().filter(|(is_set, _)| *is_set).fold(F::default(), |flags, (_, flag)| flags | *flag)
}

fn to_service(entry: &ServiceEntry) -> Service {
    let ServiceEntry { cluster, local, usable, affinity_s } = *entry;
    let flags = flags(&[(true, service::flags::IN_USE), (usable, service::flags::USABLE)]);
    Service { cluster, local, flags, affinity_s }
}

fn to_frontend(entry: FrontendEntry) -> Frontend {
    let FrontendEntry { service, local, external, guarded, closed, node_port } = entry;
    let flags = flags(&[
        (local, frontend::flags::LOCAL),
        (external, frontend::flags::EXTERNAL),
        (guarded, frontend::flags::SOURCE_RANGES),
        (closed, frontend::flags::CLOSED),
        (node_port, frontend::flags::NODE_PORT),
    ]);
    Frontend { service, flags }
}

fn to_at(entry: AddressEntry) -> At {
    flags(&[(true, address::flags::SERVED), (entry.closed, address::flags::CLOSED)])
}

fn to_backend<A>(addr: A, entry: &BackendEntry) -> Backend<A> {
    let flags = flags(&[
        (true, backend::flags::IN_USE),
        (entry.serving, backend::flags::SERVING),
        (entry.local, backend::flags::LOCAL),
        (entry.in_cluster_list, backend::flags::IN_CLUSTER_LIST),
        (entry.in_local_list, backend::flags::IN_LOCAL_LIST),
    ]);
    let BackendEntry { address, generation, service, .. } = *entry;
    let port = Port::from_host(SocketAddr::port(&address));
    Backend { addr, port, flags, generation, service }
}

fn to_client(client: Client) -> u32 {
    flags(&[
        (client.pod, client::POD),
        (client.node, client::NODE),
        (client.untold, client::UNTOLD),
    ])
}
