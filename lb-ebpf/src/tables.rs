//! The decisions' view of the maps.
// tidy: long because one macro gives both families all that a decision may ask

use core::arch::asm;

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::helpers::generated::{
    bpf_get_prandom_u32, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns,
};
use aya_ebpf::programs::TcContext;
use lb_common::abi::address::{At, ServiceCidr};
use lb_common::abi::affinity::{Affinity, AffinityKey};
use lb_common::abi::backend::Backend;
use lb_common::abi::counter::Counter;
use lb_common::abi::draft::Draft;
use lb_common::abi::event::{Event, Listener};
use lb_common::abi::flow::{Flow, FlowKey};
use lb_common::abi::fragment::{FragmentKey, FragmentPorts};
use lb_common::abi::frontend::{Frontend, FrontendKey};
use lb_common::abi::interface::{Interface, NODE};
use lb_common::abi::prefix::{ClientPrefix, SourceRange};
use lb_common::abi::probation::turn;
use lb_common::abi::service::Service;
use lb_common::abi::settings::{DEFAULT_MASQUERADE_PORTS, echo, packed_ports};
use lb_common::abi::socket::{Socket, SocketKey};
use lb_common::clock::Ticks;
use lb_common::net::{Addr4, Addr6, Port};
use lb_common::tables::{FlowEntry, Insert, InsertError, Sockets, Tables};

use crate::{call, frame, maps};

/// The setting: bits of [`masquerade`](lb_common::abi::settings::masquerade). The loader writes it, by
/// this name.
#[unsafe(no_mangle)]
static MASQUERADE: u32 = 0;

/// The setting [`MASQUERADE_PORTS`](lb_common::abi::settings::MASQUERADE_PORTS), likewise.
#[unsafe(no_mangle)]
static MASQUERADE_PORTS: u32 = packed_ports(DEFAULT_MASQUERADE_PORTS);

/// The setting [`VIP_ECHO`](lb_common::abi::settings::VIP_ECHO), likewise.
#[unsafe(no_mangle)]
static VIP_ECHO: u32 = echo::ANSWER;

/// The setting [`TAKEOVER`](lb_common::abi::settings::TAKEOVER), likewise.
#[unsafe(no_mangle)]
static TAKEOVER: u32 = 0;

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

impl Origin for &TcContext {
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

/// A value of `FLOWS_*` in place.
///
/// Another CPU may write the same entry at the same time. Every field is an aligned integer that
/// is read or written whole, so the worst that can happen is a lost count.
pub(crate) struct Entry<A>(*mut Flow<A>);

impl<A: Copy> FlowEntry<A> for Entry<A> {
    #[inline(always)]
    fn load(&self) -> Flow<A> {
        // SAFETY: the pointer comes from a successful lookup in this run of the program, and the
        // kernel keeps the memory of map values until the program has returned.
        unsafe { *self.0 }
    }

    #[inline(always)]
    fn record(&self, bytes: u32, now: Ticks) {
        // SAFETY: as in `load`; the kernel and we are the only users of this memory, and it is
        // only ever touched as plain integers.
        let flow = unsafe { &mut *self.0 };
        flow.packets += 1;
        flow.bytes += u64::from(bytes);
        if flow.seen != now {
            flow.seen = now;
        }
    }

    #[inline(always)]
    fn set_state(&self, state: u8) {
        // SAFETY: as in `record`.
        let flow = unsafe { &mut *self.0 };
        flow.state = state;
    }
}

/// Takes the next number of `turn`, which is a value of `PROBATION_TURN`.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "it goes no further than the ring")]
fn take(turn: *mut u64) -> u32 {
    let mut number = 1u64;
    // SAFETY: the pointer comes from a successful lookup in this run of the program; the verifier
    // proves it once more. The instruction is atomic (kernel 5.12), and Rust has it for no BPF target.
    unsafe {
        asm!(
            "{number} = atomic_fetch_add((u64 *)({turn} + 0), {number})",
            number = inout(reg) number,
            turn = in(reg) turn,
            options(nostack),
        );
    }
    number as u32
}

/// `EEXIST`, as the kernel returns it.
const EEXIST: i32 = -17;

macro_rules! kernel_tables {
    ($address:ty, $frontends:ident, $backends:ident, $flows:ident, $draft:ident, $affinity:ident, $clients:ident, $ranges:ident, $addresses:ident, $cidrs:ident, $fragments:ident, $probation:ident, $turn:expr, $servers:ident, $resets:ident, $sockets:ident) => {
        impl<O: Origin> Tables<$address> for KernelTables<O> {
            type Entry = Entry<$address>;
            type Draft = &'static mut Draft<$address>;
            type Place<'p>
                = &'p mut FlowKey<$address>
            where
                Self: 'p;

            #[inline(always)]
            fn flow(&self, key: &FlowKey<$address>) -> Option<Self::Entry> {
                maps::$flows.get_ptr_mut(key).map(Entry)
            }

            #[inline(always)]
            fn insert_flow(
                &self,
                key: &FlowKey<$address>,
                flow: &Flow<$address>,
                mode: Insert,
            ) -> Result<(), InsertError> {
                let flags = match mode {
                    Insert::Replace => BPF_ANY,
                    Insert::IfAbsent => BPF_NOEXIST,
                };
                maps::$flows.insert(key, flow, u64::from(flags)).map_err(|error| match error {
                    EEXIST => InsertError::Exists,
                    _ => InsertError::Refused,
                })
            }

            #[inline(always)]
            fn draft(&self) -> Option<Self::Draft> {
                let value = maps::$draft.get_ptr_mut(0)?;
                // SAFETY: the value belongs to this CPU, and programs of one CPU at TC do not
                // interrupt each other; within one, it is lent to one function at a time.
                Some(unsafe { &mut *value })
            }

            #[inline(always)]
            fn place(&self) -> Option<Self::Place<'_>> {
                let turn = maps::PROBATION_TURN.get_ptr_mut($turn)?;
                // Behind the last place comes the first. CPUs that get there at once may share it:
                // a flow that another has overwritten there is left to the collector.
                let value = match maps::$probation.get_ptr_mut(take(turn)) {
                    Some(value) => value,
                    None => {
                        // SAFETY: as in `Entry::record`.
                        unsafe { *turn = 1 };
                        maps::$probation.get_ptr_mut(0)?
                    }
                };
                // SAFETY: as in `Entry::record`; a key that is torn is nobody's.
                Some(unsafe { &mut *value })
            }

            #[inline(always)]
            fn remove_flow(&self, key: &FlowKey<$address>) {
                // An entry that is not there is what was wanted.
                maps::$flows.remove(key).ok();
            }

            #[inline(always)]
            fn at(&self, addr: &$address) -> Option<At> {
                let value = maps::$addresses.get_ptr(addr)?;
                // SAFETY: as in `Entry::load`.
                Some(unsafe { *value })
            }

            #[inline(always)]
            fn service_cidr(&self, index: u32) -> Option<ServiceCidr<$address>> {
                maps::$cidrs.get(index).copied()
            }

            #[inline(always)]
            fn frontend(&self, key: &FrontendKey<$address>) -> Option<Frontend> {
                let value = maps::$frontends.get_ptr(key)?;
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
            fn backend(&self, id: u32) -> Option<Backend<$address>> {
                maps::$backends.get(id).copied()
            }

            #[inline(always)]
            fn affinity(&self, key: &AffinityKey<$address>) -> Option<Affinity> {
                let value = maps::$affinity.get_ptr(key)?;
                // SAFETY: as in `Entry::load`.
                Some(unsafe { *value })
            }

            #[inline(always)]
            fn remember(&self, key: &AffinityKey<$address>, affinity: &Affinity) {
                maps::$affinity.insert(key, affinity, u64::from(BPF_ANY)).ok();
            }

            #[inline(always)]
            fn ports(&self, key: &FragmentKey<$address>) -> Option<FragmentPorts> {
                let value = maps::$fragments.get_ptr(key)?;
                // SAFETY: as in `Entry::load`.
                Some(unsafe { *value })
            }

            #[inline(always)]
            fn remember_ports(&self, key: &FragmentKey<$address>, ports: &FragmentPorts) {
                maps::$fragments.insert(key, ports, u64::from(BPF_ANY)).ok();
            }

            #[inline(always)]
            fn server(&self, at: &FrontendKey<$address>) -> Option<FrontendKey<$address>> {
                let value = maps::$servers.get_ptr(at)?;
                // SAFETY: as in `Entry::load`; one that is torn is nobody's.
                Some(unsafe { *value })
            }

            #[inline(always)]
            fn remember_server(&self, at: &FrontendKey<$address>, dialled: &FrontendKey<$address>) {
                match maps::$servers.get_ptr_mut(at) {
                    // SAFETY: as in `server`. It is hardly ever another one: do not write for nothing.
                    Some(value) if unsafe { *value } == *dialled => {}
                    // SAFETY: as in `Entry::record`.
                    Some(value) => unsafe { *value = *dialled },
                    None => {
                        maps::$servers.insert(at, dialled, u64::from(BPF_ANY)).ok();
                    }
                }
            }

            #[inline(always)]
            fn resets_pass(&self, key: &FlowKey<$address>) -> Option<Ticks> {
                let value = maps::$resets.get_ptr(key)?;
                // SAFETY: as in `Entry::load`.
                Some(unsafe { *value })
            }

            #[inline(always)]
            fn let_resets_pass(&self, key: &FlowKey<$address>, from: Ticks) {
                maps::$resets.insert(key, from, u64::from(BPF_ANY)).ok();
            }

            #[inline(always)]
            fn client(&self, addr: $address) -> Option<u32> {
                let key = ClientPrefix::of(addr);
                maps::$clients.get(&Key::new(key.length, key.addr)).copied()
            }

            #[inline(always)]
            fn in_source_ranges(&self, service: u32, addr: $address) -> bool {
                let key = SourceRange::of(service, addr);
                maps::$ranges.get(&Key::new(key.length, key.range)).is_some()
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
                // SAFETY: a static that only the loader writes, before the program is. Volatile, or
                // the compiler would take the value that stands here for the one it will have.
                unsafe { core::ptr::read_volatile(&raw const MASQUERADE) }
            }

            #[inline(always)]
            fn masquerade_ports(&self) -> u32 {
                // SAFETY: as in `masquerade`.
                unsafe { core::ptr::read_volatile(&raw const MASQUERADE_PORTS) }
            }

            #[inline(always)]
            fn vip_echo(&self) -> u32 {
                // SAFETY: as in `masquerade`.
                unsafe { core::ptr::read_volatile(&raw const VIP_ECHO) }
            }

            #[inline(always)]
            fn takes_over(&self) -> bool {
                // SAFETY: as in `masquerade`.
                unsafe { core::ptr::read_volatile(&raw const TAKEOVER) != 0 }
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

        impl<O: Origin> Sockets<$address> for KernelTables<O> {
            #[inline(always)]
            fn socket(&self, key: &SocketKey<$address>) -> Option<Socket<$address>> {
                let value = maps::$sockets.get_ptr(key)?;
                // SAFETY: as in `Entry::load`.
                Some(unsafe { *value })
            }

            #[inline(always)]
            fn keep_socket(
                &self,
                key: &SocketKey<$address>,
                socket: &Socket<$address>,
            ) -> Result<(), InsertError> {
                let kept = maps::$sockets.insert(key, socket, u64::from(BPF_ANY));
                kept.map_err(|_| InsertError::Refused)
            }

            #[inline(always)]
            fn forget_socket(&self, key: &SocketKey<$address>) {
                // An entry that is not there is what was wanted.
                maps::$sockets.remove(key).ok();
            }

            #[inline(always)]
            #[expect(clippy::cast_possible_truncation, reason = "a part is as random")]
            fn random(&self) -> u16 {
                // SAFETY: the helper takes nothing and returns a number.
                unsafe { bpf_get_prandom_u32() as u16 }
            }

            #[inline(always)]
            fn is_exempt(&self) -> bool {
                call::is_exempt()
            }

            #[inline(always)]
            fn tell_bind(&self, service: u32, port: Port, protocol: u8) {
                call::tell_bind(service, port, protocol);
            }
        }
    };
}
kernel_tables!(
    Addr4,
    FRONTENDS_V4,
    BACKENDS_V4,
    FLOWS_V4,
    DRAFT_V4,
    AFFINITY_V4,
    CLIENTS_V4,
    SRC_RANGES_V4,
    ADDRESSES_V4,
    SVC_CIDRS_V4,
    FRAGMENTS_V4,
    PROBATION_V4,
    turn::V4,
    SERVERS_V4,
    RESETS_V4,
    SOCKETS_V4
);
kernel_tables!(
    Addr6,
    FRONTENDS_V6,
    BACKENDS_V6,
    FLOWS_V6,
    DRAFT_V6,
    AFFINITY_V6,
    CLIENTS_V6,
    SRC_RANGES_V6,
    ADDRESSES_V6,
    SVC_CIDRS_V6,
    FRAGMENTS_V6,
    PROBATION_V6,
    turn::V6,
    SERVERS_V6,
    RESETS_V6,
    SOCKETS_V6
);
