//! The maps, as the loader creates them; the agent overrides their capacities.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf, SkStorage};
use aya_ebpf::macros::btf_map;
use lb_common::abi::address::{At, ServiceCidr};
use lb_common::abi::affinity::{Affinity, AffinityKey};
use lb_common::abi::backend::Backend;
use lb_common::abi::bind::RefusedBind;
use lb_common::abi::carried::Carried;
use lb_common::abi::draft::Draft;
use lb_common::abi::event::{Event, Listener};
use lb_common::abi::flow::{Flow, FlowKey};
use lb_common::abi::fragment::{FragmentKey, FragmentPorts};
use lb_common::abi::frontend::{Frontend, FrontendKey};
use lb_common::abi::hint::Hints;
use lb_common::abi::interface::Interface;
use lb_common::abi::name::ServiceName;
use lb_common::abi::prefix::Ranged;
use lb_common::abi::probation::turn;
use lb_common::abi::service::{Service, Slot};
use lb_common::abi::socket::{Socket, SocketKey};
use lb_common::abi::{capacity, counter};
use lb_common::clock::Ticks;
use lb_common::net::{Addr4, Addr6, Address};

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;

type Frontends<A> = HashMap<FrontendKey<A>, Frontend, { capacity::FRONTENDS as usize }>;
type Backends<A> = Array<Backend<A>, { capacity::BACKENDS as usize }, MMAPABLE>;
type Flows<A> = LruHashMap<FlowKey<A>, Flow<A>, { capacity::FLOWS as usize }>;
type Drafts<A> = PerCpuArray<Draft<A>, 1>;
type Affinities<A> = LruHashMap<AffinityKey<A>, Affinity, { capacity::AFFINITY as usize }>;
type Clients<A> = LpmTrie<A, u32, { capacity::CLIENTS as usize }>;
type SourceRanges<A> = LpmTrie<Ranged<A>, u32, { capacity::SOURCE_RANGES as usize }>;
type Addresses<A> = HashMap<A, At, { capacity::FRONTENDS as usize }>;
type ServiceCidrs<A> = Array<ServiceCidr<A>, { capacity::SERVICE_CIDRS as usize }, MMAPABLE>;
type Fragments<A> = LruHashMap<FragmentKey<A>, FragmentPorts, { capacity::FRAGMENTS as usize }>;
type Probation<A> = Array<FlowKey<A>, { capacity::PROBATION as usize }>;
type Servers<A> = LruHashMap<FrontendKey<A>, FrontendKey<A>, { capacity::SERVERS as usize }>;
type Resets<A> = LruHashMap<FlowKey<A>, Ticks, { capacity::RESETS as usize }>;
type Sockets<A> = LruHashMap<SocketKey<A>, Socket<A>, { capacity::SOCKETS as usize }>;

#[btf_map]
pub(crate) static FRONTENDS_V4: Frontends<Addr4> = HashMap::new();

#[btf_map]
pub(crate) static FRONTENDS_V6: Frontends<Addr6> = HashMap::new();

#[btf_map]
pub(crate) static SERVICES: Array<Service, { capacity::SERVICES as usize }, MMAPABLE> =
    Array::new();

#[btf_map]
pub(crate) static SLOTS: Array<Slot, { capacity::SLOTS as usize }, MMAPABLE> = Array::new();

#[btf_map]
pub(crate) static BACKENDS_V4: Backends<Addr4> = Array::new();

#[btf_map]
pub(crate) static BACKENDS_V6: Backends<Addr6> = Array::new();

#[btf_map]
pub(crate) static FLOWS_V4: Flows<Addr4> = LruHashMap::new();

#[btf_map]
pub(crate) static FLOWS_V6: Flows<Addr6> = LruHashMap::new();

/// Not pinned: it holds nothing between two packets.
#[btf_map]
pub(crate) static DRAFT_V4: Drafts<Addr4> = PerCpuArray::new();

/// Not pinned: it holds nothing between two packets.
#[btf_map]
pub(crate) static DRAFT_V6: Drafts<Addr6> = PerCpuArray::new();

#[btf_map]
pub(crate) static COUNTERS: PerCpuArray<u64, { counter::CAPACITY as usize }> = PerCpuArray::new();

/// Written by the agent only: for people, for bpftool and to keep ids over a restart.
#[btf_map]
pub(crate) static SERVICE_NAMES: HashMap<u32, ServiceName, { capacity::SERVICES as usize }> =
    HashMap::new();

#[btf_map]
pub(crate) static SVC_CARRIED: Array<Carried, { capacity::SERVICES as usize }, MMAPABLE> =
    Array::new();

#[btf_map]
pub(crate) static AFFINITY_V4: Affinities<Addr4> = LruHashMap::new();

#[btf_map]
pub(crate) static AFFINITY_V6: Affinities<Addr6> = LruHashMap::new();

#[btf_map]
pub(crate) static CLIENTS_V4: Clients<Addr4> = LpmTrie::new();

#[btf_map]
pub(crate) static CLIENTS_V6: Clients<Addr6> = LpmTrie::new();

#[btf_map]
pub(crate) static SRC_RANGES_V4: SourceRanges<Addr4> = LpmTrie::new();

#[btf_map]
pub(crate) static SRC_RANGES_V6: SourceRanges<Addr6> = LpmTrie::new();

#[btf_map]
pub(crate) static ADDRESSES_V4: Addresses<Addr4> = HashMap::new();

#[btf_map]
pub(crate) static ADDRESSES_V6: Addresses<Addr6> = HashMap::new();

#[btf_map]
pub(crate) static SVC_CIDRS_V4: ServiceCidrs<Addr4> = Array::new();

#[btf_map]
pub(crate) static SVC_CIDRS_V6: ServiceCidrs<Addr6> = Array::new();

#[btf_map]
pub(crate) static INTERFACES: HashMap<u32, Interface, { capacity::INTERFACES as usize }> =
    HashMap::new();

#[btf_map]
pub(crate) static FRAGMENTS_V4: Fragments<Addr4> = LruHashMap::new();

#[btf_map]
pub(crate) static FRAGMENTS_V6: Fragments<Addr6> = LruHashMap::new();

#[btf_map]
pub(crate) static PROBATION_V4: Probation<Addr4> = Array::new();

#[btf_map]
pub(crate) static PROBATION_V6: Probation<Addr6> = Array::new();

#[btf_map]
pub(crate) static HINTS: Array<Hints, 1> = Array::new();

#[btf_map]
pub(crate) static PROBATION_TURN: Array<u64, { turn::COUNT as usize }> = Array::new();

#[btf_map]
pub(crate) static SERVERS_V4: Servers<Addr4> = LruHashMap::new();

#[btf_map]
pub(crate) static SERVERS_V6: Servers<Addr6> = LruHashMap::new();

#[btf_map]
pub(crate) static RESETS_V4: Resets<Addr4> = LruHashMap::new();

#[btf_map]
pub(crate) static RESETS_V6: Resets<Addr6> = LruHashMap::new();

/// Of records, not of one value: other loaders want the value of a ring buffer to have no size.
#[btf_map]
pub(crate) static EVENTS: RingBuf<[Event; 0], { capacity::EVENTS as usize }> = RingBuf::new();

/// Written by `waggle trace`.
#[btf_map]
pub(crate) static LISTENER: Array<Listener, 1, MMAPABLE> = Array::new();

#[btf_map]
pub(crate) static SOCKETS_V4: Sockets<Addr4> = LruHashMap::new();

#[btf_map]
pub(crate) static SOCKETS_V6: Sockets<Addr6> = LruHashMap::new();

/// Written by the agent only.
#[btf_map]
pub(crate) static EXEMPT: HashMap<u64, u32, { capacity::EXEMPT as usize }> = HashMap::new();

/// Of records, as `EVENTS` is.
#[btf_map]
pub(crate) static BINDS: RingBuf<[RefusedBind; 0], { capacity::BINDS as usize }> = RingBuf::new();

/// Goes with the sockets.
#[btf_map]
pub(crate) static CARRIERS: SkStorage<u64> = SkStorage::new();

/// The maps that have addresses in them, of one family.
pub(crate) trait Twins: Address {
    /// The family's part of `PROBATION_TURN`.
    const TURN: u32;

    fn frontends() -> &'static Frontends<Self>;
    fn backends() -> &'static Backends<Self>;
    fn flows() -> &'static Flows<Self>;
    fn draft() -> &'static Drafts<Self>;
    fn affinity() -> &'static Affinities<Self>;
    fn clients() -> &'static Clients<Self>;
    fn source_ranges() -> &'static SourceRanges<Self>;
    fn addresses() -> &'static Addresses<Self>;
    fn service_cidrs() -> &'static ServiceCidrs<Self>;
    fn fragments() -> &'static Fragments<Self>;
    fn probation() -> &'static Probation<Self>;
    fn servers() -> &'static Servers<Self>;
    fn resets() -> &'static Resets<Self>;
    fn sockets() -> &'static Sockets<Self>;
}

macro_rules! twins {
    ($address:ty, $turn:expr, $($method:ident: $map:ident = $name:ident),+ $(,)?) => {
        impl Twins for $address {
            const TURN: u32 = $turn;
            $(
                #[inline(always)]
                fn $method() -> &'static $map<Self> {
                    &$name
                }
            )+
        }
    };
}
twins!(
    Addr4,
    turn::V4,
    frontends: Frontends = FRONTENDS_V4,
    backends: Backends = BACKENDS_V4,
    flows: Flows = FLOWS_V4,
    draft: Drafts = DRAFT_V4,
    affinity: Affinities = AFFINITY_V4,
    clients: Clients = CLIENTS_V4,
    source_ranges: SourceRanges = SRC_RANGES_V4,
    addresses: Addresses = ADDRESSES_V4,
    service_cidrs: ServiceCidrs = SVC_CIDRS_V4,
    fragments: Fragments = FRAGMENTS_V4,
    probation: Probation = PROBATION_V4,
    servers: Servers = SERVERS_V4,
    resets: Resets = RESETS_V4,
    sockets: Sockets = SOCKETS_V4,
);
twins!(
    Addr6,
    turn::V6,
    frontends: Frontends = FRONTENDS_V6,
    backends: Backends = BACKENDS_V6,
    flows: Flows = FLOWS_V6,
    draft: Drafts = DRAFT_V6,
    affinity: Affinities = AFFINITY_V6,
    clients: Clients = CLIENTS_V6,
    source_ranges: SourceRanges = SRC_RANGES_V6,
    addresses: Addresses = ADDRESSES_V6,
    service_cidrs: ServiceCidrs = SVC_CIDRS_V6,
    fragments: Fragments = FRAGMENTS_V6,
    probation: Probation = PROBATION_V6,
    servers: Servers = SERVERS_V6,
    resets: Resets = RESETS_V6,
    sockets: Sockets = SOCKETS_V6,
);
