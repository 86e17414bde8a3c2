//! The maps: one file each, the bytes that the kernel programs and the agent both read and write.
//!
//! Keys and values hold integers and byte arrays only, without padding that nobody writes: the
//! kernel hashes every byte of a key, and any bit pattern read back must be a valid value.
//! [`VERSION`] names the layout; maps of different layouts live in different pin directories.

pub mod address;
pub mod affinity;
pub mod backend;
pub mod bind;
pub mod carried;
pub mod counter;
pub mod draft;
pub mod event;
pub mod exempt;
pub mod flow;
pub mod fragment;
pub mod frontend;
pub mod hint;
pub mod interface;
pub mod name;
pub mod prefix;
pub mod probation;
#[cfg(feature = "user")]
pub mod record;
pub mod service;
pub mod settings;
pub mod socket;

/// The version of all layouts in this module, part of the pin path (design §3.3).
pub const VERSION: u32 = 1;

/// Names of the maps as the kernel shows them: at most 15 bytes.
pub mod map {
    /// [`FrontendKey`](super::frontend::FrontendKey) → [`Frontend`](super::frontend::Frontend), IPv4.
    pub const FRONTENDS_V4: &str = "FRONTENDS_V4";
    /// The same for IPv6.
    pub const FRONTENDS_V6: &str = "FRONTENDS_V6";
    /// Service id → [`Service`](super::service::Service).
    pub const SERVICES: &str = "SERVICES";
    /// Slot → backend id. The lists of all services, one behind the other.
    pub const SLOTS: &str = "SLOTS";
    /// Backend id → [`Backend`](super::backend::Backend), IPv4.
    pub const BACKENDS_V4: &str = "BACKENDS_V4";
    /// The same for IPv6.
    pub const BACKENDS_V6: &str = "BACKENDS_V6";
    /// [`FlowKey`](super::flow::FlowKey) → [`Flow`](super::flow::Flow), IPv4.
    pub const FLOWS_V4: &str = "FLOWS_V4";
    /// The same for IPv6.
    pub const FLOWS_V6: &str = "FLOWS_V6";
    /// [`Counter`](super::counter::Counter) → `u64`, per CPU.
    pub const COUNTERS: &str = "COUNTERS";
    /// Service id → [`ServiceName`](super::name::ServiceName).
    pub const SERVICE_NAMES: &str = "SERVICE_NAMES";

    /// Service id → [`Carried`](super::carried::Carried).
    pub const SERVICE_CARRIED: &str = "SVC_CARRIED";

    /// [`AffinityKey`](super::affinity::AffinityKey) → [`Affinity`](super::affinity::Affinity), IPv4.
    pub const AFFINITY_V4: &str = "AFFINITY_V4";
    /// The same for IPv6.
    pub const AFFINITY_V6: &str = "AFFINITY_V6";
    /// [`ClientPrefix`](super::prefix::ClientPrefix) → what those addresses are, IPv4.
    pub const CLIENTS_V4: &str = "CLIENTS_V4";
    /// The same for IPv6.
    pub const CLIENTS_V6: &str = "CLIENTS_V6";
    /// [`SourceRange`](super::prefix::SourceRange) → 1, IPv4.
    pub const SOURCE_RANGES_V4: &str = "SRC_RANGES_V4";
    /// The same for IPv6.
    pub const SOURCE_RANGES_V6: &str = "SRC_RANGES_V6";

    /// Address → [`At`](super::address::At), IPv4.
    pub const ADDRESSES_V4: &str = "ADDRESSES_V4";
    /// The same for IPv6.
    pub const ADDRESSES_V6: &str = "ADDRESSES_V6";
    /// Number → [`ServiceCidr`](super::address::ServiceCidr), IPv4.
    pub const SERVICE_CIDRS_V4: &str = "SVC_CIDRS_V4";
    /// The same for IPv6.
    pub const SERVICE_CIDRS_V6: &str = "SVC_CIDRS_V6";
    /// Ifindex → [`Interface`](super::interface::Interface).
    pub const INTERFACES: &str = "INTERFACES";
    /// [`FragmentKey`](super::fragment::FragmentKey) →
    /// [`FragmentPorts`](super::fragment::FragmentPorts), IPv4.
    pub const FRAGMENTS_V4: &str = "FRAGMENTS_V4";
    /// The same for IPv6.
    pub const FRAGMENTS_V6: &str = "FRAGMENTS_V6";
    /// Where a backend is ([`FrontendKey`](super::frontend::FrontendKey)) that flows were sent to → what
    /// the last of them had dialled (likewise), IPv4.
    pub const SERVERS_V4: &str = "SERVERS_V4";
    /// The same for IPv6.
    pub const SERVERS_V6: &str = "SERVERS_V6";
    /// [`FlowKey`](super::flow::FlowKey) of a connection past all frontends → when its resets pass
    /// ([`Ticks`](crate::clock::Ticks)), IPv4.
    pub const RESETS_V4: &str = "RESETS_V4";
    /// The same for IPv6.
    pub const RESETS_V6: &str = "RESETS_V6";
    /// Place → [`FlowKey`](super::flow::FlowKey) of a flow on [`probation`](super::probation), IPv4.
    pub const PROBATION_V4: &str = "PROBATION_V4";
    /// The same for IPv6.
    pub const PROBATION_V6: &str = "PROBATION_V6";
    /// [`turn`](super::probation::turn) → the next place, `u64`.
    pub const PROBATION_TURN: &str = "PROBATION_TURN";

    /// 0 → [`Hints`](super::hint::Hints).
    pub const HINTS: &str = "HINTS";

    /// A ring buffer of [`Event`](super::event::Event)s.
    pub const EVENTS: &str = "EVENTS";
    /// 0 → [`Listener`](super::event::Listener).
    pub const LISTENER: &str = "LISTENER";

    /// [`SocketKey`](super::socket::SocketKey) → [`Socket`](super::socket::Socket), IPv4.
    pub const SOCKETS_V4: &str = "SOCKETS_V4";
    /// The same for IPv6.
    pub const SOCKETS_V6: &str = "SOCKETS_V6";

    /// A cgroup or network namespace whose processes are [`exempt`](super::exempt) → 1.
    pub const EXEMPT: &str = "EXEMPT";
    /// A ring buffer of [`RefusedBind`](super::bind::RefusedBind)s.
    pub const BINDS: &str = "BINDS";

    /// An MPTCP socket (the map is storage of sockets) → the cookie of the TCP socket that dialled for
    /// it, `u64`.
    pub const CARRIERS: &str = "CARRIERS";

    /// All of them.
    pub const ALL: [&str; 39] = [
        FRONTENDS_V4,
        FRONTENDS_V6,
        SERVICES,
        SLOTS,
        BACKENDS_V4,
        BACKENDS_V6,
        FLOWS_V4,
        FLOWS_V6,
        COUNTERS,
        SERVICE_NAMES,
        SERVICE_CARRIED,
        AFFINITY_V4,
        AFFINITY_V6,
        CLIENTS_V4,
        CLIENTS_V6,
        SOURCE_RANGES_V4,
        SOURCE_RANGES_V6,
        ADDRESSES_V4,
        ADDRESSES_V6,
        SERVICE_CIDRS_V4,
        SERVICE_CIDRS_V6,
        INTERFACES,
        FRAGMENTS_V4,
        FRAGMENTS_V6,
        SERVERS_V4,
        SERVERS_V6,
        RESETS_V4,
        RESETS_V6,
        PROBATION_V4,
        PROBATION_V6,
        PROBATION_TURN,
        HINTS,
        EVENTS,
        LISTENER,
        SOCKETS_V4,
        SOCKETS_V6,
        EXEMPT,
        BINDS,
        CARRIERS,
    ];
}

/// Default capacities, in entries. Settings of the agent override them.
pub mod capacity {
    /// Frontends per family.
    pub const FRONTENDS: u32 = 64 * 1024;
    /// Services of both families together.
    pub const SERVICES: u32 = 64 * 1024;
    /// Slots of all services.
    pub const SLOTS: u32 = 1024 * 1024;
    /// Backends per family.
    pub const BACKENDS: u32 = 256 * 1024;
    /// Flow entries per family; a flow takes two, with masquerade four.
    pub const FLOWS: u32 = 256 * 1024;
    /// Remembered clients of services with session affinity, per family.
    pub const AFFINITY: u32 = 64 * 1024;
    /// Prefixes of pods and addresses of the node, per family.
    pub const CLIENTS: u32 = 16 * 1024;
    /// Source ranges of all services, per family.
    pub const SOURCE_RANGES: u32 = 16 * 1024;
    /// Prefixes that ClusterIPs are allocated from, per family: the datapath looks at all of them.
    pub const SERVICE_CIDRS: u32 = 8;
    /// Interfaces of which something is known.
    pub const INTERFACES: u32 = 16 * 1024;
    /// Packets whose fragments are on their way, per family.
    pub const FRAGMENTS: u32 = 8 * 1024;
    /// Backends that flows were sent to, per family.
    pub const SERVERS: u32 = 16 * 1024;
    /// Connections whose resets are held back or known to pass, per family.
    pub const RESETS: u32 = 16 * 1024;
    /// Flows on probation, per family; follows from that of the flow tables.
    pub const PROBATION: u32 = super::probation::places(FLOWS);
    /// The ring buffer of events, in bytes: a power of two and whole pages of any size.
    pub const EVENTS: u32 = 256 * 1024;
    /// Entries for sockets that hold a backend, per family.
    pub const SOCKETS: u32 = 64 * 1024;
    /// Cgroups and namespaces whose processes are exempt: more than a node has pods.
    pub const EXEMPT: u32 = 4096;
    /// The ring buffer of refused binds, in bytes, as for events.
    pub const BINDS: u32 = 64 * 1024;
}

/// Proves at compile time that a type has no padding of its own and the size both sides expect.
macro_rules! assert_layout {
    ($type:ty, $size:expr, $($field_type:ty),+ $(,)?) => {
        const _: () = {
            assert!(size_of::<$type>() == $size);
            assert!(size_of::<$type>() == 0 $(+ size_of::<$field_type>())+);
        };
        // SAFETY: `repr(C)`, made of integers and byte arrays, and the assertion above proves that
        // there is no padding between them, so every bit pattern is a valid value.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $type {}
    };
}
pub(crate) use assert_layout;
