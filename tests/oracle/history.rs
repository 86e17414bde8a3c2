//! How a random cluster comes about, step by step, and what is asked after each.

use std::net::{IpAddr, SocketAddr};

use lb_tests::oracle::{
    AddressType, Cluster, Endpoint, Interface, Node, Packet, Prefix, Protocol, Service, Settings,
    Slice, SlicePort, claims,
};
use proptest::sample::Index;

use crate::generate::{CLIENTS, NODES, PODS_V4, PODS_V6, ip};

/// One agent's life: it starts in a cluster without Services, and things happen.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) settings: Settings,
    pub(crate) start: State,
    pub(crate) steps: Vec<Step>,
}

/// Several changes at once, and what is asked then.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) changes: Vec<Change>,
    pub(crate) probes: Vec<Probe>,
    /// The agent gets full lists, not single changes.
    pub(crate) relists: bool,
}

/// What can happen. Objects are small numbers.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Service(usize, Box<Service>),
    NoService(usize),
    Slice(usize, Option<SliceDraft>),
    Pod(usize, bool, Pod),
    Node(usize, Option<Node>),
    ServiceCidrs(Vec<Prefix>),
    Bound(Vec<IpAddr>),
    Interface(bool),
}

/// A slice whose endpoints are numbers of pods, each alive or terminating.
#[derive(Clone, Debug)]
pub(crate) struct SliceDraft {
    pub(crate) service: Option<(&'static str, &'static str)>,
    pub(crate) is_headless: bool,
    pub(crate) address_type: AddressType,
    pub(crate) ports: Vec<SlicePort>,
    pub(crate) endpoints: Vec<(usize, bool)>,
}

/// An endpoint that gets its address from its slice's family.
#[derive(Clone, Debug)]
pub(crate) struct Pod(pub(crate) Endpoint);

/// The cluster in the generator's terms.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) services: Vec<Option<Box<Service>>>,
    pub(crate) slices: Vec<Option<SliceDraft>>,
    /// Alive and terminating.
    pub(crate) pods: Vec<(Pod, Pod)>,
    pub(crate) nodes: Vec<Option<Node>>,
    pub(crate) service_cidrs: Vec<Prefix>,
    pub(crate) bound: Vec<IpAddr>,
    pub(crate) is_workload: bool,
}

/// A packet, as far as it can be said without knowing the cluster.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    pub(crate) target: Target,
    pub(crate) client: Index,
}

/// What a probe dials.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// What some Service claims.
    Claim(Index),
    /// Another port of such an address.
    Beside(Index, u16, Protocol),
    /// Something else.
    Free(IpAddr, u16, Protocol),
}

impl State {
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Service(number, service) => self.services[number] = Some(service),
            Change::NoService(number) => self.services[number] = None,
            Change::Slice(number, slice) => self.slices[number] = slice,
            Change::Pod(number, false, pod) => self.pods[number].0 = pod,
            Change::Pod(number, true, pod) => self.pods[number].1 = pod,
            Change::Node(number, node) => self.nodes[number] = node,
            Change::ServiceCidrs(cidrs) => self.service_cidrs = cidrs,
            Change::Bound(addresses) => self.bound = addresses,
            Change::Interface(is_workload) => self.is_workload = is_workload,
        }
    }

    /// The cluster in the oracle's terms.
    pub(crate) fn cluster(&self, settings: &Settings) -> Cluster {
        let own = ["192.168.0.2", "192.168.1.2", "2001:db8::1", "2001:db8:1::2"].map(ip);
        let slices = self.slices.iter().zip(0..);
        Cluster {
            services: self.services.iter().flatten().map(|it| (**it).clone()).collect(),
            slices: slices.filter_map(|(it, n)| Some(self.slice(it.as_ref()?, n))).collect(),
            nodes: self.nodes.iter().flatten().cloned().collect(),
            this_node: NODES[0].into(),
            interface_addresses: own.iter().chain(&self.bound).copied().collect(),
            service_cidrs: self.service_cidrs.clone(),
            settings: settings.clone(),
        }
    }

    fn slice(&self, draft: &SliceDraft, number: usize) -> Slice {
        Slice {
            namespace: draft.service.map_or("one", |(namespace, _)| namespace).into(),
            name: format!("slice-{number}"),
            service: draft.service.map(|(_, name)| name.into()),
            is_headless: draft.is_headless,
            address_type: draft.address_type,
            ports: draft.ports.clone(),
            endpoints: draft.endpoints.iter().map(|it| self.endpoint(draft, *it)).collect(),
        }
    }

    fn endpoint(&self, draft: &SliceDraft, (number, is_terminating): (usize, bool)) -> Endpoint {
        let (alive, terminating) = &self.pods[number];
        let Pod(endpoint) = if is_terminating { terminating } else { alive };
        let address = match draft.address_type {
            AddressType::Ipv4 => PODS_V4[number],
            AddressType::Ipv6 => PODS_V6[number],
            AddressType::Fqdn => "web.example",
        };
        Endpoint { addresses: vec![address.into()], ..endpoint.clone() }
    }

    /// The packet of `probe` in `cluster`, which is this state's.
    pub(crate) fn packet(&self, cluster: &Cluster, probe: &Probe) -> Packet {
        let claims: Vec<_> =
            claims(cluster).into_iter().filter(|it| it.protocol != Protocol::Sctp).collect();
        let claim = |index: &Index| (!claims.is_empty()).then(|| index.get(&claims));
        let (address, port, protocol) = match &probe.target {
            Target::Claim(index) => match claim(index) {
                Some(claim) => (claim.address, claim.number, claim.protocol),
                None => (ip("172.30.0.50"), 80, Protocol::Tcp),
            },
            Target::Beside(index, port, protocol) => {
                let address = claim(index).map_or(ip("172.30.0.50"), |claim| claim.address);
                (address, *port, *protocol)
            }
            Target::Free(address, port, protocol) => (*address, *port, *protocol),
        };
        let clients = CLIENTS.iter().chain(&PODS_V4).chain(&PODS_V6).map(|text| ip(text));
        let clients: Vec<_> = clients.filter(|it| it.is_ipv4() == address.is_ipv4()).collect();
        Packet {
            source: *probe.client.get(&clients),
            interface: if self.is_workload { Interface::Workload } else { Interface::Uplink },
            destination: SocketAddr::new(address, port),
            protocol,
        }
    }
}
