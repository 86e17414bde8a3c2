//! `waggle run --dry-run` tells what an agent does, and does nothing.

use lb_tests::lab::{Bpffs, Topology, waggle};
use lb_userspace::datapath::pins::Pins;
use lb_userspace::maps::ReadBack as _;
use lb_userspace::maps::dump::{Dump, Ids};
use lb_userspace::maps::kernel::KernelMaps;
use serde::Deserialize;

use crate::cluster::Cluster;

/// What it prints as JSON.
#[derive(Debug, Deserialize)]
struct Told {
    node: Vec<String>,
    removed: Vec<String>,
    added: Vec<String>,
}

fn rehearse(cluster: &Cluster, bpffs: &Bpffs) -> Told {
    let paths = [cluster.manifests.path(), bpffs.path()].map(|path| path.to_str().unwrap());
    let [manifests, bpffs] = paths;
    let name = cluster.node.name.as_str();
    let run = ["run", "--dry-run", "-o", "json", "--node-name", name];
    let arguments = [&run[..], &["--manifests", manifests, "--bpffs", bpffs]].concat();
    let output = waggle(&cluster.node.ns, &arguments);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the maps hold, without ids.
fn lines(bpffs: &Bpffs) -> Vec<String> {
    let maps = KernelMaps::from_pins(&Pins::new(bpffs.path()).maps()).unwrap();
    let text = Dump::new(&maps.snapshot().unwrap()).text(Ids::Masked);
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines.dedup();
    lines
}

#[test]
fn on_a_fresh_node_it_tells_all_that_an_agent_writes_and_attaches() {
    let cluster = Cluster::new(Topology::Routed, 2);
    let fresh = Bpffs::new();
    let told = rehearse(&cluster, &fresh);
    assert_eq!(told.added, lines(&cluster.bpffs));
    assert_eq!(told.removed, [""; 0]);
    for part in ["pin maps and links", "ip_local_reserved_ports", "attach to eth0 "] {
        assert!(told.node.iter().any(|line| line.contains(part)), "{part}: {:?}", told.node);
    }
    assert!(!fresh.path().join("waggle").exists(), "nothing is pinned");
}

#[test]
fn on_a_node_with_pins_it_tells_only_what_differs() {
    let mut cluster = Cluster::new(Topology::Routed, 2);
    let told = rehearse(&cluster, &cluster.bpffs);
    assert_eq!((told.added.as_slice(), told.removed.as_slice()), (&[][..], &[][..]));
    assert!(told.node.iter().all(|line| line.starts_with("replace our programs on ")));
    cluster.agent.kill();
    cluster.write_web(1);
    let before = lines(&cluster.bpffs);
    let told = rehearse(&cluster, &cluster.bpffs);
    assert_eq!(lines(&cluster.bpffs), before, "nothing is written");
    let gone = cluster.servers[1].sockets()[0].to_string();
    assert!(
        told.removed.iter().any(|line| line.starts_with("BACKENDS_V4") && line.contains(&gone))
    );
    assert!(told.added.iter().all(|line| line.starts_with("SERVICES ")), "{:?}", told.added);
}
