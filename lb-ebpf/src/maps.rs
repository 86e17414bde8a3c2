//! The maps, as the loader creates them; the agent overrides their capacities.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf};
use aya_ebpf::macros::btf_map;
use lb_common::abi::address::{At, ServiceCidr};
use lb_common::abi::affinity::{Affinity, AffinityKey};
use lb_common::abi::backend::Backend;
use lb_common::abi::bind::RefusedBind;
use lb_common::abi::draft::Draft;
use lb_common::abi::event::{Event, Listener};
use lb_common::abi::flow::{Flow, FlowKey};
use lb_common::abi::fragment::{FragmentKey, FragmentPorts};
use lb_common::abi::frontend::{Frontend, FrontendKey};
use lb_common::abi::interface::Interface;
use lb_common::abi::name::ServiceName;
use lb_common::abi::prefix::Ranged;
use lb_common::abi::probation::turn;
use lb_common::abi::service::{Service, Slot};
use lb_common::abi::socket::{Socket, SocketKey};
use lb_common::abi::{capacity, counter};
use lb_common::clock::Ticks;
use lb_common::net::{Addr4, Addr6};

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;

#[btf_map]
pub(crate) static FRONTENDS_V4: HashMap<
    FrontendKey<Addr4>,
    Frontend,
    { capacity::FRONTENDS as usize },
> = HashMap::new();

#[btf_map]
pub(crate) static FRONTENDS_V6: HashMap<
    FrontendKey<Addr6>,
    Frontend,
    { capacity::FRONTENDS as usize },
> = HashMap::new();

#[btf_map]
pub(crate) static SERVICES: Array<Service, { capacity::SERVICES as usize }, MMAPABLE> =
    Array::new();

#[btf_map]
pub(crate) static SLOTS: Array<Slot, { capacity::SLOTS as usize }, MMAPABLE> = Array::new();

#[btf_map]
pub(crate) static BACKENDS_V4: Array<Backend<Addr4>, { capacity::BACKENDS as usize }, MMAPABLE> =
    Array::new();

#[btf_map]
pub(crate) static BACKENDS_V6: Array<Backend<Addr6>, { capacity::BACKENDS as usize }, MMAPABLE> =
    Array::new();

#[btf_map]
pub(crate) static FLOWS_V4: LruHashMap<FlowKey<Addr4>, Flow<Addr4>, { capacity::FLOWS as usize }> =
    LruHashMap::new();

#[btf_map]
pub(crate) static FLOWS_V6: LruHashMap<FlowKey<Addr6>, Flow<Addr6>, { capacity::FLOWS as usize }> =
    LruHashMap::new();

/// Not pinned: it holds nothing between two packets.
#[btf_map]
pub(crate) static DRAFT_V4: PerCpuArray<Draft<Addr4>, 1> = PerCpuArray::new();

/// Not pinned: it holds nothing between two packets.
#[btf_map]
pub(crate) static DRAFT_V6: PerCpuArray<Draft<Addr6>, 1> = PerCpuArray::new();

#[btf_map]
pub(crate) static COUNTERS: PerCpuArray<u64, { counter::CAPACITY as usize }> = PerCpuArray::new();

/// Written by the agent only: for people, for bpftool and to keep ids over a restart.
#[btf_map]
pub(crate) static SERVICE_NAMES: HashMap<u32, ServiceName, { capacity::SERVICES as usize }> =
    HashMap::new();

#[btf_map]
pub(crate) static AFFINITY_V4: LruHashMap<
    AffinityKey<Addr4>,
    Affinity,
    { capacity::AFFINITY as usize },
> = LruHashMap::new();

#[btf_map]
pub(crate) static AFFINITY_V6: LruHashMap<
    AffinityKey<Addr6>,
    Affinity,
    { capacity::AFFINITY as usize },
> = LruHashMap::new();

#[btf_map]
pub(crate) static CLIENTS_V4: LpmTrie<Addr4, u32, { capacity::CLIENTS as usize }> = LpmTrie::new();

#[btf_map]
pub(crate) static CLIENTS_V6: LpmTrie<Addr6, u32, { capacity::CLIENTS as usize }> = LpmTrie::new();

#[btf_map]
pub(crate) static SRC_RANGES_V4: LpmTrie<Ranged<Addr4>, u32, { capacity::SOURCE_RANGES as usize }> =
    LpmTrie::new();

#[btf_map]
pub(crate) static SRC_RANGES_V6: LpmTrie<Ranged<Addr6>, u32, { capacity::SOURCE_RANGES as usize }> =
    LpmTrie::new();

#[btf_map]
pub(crate) static ADDRESSES_V4: HashMap<Addr4, At, { capacity::FRONTENDS as usize }> =
    HashMap::new();

#[btf_map]
pub(crate) static ADDRESSES_V6: HashMap<Addr6, At, { capacity::FRONTENDS as usize }> =
    HashMap::new();

#[btf_map]
pub(crate) static SVC_CIDRS_V4: Array<
    ServiceCidr<Addr4>,
    { capacity::SERVICE_CIDRS as usize },
    MMAPABLE,
> = Array::new();

#[btf_map]
pub(crate) static SVC_CIDRS_V6: Array<
    ServiceCidr<Addr6>,
    { capacity::SERVICE_CIDRS as usize },
    MMAPABLE,
> = Array::new();

#[btf_map]
pub(crate) static INTERFACES: HashMap<u32, Interface, { capacity::INTERFACES as usize }> =
    HashMap::new();

#[btf_map]
pub(crate) static FRAGMENTS_V4: LruHashMap<
    FragmentKey<Addr4>,
    FragmentPorts,
    { capacity::FRAGMENTS as usize },
> = LruHashMap::new();

#[btf_map]
pub(crate) static FRAGMENTS_V6: LruHashMap<
    FragmentKey<Addr6>,
    FragmentPorts,
    { capacity::FRAGMENTS as usize },
> = LruHashMap::new();

#[btf_map]
pub(crate) static PROBATION_V4: Array<FlowKey<Addr4>, { capacity::PROBATION as usize }> =
    Array::new();

#[btf_map]
pub(crate) static PROBATION_V6: Array<FlowKey<Addr6>, { capacity::PROBATION as usize }> =
    Array::new();

#[btf_map]
pub(crate) static PROBATION_TURN: Array<u64, { turn::COUNT as usize }> = Array::new();

#[btf_map]
pub(crate) static SERVERS_V4: LruHashMap<
    FrontendKey<Addr4>,
    FrontendKey<Addr4>,
    { capacity::SERVERS as usize },
> = LruHashMap::new();

#[btf_map]
pub(crate) static SERVERS_V6: LruHashMap<
    FrontendKey<Addr6>,
    FrontendKey<Addr6>,
    { capacity::SERVERS as usize },
> = LruHashMap::new();

#[btf_map]
pub(crate) static RESETS_V4: LruHashMap<FlowKey<Addr4>, Ticks, { capacity::RESETS as usize }> =
    LruHashMap::new();

#[btf_map]
pub(crate) static RESETS_V6: LruHashMap<FlowKey<Addr6>, Ticks, { capacity::RESETS as usize }> =
    LruHashMap::new();

/// Of records, not of one value: other loaders want the value of a ring buffer to have no size.
#[btf_map]
pub(crate) static EVENTS: RingBuf<[Event; 0], { capacity::EVENTS as usize }> = RingBuf::new();

/// Written by `waggle trace`.
#[btf_map]
pub(crate) static LISTENER: Array<Listener, 1, MMAPABLE> = Array::new();

#[btf_map]
pub(crate) static SOCKETS_V4: LruHashMap<
    SocketKey<Addr4>,
    Socket<Addr4>,
    { capacity::SOCKETS as usize },
> = LruHashMap::new();

#[btf_map]
pub(crate) static SOCKETS_V6: LruHashMap<
    SocketKey<Addr6>,
    Socket<Addr6>,
    { capacity::SOCKETS as usize },
> = LruHashMap::new();

/// Written by the agent only.
#[btf_map]
pub(crate) static EXEMPT: HashMap<u64, u32, { capacity::EXEMPT as usize }> = HashMap::new();

/// Of records, as `EVENTS` is.
#[btf_map]
pub(crate) static BINDS: RingBuf<[RefusedBind; 0], { capacity::BINDS as usize }> = RingBuf::new();
