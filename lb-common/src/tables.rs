//! What a decision may ask of the maps.
//!
//! The kernel answers from BPF maps, tests from memory
//! ([`native`](crate::native)).

use core::ops::DerefMut;

use crate::abi::address::{At, ServiceCidr};
use crate::abi::affinity::{Affinity, AffinityKey};
use crate::abi::backend::Backend;
use crate::abi::carried::Carried;
use crate::abi::counter::Counter;
use crate::abi::draft::Draft;
use crate::abi::event::{Event, Listener};
use crate::abi::flow::{Flow, FlowKey};
use crate::abi::fragment::{FragmentKey, FragmentPorts};
use crate::abi::frontend::{Frontend, FrontendKey};
use crate::abi::interface::Interface;
use crate::abi::service::Service;
use crate::abi::socket::{Socket, SocketKey};
use crate::clock::Ticks;
use crate::net::{Address, Port};

/// The maps of one address family.
pub trait Tables<A: Address> {
    /// A handle on a live entry of `FLOWS`.
    type Entry: FlowEntry<A>;
    /// A [`Draft`] on loan.
    type Draft: DerefMut<Target = Draft<A>>;
    /// A place on probation on loan.
    type Place<'p>: DerefMut<Target = FlowKey<A>>
    where
        Self: 'p;

    /// The flow entry at `key`.
    fn flow(&self, key: &FlowKey<A>) -> Option<Self::Entry>;

    /// Inserts a flow entry; how is said by `mode`.
    fn insert_flow(
        &self,
        key: &FlowKey<A>,
        flow: &Flow<A>,
        mode: Insert,
    ) -> Result<(), InsertError>;

    /// Room to make entries in, with whatever was left there; lent to one function at a time.
    fn draft(&self) -> Option<Self::Draft>;

    /// The next place on [`probation`](crate::abi::probation) on loan, with the key that was put there
    /// longest ago; all zero if none was.
    fn place(&self) -> Option<Self::Place<'_>>;

    /// Whether there is a [`hint`](crate::abi::hint) at this place.
    fn is_hinted(&self, place: u16) -> bool;

    /// Leaves a hint there.
    fn hint(&self, place: u16);

    /// Removes a flow entry, if it is there.
    fn remove_flow(&self, key: &FlowKey<A>);

    /// What is at an address, if some frontend is.
    fn at(&self, addr: &A) -> Option<At>;

    /// A prefix of ClusterIPs by its number; `None` beyond the last there can be.
    fn service_cidr(&self, index: u32) -> Option<ServiceCidr<A>>;

    /// The frontend at `key`.
    fn frontend(&self, key: &FrontendKey<A>) -> Option<Frontend>;

    /// The service with this id.
    fn service(&self, id: u32) -> Option<Service>;

    /// The backend id in a slot.
    fn slot(&self, index: u32) -> Option<u32>;

    /// The backend with this id.
    fn backend(&self, id: u32) -> Option<Backend<A>>;

    /// The backend that a client was given last.
    fn affinity(&self, key: &AffinityKey<A>) -> Option<Affinity>;

    /// Remembers the backend of a client. A table that takes nothing only forgets.
    fn remember(&self, key: &AffinityKey<A>, affinity: &Affinity);

    /// The ports in the first fragment of a packet, if that was seen.
    fn ports(&self, key: &FragmentKey<A>) -> Option<FragmentPorts>;

    /// Remembers the ports in a first fragment. A table that takes nothing only forgets.
    fn remember_ports(&self, key: &FragmentKey<A>, ports: &FragmentPorts);

    /// What was dialled when a flow was last sent to the backend at `at`, if one was.
    fn server(&self, at: &FrontendKey<A>) -> Option<FrontendKey<A>>;

    /// Remembers that a flow was sent to the backend at `at` because it had dialled `dialled`. A table
    /// that takes nothing only forgets.
    fn remember_server(&self, at: &FrontendKey<A>, dialled: &FrontendKey<A>);

    /// Since when, or from when on, resets of a connection past all frontends pass, if that was said.
    fn resets_pass(&self, key: &FlowKey<A>) -> Option<Ticks>;

    /// Says so. A table that takes nothing only forgets.
    fn let_resets_pass(&self, key: &FlowKey<A>, from: Ticks);

    /// What the longest prefix with this address is, bits of [`client`](crate::abi::prefix::client),
    /// if any has it.
    fn client(&self, addr: A) -> Option<u32>;

    /// Whether some source range of a service has this address.
    fn in_source_ranges(&self, service: u32, addr: A) -> bool;

    /// What is known of an interface, or of [`NODE`](crate::abi::interface::NODE).
    fn interface(&self, index: u32) -> Option<Interface>;

    /// Ifindex of the interface that the packet came by at ingress, leaves by at egress.
    fn ifindex(&self) -> u32;

    /// Whether this node itself has sent the packet: it came by no interface.
    fn is_own(&self) -> bool;

    /// The setting: bits of [`masquerade`](crate::abi::settings::masquerade).
    fn masquerade(&self) -> u32;

    /// The setting [`MASQUERADE_PORTS`](crate::abi::settings::MASQUERADE_PORTS).
    fn masquerade_ports(&self) -> u32;

    /// The setting: one of [`echo`](crate::abi::settings::echo).
    fn vip_echo(&self) -> u32;

    /// The setting [`TAKEOVER`](crate::abi::settings::TAKEOVER).
    fn takes_over(&self) -> bool;

    /// The setting [`TERMINATE_TCP`](crate::abi::settings::TERMINATE_TCP).
    fn terminates_tcp(&self) -> bool;

    /// The time.
    fn now(&self) -> Ticks;

    /// Adds one to a counter.
    fn count(&self, counter: Counter);

    /// Adds to what a service has carried.
    fn add(&self, service: u32, more: &Carried);

    /// Who listens to events.
    fn listener(&self) -> Listener;

    /// Hands over an event that knows already when it was and at which interface; `fill` says the rest,
    /// in place: the stack has no room for it. `false` if there is no room for it at all.
    fn tell(&self, fill: impl FnOnce(&mut Event)) -> bool;
}

/// What a decision on a socket may ask beyond [`Tables`].
pub trait Sockets<A>: Processes {
    /// The entry of `SOCKETS` at `key`.
    fn socket(&self, key: &SocketKey<A>) -> Option<Socket<A>>;

    /// Inserts an entry of `SOCKETS`, whether or not there is one.
    fn keep_socket(&self, key: &SocketKey<A>, socket: &Socket<A>) -> Result<(), InsertError>;

    /// Removes an entry of `SOCKETS`, if it is there.
    fn forget_socket(&self, key: &SocketKey<A>);

    /// A random number.
    fn random(&self) -> u16;
}

/// What a decision on a socket may ask about the process that calls.
pub trait Processes {
    /// Whether [`EXEMPT`](crate::abi::exempt) has this key.
    fn exempts(&self, key: u64) -> bool;

    /// The id of the cgroup that the process is in or below, `level` steps below the root, which is
    /// at level 0; 0 below the process's own.
    fn ancestor_cgroup(&self, level: i32) -> u64;

    /// Tells the agent that the process may not bind a port, a service's own.
    fn tell_bind(&self, service: u32, port: Port, protocol: u8);
}

/// A live flow entry: read by copy, changed field by field.
pub trait FlowEntry<A> {
    /// A copy of the entry.
    fn load(&self) -> Flow<A>;

    /// Counts one packet of `bytes` bytes and notes that it passed at `now`.
    fn record(&self, bytes: u32, now: Ticks);

    /// Replaces the state bits.
    fn set_state(&self, state: u8);

    /// Takes what was counted away: the entry begins anew. Returns packets and bytes.
    fn take_counts(&self) -> (u64, u64);
}

/// How to insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insert {
    /// Whether or not there is an entry.
    Replace,
    /// Only if there is none.
    IfAbsent,
}

/// Why an insertion did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertError {
    /// There is an entry, and it was to be kept.
    Exists,
    /// The map took nothing.
    Refused,
}
