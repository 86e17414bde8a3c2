//! The agent dies, comes back, is replaced: traffic notices nothing.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use aya::programs::{SchedClassifier, TcAttachType};
use lb_tests::lab::{Topology, wait_until};
use lb_tests::traffic::{Connection, UdpClient, http_get};

use crate::cluster::{Cluster, PATIENCE, cluster_ips};

#[test]
fn a_killed_agent_fails_no_request_and_comes_back_with_the_same_ids() {
    let mut cluster = Cluster::new(Topology::Routed, 3);
    let [dst, _] = cluster_ips();
    let before = dump_without_traffic(&cluster);
    let asked = AtomicU32::new(0);
    let mut long = Connection::open(&cluster.pod.ns, dst, None, PATIENCE).unwrap();
    let name = long.get("/").unwrap().name;
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            for _ in 0..1000 {
                http_get(&cluster.pod.ns, dst, None, PATIENCE).expect("an answer");
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
        wait_until("requests are under way", PATIENCE, || asked.load(Ordering::Relaxed) > 100);
        cluster.agent.kill();
        asking.join().expect("no request failed");
    });
    assert_eq!(long.get("/").unwrap().name, name);
    cluster.agent.restart(&cluster.node.ns);
    cluster.write_web(2);
    wait_until("the new agent follows the endpoints", PATIENCE, || {
        !Cluster::ask(&cluster.pod.ns, dst, 30).contains_key("web3")
    });
    cluster.write_web(3);
    wait_until("the third pod is back", PATIENCE, || {
        Cluster::ask(&cluster.pod.ns, dst, 30).contains_key("web3")
    });
    assert_eq!(long.get("/").unwrap().name, name);
    let after = dump_without_traffic(&cluster);
    let ids = |dump: &str, of: &str| -> Vec<String> {
        dump.lines().filter(|line| line.starts_with(of)).map(str::to_owned).collect()
    };
    for of in ["FRONTENDS_V4", "FRONTENDS_V6"] {
        assert_eq!(ids(&after, of), ids(&before, of), "ids of services");
    }
}

#[test]
fn restarts_under_load_break_nothing() {
    let mut cluster = Cluster::new(Topology::Bridge, 2);
    let [dst, _] = cluster_ips();
    let stop = AtomicBool::new(false);
    let (pod, client) = (&cluster.pod.ns, &cluster.client.ns);
    let [node_port, _] = cluster.node_ports();
    thread::scope(|scope| {
        let asking = [(pod, dst), (client, node_port)].map(|(from, dst)| {
            let stop = &stop;
            scope.spawn(move || {
                let mut long = Connection::open(from, dst, None, PATIENCE).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    http_get(from, dst, None, PATIENCE).expect("a new connection is answered");
                    long.get("/").expect("the long connection lives");
                }
            })
        });
        let stopping = StopOnDrop(&stop);
        for round in 0..5 {
            if round % 2 == 0 {
                cluster.agent.kill();
            } else {
                cluster.agent.stop();
            }
            cluster.agent.restart(&cluster.node.ns);
            // It has taken over when it follows a change.
            let marker = format!("marker{round}");
            let service = lb_tests::objects::service(&format!("default/{marker}"))
                .cluster_ip(&format!("10.96.1.{round}"))
                .port("", 80, lb_tests::objects::Protocol::Tcp);
            cluster.manifests.write("marker.yaml", &[service.object()]);
            let bpffs = cluster.bpffs.path().to_str().expect("UTF-8").to_owned();
            let node = &cluster.node.ns;
            cluster.agent.wait_ready("the new agent has written the marker", PATIENCE, || {
                let output = lb_tests::lab::waggle(node, &["dump", "--bpffs", &bpffs]);
                let dump = String::from_utf8_lossy(&output.stdout).into_owned();
                if dump.contains(&marker) { Ok(()) } else { Err(dump) }
            });
        }
        drop(stopping);
        for asking in asking {
            asking.join().expect("nothing broke");
        }
    });
}

/// Lets the askers end, also when the test fails while they ask.
pub(crate) struct StopOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn cleanup_leaves_nothing_behind() {
    let mut cluster = Cluster::new(Topology::Routed, 1);
    let interfaces = ["eth0", &cluster.pod.host_link, &cluster.servers[0].pod.host_link];
    let attached = || {
        interfaces.map(|interface| {
            cluster.node.ns.run(|| {
                [TcAttachType::Ingress, TcAttachType::Egress].map(|hook| {
                    SchedClassifier::query_tcx(interface, hook).expect("ask the kernel").1.len()
                })
            })
        })
    };
    assert_eq!(attached(), [[1, 1]; 3]);
    cluster.agent.stop();
    assert_eq!(attached(), [[1, 1]; 3], "stopping leaves everything in place");
    cluster.waggle(&["cleanup"]);
    cluster.waggle(&["cleanup"]);
    assert_eq!(attached(), [[0, 0]; 3]);
    assert!(!cluster.bpffs.path().join("waggle").exists(), "no pin of ours is left");
}

#[test]
fn sockets_of_the_node_keep_off_the_masquerade_ports_until_the_cleanup() {
    const RESERVED: &str = "net.ipv4.ip_local_reserved_ports";
    let mut cluster = Cluster::with_flags(Topology::Routed, 1, &["--masquerade-ports=60000-65535"]);
    assert_eq!(cluster.node.ns.sysctl(RESERVED), "60000-60999");
    cluster.agent.stop();
    assert_eq!(cluster.node.ns.sysctl(RESERVED), "60000-60999", "flows go on without an agent");
    cluster.waggle(&["cleanup"]);
    assert_eq!(cluster.node.ns.sysctl(RESERVED), "");
    cluster.node.ns.sysctls(&[(RESERVED, "8080,60990-61010")]);
    for _ in 0..2 {
        cluster.agent.restart(&cluster.node.ns);
        cluster.wait_until_served();
        assert_eq!(cluster.node.ns.sysctl(RESERVED), "8080,60000-61010");
    }
    cluster.agent.stop();
    let cleaned = cluster.waggle(&["cleanup"]);
    assert!(cleaned.contains("ports 60000-60989 are no longer reserved"), "{cleaned}");
    assert_eq!(cluster.node.ns.sysctl(RESERVED), "8080,60990-61010");
}

#[test]
fn flows_that_are_over_go_and_an_idle_connection_stays() {
    let flags = ["--conntrack-udp-timeout=1s", "--conntrack-udp-timeout-stream=1s"];
    let cluster = Cluster::with_flags(Topology::Routed, 1, &flags);
    let [tcp, _] = cluster_ips();
    let udp = SocketAddr::new(tcp.ip(), 53);
    let mut idle = Connection::open(&cluster.pod.ns, tcp, None, PATIENCE).unwrap();
    let name = idle.get("/").unwrap().name;
    UdpClient::open(&cluster.pod.ns, udp, None, PATIENCE).unwrap().ask().unwrap();
    let flows_of = |cluster: &Cluster, protocol: &str| {
        let dump = cluster.waggle_json(&["dump"]);
        let flows = dump["flows"].as_array().expect("a list of flows");
        flows.iter().filter(|row| row["protocol"] == protocol).count()
    };
    assert_eq!(flows_of(&cluster, "UDP"), 2, "one entry a direction");
    wait_until("the entries of the UDP flow are gone", 6 * PATIENCE, || {
        flows_of(&cluster, "UDP") == 0
    });
    assert!(flows_of(&cluster, "TCP") >= 2);
    assert_eq!(idle.get("/").unwrap().name, name);
}

/// The dump without what traffic changes by itself.
fn dump_without_traffic(cluster: &Cluster) -> String {
    let dump = cluster.waggle(&["dump"]);
    let lines = dump.lines().filter(|l| !l.starts_with("FLOWS") && !l.starts_with("COUNTERS"));
    lines.collect::<Vec<_>>().join("\n")
}
