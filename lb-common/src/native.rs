//! The datapath over memory: packets as bytes, maps as ordered collections.
//!
//! Tests run the very decisions of the kernel with these.

mod bytes;
mod entry;
mod family;
mod sockets;

pub use bytes::{Bytes, Copied};
pub use entry::Entry;
pub use family::FamilyMaps;

use std::cell::{Cell, RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet};

use crate::abi::address::{At, ServiceCidr};
use crate::abi::affinity::{Affinity, AffinityKey};
use crate::abi::backend::Backend;
use crate::abi::bind::RefusedBind;
use crate::abi::capacity;
use crate::abi::carried::Carried;
use crate::abi::counter::Counter;
use crate::abi::draft::Draft;
use crate::abi::event::{Event, Listener};
use crate::abi::flow::{Flow, FlowKey};
use crate::abi::fragment::{FragmentKey, FragmentPorts};
use crate::abi::frontend::{Frontend, FrontendKey};
use crate::abi::interface::Interface;
use crate::abi::service::Service;
use crate::abi::settings::{DEFAULT_MASQUERADE_PORTS, echo, packed_ports};
use crate::clock::Ticks;
use crate::net::{Addr4, Addr6};
use crate::tables::{Insert, InsertError, Tables};

/// All maps in memory, with the settings.
#[derive(Debug)]
pub struct MemoryTables {
    /// The IPv4 twins.
    pub v4: FamilyMaps<Addr4>,
    /// The IPv6 twins.
    pub v6: FamilyMaps<Addr6>,
    /// `SERVICES`.
    pub services: BTreeMap<u32, Service>,
    /// `SLOTS`.
    pub slots: BTreeMap<u32, u32>,
    /// `INTERFACES`.
    pub interfaces: BTreeMap<u32, Interface>,
    /// The interface that packets come by; by default the one that the kernel's test runs come by.
    pub ifindex: u32,
    /// Whether the node itself has sent the packets; by default so, as in the kernel's test runs.
    pub is_own: bool,
    /// The setting [`MASQUERADE`](crate::abi::settings::MASQUERADE); by default none of its bits.
    pub masquerade: u32,
    /// The setting [`MASQUERADE_PORTS`](crate::abi::settings::MASQUERADE_PORTS); by default the
    /// agent's.
    pub masquerade_ports: u32,
    /// The setting [`VIP_ECHO`](crate::abi::settings::VIP_ECHO); by default they are answered.
    pub vip_echo: u32,
    /// The setting [`TAKEOVER`](crate::abi::settings::TAKEOVER); by default nobody was here before.
    pub takes_over: bool,
    /// The setting [`TERMINATE_TCP`](crate::abi::settings::TERMINATE_TCP); by default connections outlive
    /// their endpoint.
    pub terminates_tcp: bool,
    /// What [`Tables::now`] answers.
    pub now: Cell<Ticks>,
    /// What [`Sockets::random`](crate::tables::Sockets::random) answers next; each answer is one more.
    pub random: Cell<u16>,
    /// `EXEMPT`, its keys; by default none.
    pub exempt: BTreeSet<u64>,
    /// The cgroups above the processes that call and their own, from below the root downwards; by
    /// default none.
    pub cgroups: Vec<u64>,
    /// What was told of processes that may not bind a port.
    pub refused_binds: RefCell<Vec<RefusedBind>>,
    /// How many flow entries fit into each family's table, and as many of sockets; none by default
    /// means no limit.
    pub flow_capacity: Option<usize>,
    /// How many flows of each family may be on probation; by default as many as the agent lets.
    pub probation: usize,
    /// Who listens to events; by default nobody.
    pub listener: Listener,
    /// How many events fit before they are taken; none by default means no limit.
    pub event_capacity: Option<usize>,
    hints: RefCell<BTreeSet<u16>>,
    counters: RefCell<BTreeMap<Counter, u64>>,
    carried: RefCell<BTreeMap<u32, Carried>>,
    events: RefCell<Vec<Event>>,
}

/// Ifindex of the loopback device, by which packets of `BPF_PROG_TEST_RUN` come.
const LOOPBACK: u32 = 1;

impl Default for MemoryTables {
    fn default() -> Self {
        Self {
            v4: FamilyMaps::default(),
            v6: FamilyMaps::default(),
            services: BTreeMap::new(),
            slots: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            ifindex: LOOPBACK,
            is_own: true,
            masquerade: 0,
            masquerade_ports: packed_ports(DEFAULT_MASQUERADE_PORTS),
            vip_echo: echo::ANSWER,
            takes_over: false,
            terminates_tcp: false,
            now: Cell::default(),
            random: Cell::default(),
            exempt: BTreeSet::new(),
            cgroups: Vec::new(),
            refused_binds: RefCell::default(),
            flow_capacity: None,
            probation: capacity::PROBATION as usize,
            listener: Listener::default(),
            event_capacity: None,
            hints: RefCell::default(),
            counters: RefCell::default(),
            carried: RefCell::default(),
            events: RefCell::default(),
        }
    }
}

impl MemoryTables {
    /// What was counted so far; counters at zero are left out.
    #[must_use]
    pub fn counters(&self) -> BTreeMap<Counter, u64> {
        self.counters.borrow().clone()
    }

    /// What each service has carried; those that have carried nothing are left out.
    #[must_use]
    pub fn carried(&self) -> BTreeMap<u32, Carried> {
        let mut all = self.carried.borrow().clone();
        all.retain(|_, carried| *carried != Carried::default());
        all
    }

    /// Takes the events that were told since this was last called.
    #[must_use]
    pub fn take_events(&self) -> Vec<Event> {
        self.events.take()
    }

    fn add(&self, service: u32, more: &Carried) {
        let mut all = self.carried.borrow_mut();
        let sum = all.entry(service).or_default();
        sum.flows += more.flows;
        sum.sockets += more.sockets;
        sum.packets += more.packets;
        sum.bytes += more.bytes;
    }

    fn tell(&self, fill: impl FnOnce(&mut Event)) -> bool {
        let mut events = self.events.borrow_mut();
        let has_room = self.event_capacity.is_none_or(|capacity| events.len() < capacity);
        if has_room {
            let time = u64::from(self.now.get().0) << 30;
            let mut event = Event { time, ifindex: self.ifindex, ..Event::default() };
            fill(&mut event);
            events.push(event);
        }
        has_room
    }
}

macro_rules! memory_tables {
    ($address:ty, $family:ident) => {
        impl Tables<$address> for MemoryTables {
            type Entry = Entry<$address>;
            type Draft = Box<Draft<$address>>;
            type Place<'p> = RefMut<'p, FlowKey<$address>>;

            fn flow(&self, key: &FlowKey<$address>) -> Option<Self::Entry> {
                self.$family.flows.borrow().get(key).cloned()
            }

            fn insert_flow(
                &self,
                key: &FlowKey<$address>,
                flow: &Flow<$address>,
                mode: Insert,
            ) -> Result<(), InsertError> {
                self.$family.insert(key, flow, mode, self.flow_capacity)
            }

            fn draft(&self) -> Option<Self::Draft> {
                Some(Box::default())
            }

            fn place(&self) -> Option<RefMut<'_, FlowKey<$address>>> {
                self.$family.place(self.probation)
            }

            fn is_hinted(&self, place: u16) -> bool {
                self.hints.borrow().contains(&place)
            }

            fn hint(&self, place: u16) {
                self.hints.borrow_mut().insert(place);
            }

            fn remove_flow(&self, key: &FlowKey<$address>) {
                self.$family.flows.borrow_mut().remove(key);
            }

            fn at(&self, addr: &$address) -> Option<At> {
                self.$family.addresses.get(addr).copied()
            }

            fn service_cidr(&self, index: u32) -> Option<ServiceCidr<$address>> {
                self.$family.service_cidrs.get(usize::try_from(index).ok()?).copied()
            }

            fn frontend(&self, key: &FrontendKey<$address>) -> Option<Frontend> {
                self.$family.frontends.get(key).copied()
            }

            fn service(&self, id: u32) -> Option<Service> {
                self.services.get(&id).copied()
            }

            fn slot(&self, index: u32) -> Option<u32> {
                self.slots.get(&index).copied()
            }

            fn backend(&self, id: u32) -> Option<Backend<$address>> {
                self.$family.backends.get(&id).copied()
            }

            fn affinity(&self, key: &AffinityKey<$address>) -> Option<Affinity> {
                self.$family.affinity.borrow().get(key).copied()
            }

            fn remember(&self, key: &AffinityKey<$address>, affinity: &Affinity) {
                self.$family.affinity.borrow_mut().insert(*key, *affinity);
            }

            fn ports(&self, key: &FragmentKey<$address>) -> Option<FragmentPorts> {
                self.$family.fragments.borrow().get(key).copied()
            }

            fn remember_ports(&self, key: &FragmentKey<$address>, ports: &FragmentPorts) {
                self.$family.fragments.borrow_mut().insert(*key, *ports);
            }

            fn server(&self, at: &FrontendKey<$address>) -> Option<FrontendKey<$address>> {
                self.$family.servers.borrow().get(at).copied()
            }

            fn remember_server(&self, at: &FrontendKey<$address>, dialled: &FrontendKey<$address>) {
                self.$family.servers.borrow_mut().insert(*at, *dialled);
            }

            fn resets_pass(&self, key: &FlowKey<$address>) -> Option<Ticks> {
                self.$family.resets.borrow().get(key).copied()
            }

            fn let_resets_pass(&self, key: &FlowKey<$address>, from: Ticks) {
                self.$family.resets.borrow_mut().insert(*key, from);
            }

            fn client(&self, addr: $address) -> Option<u32> {
                self.$family.client(addr)
            }

            fn in_source_ranges(&self, service: u32, addr: $address) -> bool {
                self.$family.in_source_ranges(service, addr)
            }

            fn interface(&self, index: u32) -> Option<Interface> {
                self.interfaces.get(&index).copied()
            }

            fn ifindex(&self) -> u32 {
                self.ifindex
            }

            fn is_own(&self) -> bool {
                self.is_own
            }

            fn masquerade(&self) -> u32 {
                self.masquerade
            }

            fn masquerade_ports(&self) -> u32 {
                self.masquerade_ports
            }

            fn vip_echo(&self) -> u32 {
                self.vip_echo
            }

            fn takes_over(&self) -> bool {
                self.takes_over
            }

            fn terminates_tcp(&self) -> bool {
                self.terminates_tcp
            }

            fn now(&self) -> Ticks {
                self.now.get()
            }

            fn count(&self, counter: Counter) {
                *self.counters.borrow_mut().entry(counter).or_default() += 1;
            }

            fn add(&self, service: u32, more: &Carried) {
                self.add(service, more);
            }

            fn listener(&self) -> Listener {
                self.listener
            }

            fn tell(&self, fill: impl FnOnce(&mut Event)) -> bool {
                self.tell(fill)
            }
        }
    };
}
memory_tables!(Addr4, v4);
memory_tables!(Addr6, v6);
