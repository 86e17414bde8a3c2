//! One agent at a time: who comes second, or comes to clean up, is told who is there.

use lb_tests::lab::{Topology, waggle};

use crate::cluster::{Cluster, PATIENCE, cluster_ips, start_agent};

#[test]
fn a_second_agent_refuses_to_start_until_the_first_is_gone() {
    let mut cluster = Cluster::new(Topology::Routed, 1);
    let start = |cluster: &Cluster| {
        let flags = ["--metrics-bind-address=", "--healthz-bind-address="];
        start_agent(&cluster.node, &cluster.manifests, &cluster.bpffs, &flags)
    };
    let before = cluster.waggle(&["services"]);
    let mut second = start(&cluster);
    assert!(!second.wait_ended(PATIENCE).success());
    let printed = second.printed();
    let first = format!("is in use by process {}", cluster.agent.pid());
    assert!(printed.contains(&first) && printed.contains("stop the other one first"), "{printed}");
    assert_eq!(cluster.waggle(&["services"]), before);
    cluster.agent.kill();
    cluster.agent = start(&cluster);
    cluster.agent.wait_printed("every source has delivered", PATIENCE);
    Cluster::ask(&cluster.pod.ns, cluster_ips()[0], 3);
}

#[test]
fn cleanup_takes_nothing_down_while_an_agent_runs() {
    let mut cluster = Cluster::new(Topology::Routed, 1);
    let bpffs = cluster.bpffs.path().to_str().expect("UTF-8").to_owned();
    let refused = waggle(&cluster.node.ns, &["cleanup", "--bpffs", &bpffs]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("stop it first"), "{said}");
    assert!(said.contains(&format!("process {}", cluster.agent.pid())), "{said}");
    Cluster::ask(&cluster.pod.ns, cluster_ips()[0], 3);
    cluster.agent.kill();
    cluster.waggle(&["cleanup"]);
    assert!(!cluster.bpffs.path().join("waggle").exists(), "nothing is left");
}
