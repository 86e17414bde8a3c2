//! Short ways to write keys and plans down.

use std::net::SocketAddr;

use lb_common::net::Family;
use lb_userspace::model::{NamespacedName, Protocol, ServicePortName};
use lb_userspace::plan::{
    BackendState, Client, FrontendAddress, FrontendUse, InterfaceEntry, ServiceKey, ServicePlan,
    Surroundings, TableSize,
};

/// The TCP port `http` of the Service `demo/name`, in IPv4.
pub(crate) fn key(name: &str) -> ServiceKey {
    let service = NamespacedName::new("demo", name);
    let name = ServicePortName { service, port: "http".into(), protocol: Protocol::Tcp };
    ServiceKey { name, family: Family::V4 }
}

/// The same in IPv6.
pub(crate) fn key6(name: &str) -> ServiceKey {
    ServiceKey { family: Family::V6, ..key(name) }
}

/// A TCP frontend.
pub(crate) fn frontend(address: &str) -> FrontendAddress {
    let address: SocketAddr = address.parse().expect("an address and a port");
    FrontendAddress { ip: address.ip(), port: address.port(), protocol: Protocol::Tcp }
}

/// Pods at these prefixes, this node at `node`, ClusterIPs from `cidrs`, pods behind `interfaces`.
pub(crate) fn surroundings(
    pods: &[&str],
    node: &[&str],
    cidrs: &[&str],
    interfaces: &[u32],
) -> Surroundings {
    let net = |prefix: &&str| prefix.parse().expect("a prefix");
    let pod = Client { pod: true, ..Client::default() };
    let this = Client { node: true, ..Client::default() };
    let pods = pods.iter().map(|prefix| (net(prefix), pod));
    let workload = InterfaceEntry { workload: true, ..InterfaceEntry::default() };
    Surroundings {
        clients: pods.chain(node.iter().map(|prefix| (net(prefix), this))).collect(),
        service_cidrs: cidrs.iter().map(net).collect(),
        interfaces: interfaces.iter().map(|index| (*index, workload)).collect(),
    }
}

/// A plan without anything, to add to.
pub(crate) fn plan() -> Plan {
    Plan(ServicePlan::default())
}

/// Builds a [`ServicePlan`].
#[derive(Clone)]
pub(crate) struct Plan(pub(crate) ServicePlan);

impl Plan {
    /// A ClusterIP.
    pub(crate) fn cluster_ip(self, address: &str) -> Self {
        self.frontend(address, FrontendUse::default())
    }

    /// A NodePort of a Service with `externalTrafficPolicy: Local`.
    pub(crate) fn local_node_port(self, address: &str) -> Self {
        self.frontend(
            address,
            FrontendUse { local: true, external: true, ..FrontendUse::default() },
        )
    }

    /// A ClusterIP at which nothing else is.
    pub(crate) fn closed(self, address: &str) -> Self {
        self.frontend(address, FrontendUse { closed: true, ..FrontendUse::default() })
    }

    /// An address of a load balancer that only clients in the source ranges may use.
    pub(crate) fn guarded(self, address: &str) -> Self {
        let used =
            FrontendUse { external: true, guarded: true, closed: true, ..FrontendUse::default() };
        self.frontend(address, used)
    }

    /// A source range.
    pub(crate) fn range(mut self, prefix: &str) -> Self {
        self.0.source_ranges.insert(prefix.parse().expect("a prefix"));
        self
    }

    fn frontend(mut self, address: &str, used: FrontendUse) -> Self {
        self.0.frontends.insert(frontend(address), used);
        self
    }

    /// A ready endpoint on this node: in both lists.
    pub(crate) fn here(mut self, address: &str) -> Self {
        let address = address.parse().expect("an address and a port");
        self.0.backends.insert(
            address,
            BackendState { serving: true, local: true, ..BackendState::default() },
        );
        self.0.cluster.insert(address);
        self.0.usable = true;
        self.0.local.insert(address);
        self
    }

    /// A ready endpoint on another node: in the cluster list.
    pub(crate) fn there(mut self, address: &str) -> Self {
        let address = address.parse().expect("an address and a port");
        self.0.backends.insert(address, BackendState { serving: true, ..BackendState::default() });
        self.0.cluster.insert(address);
        self.0.usable = true;
        self
    }

    /// An endpoint on another node that is known and in no list.
    pub(crate) fn leaving(mut self, address: &str, serving: bool) -> Self {
        let address = address.parse().expect("an address and a port");
        self.0.backends.insert(address, BackendState { serving, ..BackendState::default() });
        self
    }

    /// Lists are Maglev tables of `size` slots.
    pub(crate) fn table(mut self, size: u32) -> Self {
        self.0.table = Some(TableSize::new(size).expect("a prime"));
        self
    }

    /// Session affinity.
    pub(crate) fn affinity(mut self, seconds: u32) -> Self {
        self.0.affinity_s = seconds;
        self
    }
}
