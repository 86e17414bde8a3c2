//! Programs of other makers at the same cgroup keep their places, run as well and outlive ours.

use std::net::SocketAddr;

use lb_common::net::protocol;
use lb_tests::datapath::{Globals, Kernel, World};
use lb_tests::lab::Topology;
use lb_tests::traffic::http_get;

use crate::cluster::{Cluster, PATIENCE, cluster_ips};
use crate::sockets::{attached, cgroup, wait_for_answer};

/// A program that sends who connects to `from` to `to`, attached to the cluster's cgroup.
fn neighbour(cluster: &Cluster, from: &str, to: SocketAddr) -> Kernel {
    let world = World::default().service(protocol::TCP, &[from], &[&to.to_string()]);
    let tables = world.tables();
    let mut kernel = Kernel::load(None, 1, Globals::of(&tables));
    kernel.fill(&tables);
    kernel.attach_connect(cgroup(cluster));
    kernel
}

fn who(cluster: &Cluster, dst: SocketAddr) -> String {
    http_get(&cluster.node.ns, dst, None, PATIENCE).unwrap().name
}

#[test]
fn a_program_before_ours_may_lead_to_our_services() {
    const ELSEWHERE: &str = "10.99.0.1:80";
    let mut cluster = Cluster::new(Topology::Routed, 1);
    cluster.agent.stop();
    cluster.waggle(&["cleanup"]);
    let _neighbour = neighbour(&cluster, ELSEWHERE, cluster_ips()[0]);
    cluster.agent.restart(&cluster.node.ns);
    wait_for_answer(&cluster.node.ns, cluster_ips()[0]);
    assert_eq!(who(&cluster, ELSEWHERE.parse().unwrap()), "web1");
    cluster.agent.stop();
    cluster.waggle(&["cleanup"]);
    assert_eq!(attached(&cluster), ["lb_connect4"], "the neighbour's own");
}

#[test]
fn a_program_after_ours_sees_backends_and_keeps_its_place_when_the_agent_comes_back() {
    let mut cluster = Cluster::new(Topology::Routed, 2);
    cluster.write_web(1);
    let [pod, other] = [0, 1].map(|server| cluster.servers[server].sockets()[0]);
    wait_for_answer(&cluster.node.ns, cluster_ips()[0]);
    let neighbour = neighbour(&cluster, &pod.to_string(), other);
    let led_on = || neighbour.counters().values().sum::<u64>();
    for round in 1..=2 {
        let before = led_on();
        assert_eq!(who(&cluster, cluster_ips()[0]), "web2", "round {round}");
        assert_eq!(led_on(), before + 1);
        cluster.agent.restart(&cluster.node.ns);
        wait_for_answer(&cluster.node.ns, cluster_ips()[1]);
    }
    cluster.agent.stop();
    cluster.waggle(&["cleanup"]);
    assert_eq!(who(&cluster, pod), "web2", "without us the neighbour goes on");
}
