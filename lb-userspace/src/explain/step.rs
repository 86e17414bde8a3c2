//! What a decision asks of the maps and does to them, in words.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use lb_common::abi::counter::Counter;
use lb_common::abi::flow::{FlowKey, Hook};
use lb_common::net::{Address, protocol};
use serde::{Serialize, Serializer};

use crate::maps::dump::FlowRow;

/// One look-up with its answer, or one change that was kept from the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// The entry of a flow was looked for.
    Flow {
        /// Where.
        entry: EntryName,
        /// What is there.
        found: Option<FlowRow>,
    },
    /// Is some frontend at an address?
    Address {
        /// The address.
        address: IpAddr,
        /// Whether other ports of it are rejected; absent if no frontend is there.
        closed: Option<bool>,
    },
    /// Is it in a prefix that ClusterIPs are allocated from?
    ServiceCidr {
        /// The prefix's address.
        prefix: IpAddr,
        /// Its mask.
        mask: IpAddr,
    },
    /// A frontend was looked for.
    Frontend {
        /// `address:port/PROTOCOL`.
        address: String,
        /// The Service behind it; absent if it is no frontend.
        service: Option<String>,
        /// Balanced over the local list, unless the client is a pod or the node and it is external.
        local: bool,
        /// A NodePort, LoadBalancer or external address.
        external: bool,
    },
    /// May the client use a guarded frontend?
    SourceRange {
        /// The client.
        client: IpAddr,
        /// Whether it may.
        admitted: bool,
    },
    /// Who is the client?
    Client {
        /// Its address.
        client: IpAddr,
        /// It is a pod's.
        pod: bool,
        /// It is this node's.
        node: bool,
    },
    /// What is known of an interface?
    Interface {
        /// Its ifindex; 0 is the node itself.
        ifindex: u32,
        /// Whether pods are behind it.
        pods: bool,
        /// The source that masqueraded packets get which leave by it.
        source: Option<IpAddr>,
    },
    /// Which list of the Service is in use, as its policy says for this client.
    Policy {
        /// `cluster` or `local`.
        list: &'static str,
    },
    /// The lists of a Service.
    Service {
        /// Its name.
        service: String,
        /// How many backends are in the list for policy `Cluster`.
        cluster: u32,
        /// And in that for policy `Local`.
        local: u32,
        /// Whether some endpoint could be used, on whatever node.
        usable: bool,
        /// Session affinity in seconds; 0 is none.
        affinity_s: u32,
    },
    /// Was the client sent to a backend before?
    Affinity {
        /// The client.
        client: IpAddr,
        /// The id of the backend that it was given last.
        backend: Option<u32>,
    },
    /// The hash has chosen a slot.
    Slot {
        /// The slot.
        slot: u32,
        /// The id of the backend in it.
        backend: Option<u32>,
    },
    /// A backend.
    Backend {
        /// Its id.
        backend: u32,
        /// Where it listens; absent if the id is not in use.
        address: Option<SocketAddr>,
        /// It answers.
        serving: bool,
        /// It is on this node.
        local: bool,
    },
    /// An entry would be inserted.
    Insert {
        /// The entry.
        row: FlowRow,
        /// Whether it would be: else another one is in the way.
        done: bool,
    },
    /// An entry would be removed.
    Remove {
        /// Where.
        entry: EntryName,
    },
    /// A counter would be increased.
    Count {
        /// Which.
        #[serde(serialize_with = "label")]
        counter: Counter,
    },
}

/// Where an entry of a flow is: what the packet looks like, and at which hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EntryName {
    /// `ingress` or `egress`.
    pub hook: &'static str,
    /// The IP protocol's name, or its number.
    pub protocol: String,
    /// The packet's source.
    pub src: SocketAddr,
    /// The packet's destination.
    pub dst: SocketAddr,
}

impl<A: Address> From<&FlowKey<A>> for EntryName {
    fn from(key: &FlowKey<A>) -> Self {
        Self {
            hook: if key.hook == Hook::Ingress as u8 { "ingress" } else { "egress" },
            protocol: protocol_name(key.protocol),
            src: SocketAddr::new(key.src.to_ip(), key.src_port.to_host()),
            dst: SocketAddr::new(key.dst.to_ip(), key.dst_port.to_host()),
        }
    }
}

/// The name of an IP protocol, else its number.
pub(super) fn protocol_name(number: u8) -> String {
    protocol::name(number).map_or_else(|| number.to_string(), str::to_owned)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn label<S: Serializer>(counter: &Counter, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(counter.label())
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hook, protocol, src, dst } = self;
        write!(f, "{hook} {protocol} {src} -> {dst}")
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flow { entry, found: None } => write!(f, "flow: no entry for {entry}"),
            Self::Flow { found: Some(row), .. } => write!(f, "flow: there is {row}"),
            Self::Insert { row, done: true } => write!(f, "would insert {row}"),
            Self::Insert { row, .. } => write!(f, "would insert {row}, but another is there"),
            Self::Remove { entry } => write!(f, "would remove the entry for {entry}"),
            Self::Count { counter } => {
                write!(f, "would count {}: {}", counter.label(), counter.help())
            }
            Self::Policy { list } => write!(f, "policy: the {list} list is in use"),
            Self::Service { service, cluster, local, affinity_s, .. } => {
                write!(
                    f,
                    "service: {service}, {cluster} in the cluster list, {local} in the local"
                )?;
                if *affinity_s == 0 { Ok(()) } else { write!(f, ", affinity {affinity_s}s") }
            }
            step => step.answer(f),
        }
    }
}

impl Step {
    /// A look-up that people read as a question and its answer.
    fn answer(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { address, closed } => {
                write!(
                    f,
                    "address: {} at {address}",
                    match closed {
                        None => "no frontend",
                        Some(false) => "frontends",
                        Some(true) => "frontends alone",
                    }
                )
            }
            Self::ServiceCidr { prefix, mask } => {
                write!(f, "service CIDR: compared with {prefix} under {mask}")
            }
            Self::Frontend { address, service: None, .. } => {
                write!(f, "frontend: {address} is none")
            }
            Self::Frontend { address, service: Some(service), local, external } => {
                let policy = if *local { "Local" } else { "Cluster" };
                let kind = if *external { "external" } else { "internal" };
                write!(f, "frontend: {address} is of {service}, {kind} policy {policy}")
            }
            Self::SourceRange { client, admitted } => {
                let not = if *admitted { "" } else { "not " };
                write!(f, "source range: {client} is {not}in one of the service")
            }
            Self::Client { client, pod, node } => {
                write!(
                    f,
                    "client: {client} is {}",
                    match (pod, node) {
                        (true, _) => "a pod",
                        (_, true) => "this node",
                        _ => "in no known prefix",
                    }
                )
            }
            step => step.pick(f),
        }
    }

    /// A look-up on the way to a backend, or out.
    fn pick(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface { ifindex, pods, source } => {
                let behind = if *pods { "pods" } else { "no pods of this node" };
                write!(f, "interface: {behind} behind {ifindex}")?;
                source.map_or(Ok(()), |source| write!(f, ", masquerades as {source}"))
            }
            Self::Affinity { client, backend: None } => {
                write!(f, "affinity: none known of {client}")
            }
            Self::Affinity { client, backend: Some(id) } => {
                write!(f, "affinity: {client} was given backend {id}")
            }
            Self::Slot { slot, backend } => match backend {
                Some(id) => write!(f, "slot: the hash falls on {slot}, where backend {id} is"),
                None => write!(f, "slot: the hash falls on {slot}, which is not there"),
            },
            Self::Backend { backend, address: Some(address), serving, local } => {
                let serves = if *serving { "serving" } else { "not serving" };
                let place = if *local { "on this node" } else { "elsewhere" };
                write!(f, "backend: {backend} is {address}, {serves}, {place}")
            }
            Self::Backend { backend, .. } => write!(f, "backend: {backend} is not in use"),
            _ => Ok(()),
        }
    }
}
