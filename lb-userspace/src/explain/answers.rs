//! What [`Live`] answers to decisions: the kernel's entries, under those that were written since.

use std::cell::RefMut;

use lb_common::abi::address::{At, ServiceCidr, flags};
use lb_common::abi::affinity::{Affinity, AffinityKey};
use lb_common::abi::backend::Backend;
use lb_common::abi::carried::Carried;
use lb_common::abi::counter::Counter;
use lb_common::abi::draft::Draft;
use lb_common::abi::event::{Event, Listener};
use lb_common::abi::flow::{Flow, FlowKey};
use lb_common::abi::fragment::{FragmentKey, FragmentPorts};
use lb_common::abi::frontend::{Frontend, FrontendKey};
use lb_common::abi::interface::{Interface, flags::WORKLOAD};
use lb_common::abi::map;
use lb_common::abi::prefix::client;
use lb_common::abi::service::Service;
use lb_common::clock::Ticks;
use lb_common::net::{Addr4, Addr6, Address as _};
use lb_common::tables::{Insert, InsertError, Tables};

use super::live::{Entry, Live};
use super::step::Step;
use crate::maps::dump::FlowRow;

macro_rules! live_tables {
    ($address:ty, $twin:ident, $frontends:ident, $addresses:ident, $cidrs:ident, $backends:ident, $clients:ident, $ranges:ident, $flows:ident, $affinity:ident, $fragments:ident, $servers:ident, $resets:ident, $probation:ident) => {
        impl Tables<$address> for Live {
            type Entry = Entry<$address>;
            type Draft = Box<Draft<$address>>;
            type Place<'p> = RefMut<'p, FlowKey<$address>>;

            fn flow(&self, key: &FlowKey<$address>) -> Option<Self::Entry> {
                let found = self.known(map::$flows, self.$twin.flows.get(key));
                let row = found.as_ref().map(|flow| FlowRow::new(key, &flow.get()));
                self.note(Step::Flow { entry: key.into(), found: row });
                found.map(Entry)
            }

            fn insert_flow(
                &self,
                key: &FlowKey<$address>,
                flow: &Flow<$address>,
                mode: Insert,
            ) -> Result<(), InsertError> {
                let there = self.known(map::$flows, self.$twin.flows.get(key)).is_some();
                let done = mode == Insert::Replace || !there;
                self.note(Step::Insert { row: FlowRow::new(key, flow), done });
                if !done {
                    return Err(InsertError::Exists);
                }
                self.$twin.flows.put(key, *flow);
                Ok(())
            }

            /// Those that flows left do not say whose they are: a packet is always looked up.
            fn is_hinted(&self, _: u16) -> bool {
                true
            }

            fn hint(&self, _: u16) {}

            fn draft(&self) -> Option<Self::Draft> {
                Some(Box::default())
            }

            fn place(&self) -> Option<Self::Place<'_>> {
                self.known(map::$probation, self.$twin.place())
            }

            fn remove_flow(&self, key: &FlowKey<$address>) {
                self.note(Step::Remove { entry: key.into() });
                self.$twin.flows.remove(key);
            }

            fn at(&self, addr: &$address) -> Option<At> {
                let found = self.read(map::$addresses, self.$twin.addresses.get(addr, 0));
                let closed = found.map(|at| at & flags::CLOSED != 0);
                self.note(Step::Address { address: addr.to_ip(), closed });
                found
            }

            fn service_cidr(&self, index: u32) -> Option<ServiceCidr<$address>> {
                let found = self.read(map::$cidrs, self.$twin.cidrs.get(&index, 0));
                if let Some(cidr) = found.filter(ServiceCidr::is_used) {
                    let (prefix, mask) = (cidr.addr.to_ip(), cidr.mask.to_ip());
                    self.note(Step::ServiceCidr { prefix, mask });
                }
                found
            }

            fn frontend(&self, key: &FrontendKey<$address>) -> Option<Frontend> {
                let found = self.read(map::$frontends, self.$twin.frontends.get(key, 0));
                self.note_frontend(key, found);
                found
            }

            fn service(&self, id: u32) -> Option<Service> {
                let found = self.read(map::SERVICES, self.services.get(&id, 0));
                if let Some(service) = &found {
                    self.note_service(id, service);
                }
                found
            }

            fn slot(&self, index: u32) -> Option<u32> {
                let found = self.read(map::SLOTS, self.slots.get(&index, 0));
                self.note(Step::Slot { slot: index, backend: found });
                found
            }

            fn backend(&self, id: u32) -> Option<Backend<$address>> {
                let found = self.read(map::$backends, self.$twin.backends.get(&id, 0));
                self.note_backend(id, found);
                found
            }

            fn affinity(&self, key: &AffinityKey<$address>) -> Option<Affinity> {
                let found = self.known(map::$affinity, self.$twin.affinity.get(key));
                let found = found.map(|it| it.get());
                let backend = found.map(|it| it.backend);
                self.note(Step::Affinity { client: key.client.to_ip(), backend });
                found
            }

            fn remember(&self, key: &AffinityKey<$address>, affinity: &Affinity) {
                self.$twin.affinity.put(key, *affinity);
            }

            fn ports(&self, key: &FragmentKey<$address>) -> Option<FragmentPorts> {
                self.known(map::$fragments, self.$twin.fragments.get(key)).map(|it| it.get())
            }

            fn remember_ports(&self, key: &FragmentKey<$address>, ports: &FragmentPorts) {
                self.$twin.fragments.put(key, *ports);
            }

            fn server(&self, at: &FrontendKey<$address>) -> Option<FrontendKey<$address>> {
                self.known(map::$servers, self.$twin.servers.get(at)).map(|it| it.get())
            }

            fn remember_server(&self, at: &FrontendKey<$address>, dialled: &FrontendKey<$address>) {
                self.$twin.servers.put(at, *dialled);
            }

            fn resets_pass(&self, key: &FlowKey<$address>) -> Option<Ticks> {
                self.known(map::$resets, self.$twin.resets.get(key)).map(|it| Ticks(it.get()))
            }

            fn let_resets_pass(&self, key: &FlowKey<$address>, from: Ticks) {
                self.$twin.resets.put(key, from.0);
            }

            fn client(&self, addr: $address) -> Option<u32> {
                let found = self.known(map::$clients, self.$twin.client(addr));
                let has = |bit| found.is_some_and(|bits| bits & bit != 0);
                let (pod, node) = (has(client::POD), has(client::NODE));
                self.note(Step::Client { client: addr.to_ip(), pod, node });
                found
            }

            fn in_source_ranges(&self, service: u32, addr: $address) -> bool {
                let found = self.known(map::$ranges, self.$twin.range(service, addr));
                let admitted = found.is_some();
                self.note(Step::SourceRange { client: addr.to_ip(), admitted });
                admitted
            }

            fn interface(&self, index: u32) -> Option<Interface> {
                let found = self.read(map::INTERFACES, self.interfaces.get(&index, 0));
                if let Some(it) = found {
                    let source = it.source::<$address>().map(|source| source.to_ip());
                    let pods = it.flags & WORKLOAD != 0;
                    self.note(Step::Interface { ifindex: index, pods, source });
                }
                found
            }

            fn ifindex(&self) -> u32 {
                self.origin.get().ifindex
            }

            fn is_own(&self) -> bool {
                self.origin.get().is_own
            }

            fn masquerade(&self) -> u32 {
                self.settings.masquerade
            }

            fn masquerade_ports(&self) -> u32 {
                self.settings.masquerade_ports
            }

            fn vip_echo(&self) -> u32 {
                self.settings.vip_echo
            }

            fn takes_over(&self) -> bool {
                self.settings.takes_over
            }

            fn terminates_tcp(&self) -> bool {
                self.settings.terminates_tcp
            }

            fn now(&self) -> Ticks {
                self.now
            }

            fn count(&self, counter: Counter) {
                self.note(Step::Count { counter });
                self.counters.borrow_mut().push(counter);
            }

            /// Nothing: what is only explained was not carried.
            fn add(&self, _: u32, _: &Carried) {}

            /// Nobody: what is only explained has not happened.
            fn listener(&self) -> Listener {
                Listener::default()
            }

            fn tell(&self, _: impl FnOnce(&mut Event)) -> bool {
                true
            }
        }
    };
}
live_tables!(
    Addr4,
    v4,
    FRONTENDS_V4,
    ADDRESSES_V4,
    SERVICE_CIDRS_V4,
    BACKENDS_V4,
    CLIENTS_V4,
    SOURCE_RANGES_V4,
    FLOWS_V4,
    AFFINITY_V4,
    FRAGMENTS_V4,
    SERVERS_V4,
    RESETS_V4,
    PROBATION_V4
);
live_tables!(
    Addr6,
    v6,
    FRONTENDS_V6,
    ADDRESSES_V6,
    SERVICE_CIDRS_V6,
    BACKENDS_V6,
    CLIENTS_V6,
    SOURCE_RANGES_V6,
    FLOWS_V6,
    AFFINITY_V6,
    FRAGMENTS_V6,
    SERVERS_V6,
    RESETS_V6,
    PROBATION_V6
);
