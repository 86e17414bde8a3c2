//! Somebody undoes what the agent has done: it is put back, and counted.

use std::fs;
use std::path::{Path, PathBuf};

use aya::programs::{SchedClassifier, TcAttachType};
use lb_tests::lab::{Topology, wait_until};
use lb_userspace::maps::kernel::KernelMaps;
use lb_userspace::maps::{Maps as _, Write};
use lb_userspace::model::Protocol;
use lb_userspace::plan::FrontendAddress;

use crate::cluster::{Cluster, PATIENCE, cluster_ips, output};
use crate::metrics::scrape;

const FLAGS: &[&str] = &["--drift-interval=200ms"];

fn pins(cluster: &Cluster) -> PathBuf {
    cluster.bpffs.path().join("waggle/v1")
}

/// The pins in a directory below [`pins`], sorted.
fn pinned(cluster: &Cluster, directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(pins(cluster).join(directory)).expect("read the pins");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("read a pin").path()).collect();
    paths.sort();
    paths
}

/// Waits until so many repairs of this kind are counted, and asks the service.
#[track_caller]
fn check_repaired(cluster: &Cluster, of: &str, count: f64) {
    wait_until(&format!("{count} repairs of {of} are counted"), PATIENCE, || {
        let found = scrape(cluster).find("waggle_drift_repaired_total", &[("of", of)]);
        found.is_some_and(|found| found >= count)
    });
    for dst in cluster_ips() {
        Cluster::ask(&cluster.pod.ns, dst, 3);
    }
}

fn detach(pin: &Path) {
    let pin = pin.to_str().expect("UTF-8");
    output("bpftool", &["link", "detach", "pinned", pin]);
}

/// How many programs are at both hooks of the client's link.
fn attached(cluster: &Cluster) -> [usize; 2] {
    [TcAttachType::Ingress, TcAttachType::Egress].map(|hook| {
        let ask = || SchedClassifier::query_tcx(&cluster.pod.host_link, hook);
        cluster.node.ns.run(ask).expect("ask the kernel").1.len()
    })
}

#[test]
fn programs_that_somebody_detaches_are_attached_again() {
    let cluster = Cluster::with_flags(Topology::Routed, 1, FLAGS);
    let links = pinned(&cluster, "links");
    assert!(links.len() >= 6, "{links:?}");
    for pin in &links {
        detach(pin);
    }
    check_repaired(&cluster, "attachment", 3.0);
    assert_eq!(attached(&cluster), [1, 1]);
    assert_eq!(pinned(&cluster, "links"), links);
    let sockets = pinned(&cluster, "sockets");
    for pin in &sockets {
        detach(pin);
    }
    check_repaired(&cluster, "socket", 9.0);
    Cluster::ask(&cluster.node.ns, cluster_ips()[0], 1);
    assert_eq!(pinned(&cluster, "sockets"), sockets);
}

#[test]
fn pins_that_somebody_removes_come_back_with_what_they_pinned() {
    let mut cluster = Cluster::with_flags(Topology::Routed, 1, FLAGS);
    let [maps, links] = ["maps", "links"].map(|directory| pinned(&cluster, directory));
    let before = cluster.waggle(&["services"]);
    for pin in maps.iter().chain(&links) {
        fs::remove_file(pin).expect("remove a pin");
    }
    fs::remove_dir(pins(&cluster).join("links")).expect("remove a directory");
    check_repaired(&cluster, "pin", 30.0);
    check_repaired(&cluster, "attachment", 3.0);
    assert_eq!([pinned(&cluster, "maps"), pinned(&cluster, "links")], [maps, links]);
    assert_eq!(cluster.waggle(&["services"]), before);
    cluster.agent.kill();
    Cluster::ask(&cluster.pod.ns, cluster_ips()[0], 3);
    cluster.agent.restart(&cluster.node.ns);
    cluster.wait_until_served();
}

#[test]
fn entries_that_somebody_edits_are_written_again() {
    let cluster = Cluster::with_flags(Topology::Routed, 1, FLAGS);
    let before = cluster.waggle(&["services"]);
    let [dst, _] = cluster_ips();
    let address = FrontendAddress { ip: dst.ip(), port: dst.port(), protocol: Protocol::Tcp };
    let mut maps = KernelMaps::from_pins(&pins(&cluster).join("maps")).expect("open the maps");
    maps.apply(&Write::DeleteFrontend(address)).expect("delete a frontend");
    maps.apply(&Write::FreeService(1)).expect("free a service");
    check_repaired(&cluster, "FRONTENDS_V4", 1.0);
    check_repaired(&cluster, "SERVICES", 1.0);
    assert_eq!(cluster.waggle(&["services"]), before);
}

#[test]
fn filters_come_back_after_somebody_has_flushed_the_qdisc() {
    let flags = [FLAGS, &["--attach=clsact"]].concat();
    let cluster = Cluster::with_flags(Topology::Routed, 1, &flags);
    let link = &cluster.pod.host_link;
    drop(cluster.node.ns.output("tc", &["qdisc", "del", "dev", link, "clsact"]));
    check_repaired(&cluster, "attachment", 1.0);
    for side in ["ingress", "egress"] {
        let shown = cluster.node.ns.output("tc", &["filter", "show", "dev", link, side]);
        assert!(shown.contains("direct-action"), "{side}: {shown}");
    }
}
