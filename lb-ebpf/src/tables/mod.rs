//! The decisions' view of the maps: what [`Tables`] asks, answered by the twins of one family.

mod carried;
mod flows;
mod settings;
mod sockets;

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::helpers::generated::{bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};
use aya_ebpf::programs::TcContext;
use lb_common::abi::address::{At, ServiceCidr};
use lb_common::abi::affinity::{Affinity, AffinityKey};
use lb_common::abi::backend::Backend;
use lb_common::abi::carried::Carried;
use lb_common::abi::counter::Counter;
use lb_common::abi::draft::Draft;
use lb_common::abi::event::{Event, Listener};
use lb_common::abi::flow::{Flow, FlowKey};
use lb_common::abi::fragment::{FragmentKey, FragmentPorts};
use lb_common::abi::frontend::{Frontend, FrontendKey};
use lb_common::abi::interface::{Interface, NODE};
use lb_common::abi::prefix::{ClientPrefix, SourceRange};
use lb_common::abi::service::Service;
use lb_common::clock::Ticks;
use lb_common::tables::{Insert, InsertError, Tables};

use self::flows::{Entry, take};
pub(crate) use self::sockets::{carrier, keep_carrier};
use crate::frame;
use crate::maps::{self, Twins};

/// The kernel's maps, asked for one packet or for one call of a process.
pub(crate) struct KernelTables<O> {
    origin: O,
}

impl<O: Origin> KernelTables<O> {
    #[inline(always)]
    pub(crate) const fn new(origin: O) -> Self {
        Self { origin }
    }
}

/// Where it comes from that the maps are asked for.
pub(crate) trait Origin {
    /// As [`Tables::ifindex`].
    fn ifindex(&self) -> u32;
    /// As [`Tables::is_own`].
    fn is_own(&self) -> bool;
}

impl Origin for TcContext {
    #[inline(always)]
    fn ifindex(&self) -> u32 {
        frame::interface(self)
    }

    #[inline(always)]
    fn is_own(&self) -> bool {
        frame::came_by(self) == 0
    }
}

/// A process of this machine: no packet yet, no interface.
pub(crate) struct Process;

impl Origin for Process {
    #[inline(always)]
    fn ifindex(&self) -> u32 {
        NODE
    }

    #[inline(always)]
    fn is_own(&self) -> bool {
        true
    }
}

/// `EEXIST`, as the kernel returns it.
const EEXIST: i32 = -17;

impl<A: Twins, O: Origin> Tables<A> for KernelTables<O> {
    type Entry = Entry<A>;
    type Draft = &'static mut Draft<A>;
    type Place<'p>
        = &'p mut FlowKey<A>
    where
        Self: 'p;

    #[inline(always)]
    fn flow(&self, key: &FlowKey<A>) -> Option<Self::Entry> {
        A::flows().get_ptr_mut(key).map(Entry)
    }

    #[inline(always)]
    fn insert_flow(
        &self,
        key: &FlowKey<A>,
        flow: &Flow<A>,
        mode: Insert,
    ) -> Result<(), InsertError> {
        let flags = match mode {
            Insert::Replace => BPF_ANY,
            Insert::IfAbsent => BPF_NOEXIST,
        };
        A::flows().insert(key, flow, u64::from(flags)).map_err(|error| match error {
            EEXIST => InsertError::Exists,
            _ => InsertError::Refused,
        })
    }

    #[inline(always)]
    fn draft(&self) -> Option<Self::Draft> {
        let value = A::draft().get_ptr_mut(0)?;
        // SAFETY: the value belongs to this CPU, and programs of one CPU at TC do not
        // interrupt each other; within one, it is lent to one function at a time.
        Some(unsafe { &mut *value })
    }

    #[inline(always)]
    fn place(&self) -> Option<Self::Place<'_>> {
        let turn = maps::PROBATION_TURN.get_ptr_mut(A::TURN)?;
        // Behind the last place comes the first. CPUs that get there at once may share it:
        // a flow that another has overwritten there is left to the collector.
        let value = if let Some(value) = A::probation().get_ptr_mut(take(turn)) {
            value
        } else {
            // SAFETY: as in `Entry::record`.
            unsafe { *turn = 1 };
            A::probation().get_ptr_mut(0)?
        };
        // SAFETY: as in `Entry::record`; a key that is torn is nobody's.
        Some(unsafe { &mut *value })
    }

    #[inline(always)]
    fn is_hinted(&self, place: u16) -> bool {
        flows::hint(place).is_some_and(|hint| {
            // SAFETY: as in `Entry::load`.
            unsafe { *hint != 0 }
        })
    }

    #[inline(always)]
    fn hint(&self, place: u16) {
        if let Some(hint) = flows::hint(place) {
            // SAFETY: as in `Entry::record`.
            unsafe { *hint = 1 };
        }
    }

    #[inline(always)]
    fn remove_flow(&self, key: &FlowKey<A>) {
        // An entry that is not there is what was wanted.
        A::flows().remove(key).ok();
    }

    #[inline(always)]
    fn at(&self, addr: &A) -> Option<At> {
        let value = A::addresses().get_ptr(addr)?;
        // SAFETY: as in `Entry::load`.
        Some(unsafe { *value })
    }

    #[inline(always)]
    fn service_cidr(&self, index: u32) -> Option<ServiceCidr<A>> {
        A::service_cidrs().get(index).copied()
    }

    #[inline(always)]
    fn frontend(&self, key: &FrontendKey<A>) -> Option<Frontend> {
        let value = A::frontends().get_ptr(key)?;
        // SAFETY: as in `Entry::load`.
        Some(unsafe { *value })
    }

    #[inline(always)]
    fn service(&self, id: u32) -> Option<Service> {
        maps::SERVICES.get(id).copied()
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<u32> {
        maps::SLOTS.get(index).copied()
    }

    #[inline(always)]
    fn backend(&self, id: u32) -> Option<Backend<A>> {
        A::backends().get(id).copied()
    }

    #[inline(always)]
    fn affinity(&self, key: &AffinityKey<A>) -> Option<Affinity> {
        let value = A::affinity().get_ptr(key)?;
        // SAFETY: as in `Entry::load`.
        Some(unsafe { *value })
    }

    #[inline(always)]
    fn remember(&self, key: &AffinityKey<A>, affinity: &Affinity) {
        A::affinity().insert(key, affinity, u64::from(BPF_ANY)).ok();
    }

    #[inline(always)]
    fn ports(&self, key: &FragmentKey<A>) -> Option<FragmentPorts> {
        let value = A::fragments().get_ptr(key)?;
        // SAFETY: as in `Entry::load`.
        Some(unsafe { *value })
    }

    #[inline(always)]
    fn remember_ports(&self, key: &FragmentKey<A>, ports: &FragmentPorts) {
        A::fragments().insert(key, ports, u64::from(BPF_ANY)).ok();
    }

    #[inline(always)]
    fn server(&self, at: &FrontendKey<A>) -> Option<FrontendKey<A>> {
        let value = A::servers().get_ptr(at)?;
        // SAFETY: as in `Entry::load`; one that is torn is nobody's.
        Some(unsafe { *value })
    }

    #[inline(always)]
    fn remember_server(&self, at: &FrontendKey<A>, dialled: &FrontendKey<A>) {
        match A::servers().get_ptr_mut(at) {
            // SAFETY: as in `server`. It is hardly ever another one: do not write for nothing.
            Some(value) if unsafe { *value } == *dialled => {}
            // SAFETY: as in `Entry::record`.
            Some(value) => unsafe { *value = *dialled },
            None => {
                A::servers().insert(at, dialled, u64::from(BPF_ANY)).ok();
            }
        }
    }

    #[inline(always)]
    fn resets_pass(&self, key: &FlowKey<A>) -> Option<Ticks> {
        let value = A::resets().get_ptr(key)?;
        // SAFETY: as in `Entry::load`.
        Some(unsafe { *value })
    }

    #[inline(always)]
    fn let_resets_pass(&self, key: &FlowKey<A>, from: Ticks) {
        A::resets().insert(key, from, u64::from(BPF_ANY)).ok();
    }

    #[inline(always)]
    fn client(&self, addr: A) -> Option<u32> {
        let key = ClientPrefix::of(addr);
        A::clients().get(&Key::new(key.length, key.addr)).copied()
    }

    #[inline(always)]
    fn in_source_ranges(&self, service: u32, addr: A) -> bool {
        let key = SourceRange::of(service, addr);
        A::source_ranges().get(&Key::new(key.length, key.range)).is_some()
    }

    #[inline(always)]
    fn interface(&self, index: u32) -> Option<Interface> {
        let value = maps::INTERFACES.get_ptr(index)?;
        // SAFETY: as in `Entry::load`.
        Some(unsafe { *value })
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.origin.ifindex()
    }

    #[inline(always)]
    fn is_own(&self) -> bool {
        self.origin.is_own()
    }

    #[inline(always)]
    fn masquerade(&self) -> u32 {
        settings::masquerade()
    }

    #[inline(always)]
    fn masquerade_ports(&self) -> u32 {
        settings::masquerade_ports()
    }

    #[inline(always)]
    fn vip_echo(&self) -> u32 {
        settings::vip_echo()
    }

    #[inline(always)]
    fn takes_over(&self) -> bool {
        settings::takes_over()
    }

    #[inline(always)]
    fn terminates_tcp(&self) -> bool {
        settings::terminates_tcp()
    }

    #[inline(always)]
    fn now(&self) -> Ticks {
        // SAFETY: the helper takes nothing and returns a number (kernel 5.11).
        Ticks::from_ns(unsafe { bpf_ktime_get_coarse_ns() })
    }

    #[inline(always)]
    fn count(&self, counter: Counter) {
        if let Some(value) = maps::COUNTERS.get_ptr_mut(counter as u32) {
            // SAFETY: the value belongs to this CPU. A packet may interrupt a program at a
            // socket: the worst that can happen is a lost count.
            unsafe { *value += 1 };
        }
    }

    #[inline(always)]
    fn add(&self, service: u32, more: &Carried) {
        if let Some(sum) = maps::SVC_CARRIED.get_ptr_mut(service) {
            carried::add(sum, more);
        }
    }

    #[inline(always)]
    fn listener(&self) -> Listener {
        maps::LISTENER.get(0).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn tell(&self, fill: impl FnOnce(&mut Event)) -> bool {
        let Some(mut record) = maps::EVENTS.reserve_untyped::<Event>(0) else {
            return false;
        };
        // SAFETY: the helper takes nothing and returns a number.
        let time = unsafe { bpf_ktime_get_ns() };
        let ifindex = self.origin.ifindex();
        fill(record.write(Event { time, ifindex, ..Event::default() }));
        record.submit(0);
        true
    }
}
