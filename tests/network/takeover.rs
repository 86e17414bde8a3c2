//! Taking over from kube-proxy, and giving back: its rules lead to one pod, the agent's Service to
//! another, so that the answer tells who has translated.

use std::net::SocketAddr;

use lb_tests::lab::{Agent, Bpffs, Lab, Node, Pod, Topology, waggle, wait_until};
use lb_tests::objects::Manifests;
use lb_tests::traffic::{Connection, UdpClient, http_get};

use crate::cluster::{
    PATIENCE, Server, cluster_ips, counter, node_object, slices, start_agent, web,
};
use crate::evictions::evict_all;

/// How the rules of one family are written: for its name, the address of the Service and that of its pod.
type Rules = fn(family: &str, vip: SocketAddr, backend: SocketAddr) -> String;

fn iptables(family: &str, vip: SocketAddr, backend: SocketAddr) -> String {
    let (address, port) = (vip.ip(), vip.port());
    format!(
        "table {family} nat {{
           chain KUBE-SEP-A {{ meta l4proto {{ tcp, udp }} dnat to {backend}; }}
           chain KUBE-SVC-A {{ counter jump KUBE-SEP-A; }}
           chain KUBE-SERVICES {{
             {family} daddr {address} tcp dport {port} counter jump KUBE-SVC-A;
             {family} daddr {address} udp dport 53 counter jump KUBE-SVC-A;
           }}
           chain KUBE-MARK-MASQ {{ meta mark set meta mark or 0x4000; }}
           chain KUBE-POSTROUTING {{ meta mark and 0x4000 != 0x4000 return; masquerade; }}
           chain PREROUTING {{
             type nat hook prerouting priority dstnat;
             counter jump KUBE-SERVICES comment \"kubernetes service portals\";
           }}
           chain POSTROUTING {{
             type nat hook postrouting priority srcnat;
             counter jump KUBE-POSTROUTING comment \"kubernetes postrouting rules\";
           }}
         }}
         table {family} filter {{
           chain KUBE-FORWARD {{ ct state invalid drop; }}
           chain KUBE-FIREWALL {{ }}
           chain FORWARD {{ type filter hook forward priority filter; counter jump KUBE-FORWARD; }}
           chain INPUT {{ type filter hook input priority filter; counter jump KUBE-FIREWALL; }}
         }}\n"
    )
}

fn nftables(family: &str, vip: SocketAddr, backend: SocketAddr) -> String {
    let (address, port) = (vip.ip(), vip.port());
    format!(
        "table {family} kube-proxy {{
           chain endpoint {{ meta l4proto {{ tcp, udp }} dnat to {backend}; }}
           chain services {{
             {family} daddr {address} tcp dport {port} goto endpoint;
             {family} daddr {address} udp dport 53 goto endpoint;
           }}
           chain nat-prerouting {{ type nat hook prerouting priority dstnat; jump services; }}
         }}\n"
    )
}

/// A node with kube-proxy's rules and no agent yet. Fields are dropped in their order.
struct World {
    agent: Option<Agent>,
    _servers: [Server; 2],
    pod: Pod,
    node: Node,
    manifests: Manifests,
    bpffs: Bpffs,
    _lab: Lab,
}

/// Who answers if kube-proxy's rules translate, and if we do.
const THEIRS: &str = "web1";
const OURS: &str = "web2";

impl World {
    fn new(rules: Rules) -> Self {
        let lab = Lab::new();
        let node = lab.node(Topology::Routed);
        let servers = [THEIRS, OURS].map(|name| Server::start(&node, name));
        let pod = node.pod("client");
        for ((family, vip), backend) in
            ["ip", "ip6"].into_iter().zip(cluster_ips()).zip(servers[0].sockets())
        {
            drop(node.ns.output("nft", &[&rules(family, vip, backend)]));
        }
        let (manifests, bpffs) = (Manifests::new(), Bpffs::new());
        let [v4, v6] = slices("default/web", &servers[1..]);
        manifests.write("node.yaml", &[node_object(&node)]);
        manifests.write("web.yaml", &[web().object(), v4.object(), v6.object()]);
        Self { agent: None, _servers: servers, pod, node, manifests, bpffs, _lab: lab }
    }

    /// Starts the agent and waits until new connections are its own.
    fn start(&mut self, flags: &[&str]) {
        let mut agent = start_agent(&self.node, &self.manifests, &self.bpffs, flags);
        for dst in cluster_ips() {
            agent.wait_ready("the agent has taken over", 6 * PATIENCE, || match self.ask(dst) {
                name if name == OURS => Ok(()),
                name => Err(format!("{name} answers")),
            });
        }
        self.agent = Some(agent);
    }

    /// Who answers a new connection. What the client and the server see of it is right.
    #[track_caller]
    fn ask(&self, dst: SocketAddr) -> String {
        let answer = http_get(&self.pod.ns, dst, None, PATIENCE).expect("an answer");
        assert_eq!(answer.peer, dst);
        assert_eq!(answer.seen_peer, Some(answer.local), "it is translated once");
        answer.name
    }

    /// A connection to each family's Service.
    fn connect(&self) -> Vec<Connection> {
        let open = |dst| Connection::open(&self.pod.ns, dst, None, PATIENCE).unwrap();
        cluster_ips().into_iter().map(open).collect()
    }

    #[track_caller]
    fn check_new(&self, name: &str) {
        for dst in cluster_ips() {
            assert_eq!(self.ask(dst), name);
            let dns = SocketAddr::new(dst.ip(), 53);
            let udp = UdpClient::connect(&self.pod.ns, dns, None, PATIENCE);
            assert_eq!(udp.unwrap().ask().expect("an answer").name, name);
        }
    }

    #[track_caller]
    fn waggle(&self, command: &[&str]) -> String {
        let bpffs = self.bpffs.path().to_str().unwrap();
        let output = waggle(&self.node.ns, &[command, &["--bpffs", bpffs]].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

#[track_caller]
fn check_go_on(connections: &mut [Connection], name: &str) {
    for connection in connections {
        for _ in 0..3 {
            assert_eq!(connection.get("/").expect("the connection lives").name, name);
        }
    }
}

#[track_caller]
fn check_taken_over_and_given_back(rules: Rules) {
    let mut world = World::new(rules);
    world.check_new(THEIRS);
    let mut theirs = world.connect();
    check_go_on(&mut theirs, THEIRS);

    world.start(&[]);
    check_go_on(&mut theirs, THEIRS);
    world.check_new(OURS);
    let mut ours = world.connect();
    check_go_on(&mut ours, OURS);
    assert!(counter(&world.node, &world.bpffs, "pass_begun_elsewhere") > 0);
    let check = world.waggle(&["check"]);
    let row = check.lines().find(|line| line.contains("kube-proxy rules")).expect(&check);
    assert!(row.contains("warn"), "{row}");

    // A restart changes nothing of that.
    let agent = world.agent.as_mut().unwrap();
    agent.kill();
    agent.restart(&world.node.ns);
    world.check_new(OURS);
    check_go_on(&mut theirs, THEIRS);
    check_go_on(&mut ours, OURS);

    world.agent.as_mut().unwrap().stop();
    world.waggle(&["cleanup"]);
    world.check_new(THEIRS);
    check_go_on(&mut theirs, THEIRS);
}

#[test]
fn connections_of_iptables_go_on_new_ones_are_ours_and_theirs_again_after_the_cleanup() {
    check_taken_over_and_given_back(iptables);
}

#[test]
fn connections_of_nftables_go_on_new_ones_are_ours_and_theirs_again_after_the_cleanup() {
    check_taken_over_and_given_back(nftables);
}

#[test]
fn migrating_removes_the_rules_only_when_told_so_and_services_are_served_throughout() {
    let mut world = World::new(iptables);
    world.start(&[]);
    let rules = || world.node.ns.output("nft", &["list", "ruleset"]);
    let told = world.waggle(&["migrate", "--cleanup-kube-proxy"]);
    assert!(told.contains("would remove rule ip nat PREROUTING jump KUBE-SERVICES"), "{told}");
    assert!(rules().contains("KUBE-SVC-A"), "nothing was removed");

    let told = world.waggle(&["migrate", "--cleanup-kube-proxy", "--yes"]);
    assert!(told.contains("removed chain ip6 nat KUBE-SVC-A"), "{told}");
    let left = rules();
    assert!(!left.contains("KUBE-S") && !left.contains("KUBE-FORWARD"), "{left}");
    assert!(left.contains("jump KUBE-FIREWALL"), "the kubelet's stay: {left}");
    world.check_new(OURS);
    let mut ours = world.connect();
    check_go_on(&mut ours, OURS);
    let again = world.waggle(&["migrate", "--cleanup-kube-proxy"]);
    assert!(again.contains("nothing of kube-proxy was found"), "{again}");

    let agent = world.agent.as_mut().unwrap();
    agent.kill();
    agent.restart(&world.node.ns);
    wait_until("the new agent serves", PATIENCE, || world.ask(cluster_ips()[0]) == OURS);
    check_go_on(&mut ours, OURS);
}

/// While the rules are there such a connection is taken for theirs.
#[test]
fn a_connection_of_ours_without_entries_goes_on_as_soon_as_the_rules_are_gone() {
    let mut world = World::new(nftables);
    world.start(&["--drift-interval=200ms"]);
    let mut ours = world.connect();
    check_go_on(&mut ours, OURS);
    world.waggle(&["migrate", "--cleanup-kube-proxy", "--yes"]);
    let agent = world.agent.as_mut().unwrap();
    agent.wait_printed("kube-proxy's rules are gone: all TCP connections are ours", PATIENCE);
    evict_all(&world.bpffs);
    check_go_on(&mut ours, OURS);
    world.check_new(OURS);
}
