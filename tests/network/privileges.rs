//! The agent with the capabilities, mounts and settings of its `DaemonSet`, and no others.
//!
//! The container is built by hand: a root directory of its own, read-only, with a read-only /proc/sys
//! and /sys as runtimes make them, the volumes of the manifest, and a bounding set of its
//! capabilities. What a runtime adds on top, seccomp and `AppArmor`, is not here.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Volume, VolumeMount};
use lb_tests::lab::{
    Agent, Bpffs, Lab, Node, Topology, agent_binary, temporary_directory, wait_until,
};
use lb_tests::objects::Manifests;
use lb_tests::traffic::UdpClient;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::cluster::{Cluster, PATIENCE, Server, cluster_ips, node_object, slices, web};

/// The settings of the lab: where its Services are, which part of the cgroups is this node's, and small
/// maps.
const SETTINGS: &str = "manifests: /manifests\ncgroup-root: /sys/fs/cgroup\nmax-services: 1024\nmax-slots: 4096\n\
                        max-backends: 1024\nmax-flows: 16384\n";

/// What the manifest says of the agent.
struct Pod {
    container: Container,
    volumes: Vec<Volume>,
    config: String,
}

impl Pod {
    fn of(manifest: &str) -> Self {
        let (daemon_set, config_map): (DaemonSet, ConfigMap) =
            (object(manifest, "DaemonSet"), object(manifest, "ConfigMap"));
        let pod = daemon_set.spec.unwrap().template.spec.unwrap();
        assert_eq!((pod.host_network, pod.containers.len()), (Some(true), 1));
        let config = config_map.data.unwrap().remove("config.yaml").unwrap();
        let container = pod.containers.into_iter().next().unwrap();
        Self { container, volumes: pod.volumes.unwrap(), config }
    }

    /// In lower case, without `CAP_`.
    fn capabilities(&self) -> Vec<String> {
        let security = self.container.security_context.clone().unwrap();
        assert_eq!(security.privileged, None);
        assert_eq!(security.allow_privilege_escalation, Some(false));
        assert_eq!(security.read_only_root_filesystem, Some(true));
        let capabilities = security.capabilities.unwrap();
        assert_eq!(capabilities.drop.unwrap(), ["ALL"]);
        capabilities.add.unwrap().iter().map(|name| name.to_lowercase()).collect()
    }

    /// What the runtime is to mount at `mount`.
    fn source(&self, mount: &VolumeMount, files: &Files, node: &Node, bpffs: &Bpffs) -> PathBuf {
        let volume = self.volumes.iter().find(|volume| volume.name == mount.name).unwrap();
        match volume.host_path.as_ref().map(|host| host.path.as_str()) {
            None => files.config.path().to_owned(),
            Some("/sys/fs/bpf") => bpffs.path().to_owned(),
            Some("/sys/fs/cgroup") => node.ns.cgroup().unwrap().path().to_owned(),
            Some(path) => path.into(),
        }
    }
}

/// The manifest with the chart's defaults.
const DEFAULT: &str = "waggle.yaml";
/// The one for an agent that translates the sockets of pods too.
const ALL_SOCKETS: &str = "waggle-all-sockets.yaml";

/// The only object of its kind in the manifest.
fn object<T: DeserializeOwned>(manifest: &str, kind: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/manifests").join(manifest);
    let text = fs::read_to_string(path).unwrap();
    let document = text.split("\n---\n").find(|it| it.contains(&format!("\nkind: {kind}\n")));
    serde_saphyr::from_str(document.unwrap()).unwrap()
}

/// What lies outside of the container while it runs.
struct Files {
    root: TempDir,
    config: TempDir,
}

impl Files {
    fn new(pod: &Pod) -> Self {
        let [root, config] = ["container", "config"].map(temporary_directory);
        let settings = pod.config.replace("{}\n", "") + SETTINGS;
        fs::write(config.path().join("config.yaml"), settings).unwrap();
        Self { root, config }
    }
}

/// A shell script that becomes the agent in its container.
fn script(
    pod: &Pod,
    without: &str,
    files: &Files,
    node: &Node,
    places: (&Manifests, &Bpffs),
) -> String {
    let (manifests, bpffs) = places;
    let root = files.root.path().display();
    let mut lines = vec![
        "set -eu".to_owned(),
        format!("root={root}; mount -t tmpfs tmpfs $root; cd $root"),
        "mkdir -p usr proc sys etc manifests; cp -P /bin /sbin /lib /lib64 . ; touch waggle".to_owned(),
        "mount -t proc proc proc; mount --bind proc/sys proc/sys; mount -o remount,bind,ro proc/sys".to_owned(),
        "mount -t sysfs -o ro sysfs sys".to_owned(),
    ];
    let mut bind = |source: &Path, target: &str, is_read_only: bool| {
        let (source, target) = (source.display(), target.trim_start_matches('/'));
        lines.push(format!("[ -e {target} ] || mkdir -p {target}"));
        // With what is mounted below, as runtimes do it.
        lines.push(format!("mount --rbind {source} {target}"));
        if is_read_only {
            lines.push(format!("mount -o remount,bind,ro {target}"));
        }
    };
    bind(Path::new("/usr"), "usr", true);
    bind(&agent_binary(), "waggle", true);
    bind(manifests.path(), "manifests", true);
    for mount in pod.container.volume_mounts.iter().flatten() {
        let is_read_only = mount.read_only == Some(true);
        bind(&pod.source(mount, files, node, bpffs), &mount.mount_path, is_read_only);
    }
    let kept = pod.capabilities().into_iter().filter(|name| name != without);
    let kept = kept.fold("-all".to_owned(), |set, name| set + ",+" + &name);
    let environment = pod.container.env.iter().flatten().map(|variable| {
        let value = variable.value.as_deref().unwrap_or(&node.name);
        format!("{}={value} ", variable.name)
    });
    lines.extend([
        "mount -o remount,ro $root".to_owned(),
        format!(
            "exec env -i {} PATH=/usr/bin:/usr/sbin chroot $root setpriv --no-new-privs \
             --bounding-set={kept} --inh-caps=-all /waggle {}",
            environment.collect::<String>(),
            pod.container.args.iter().flatten().cloned().collect::<Vec<_>>().join(" "),
        ),
    ]);
    lines.join("\n")
}

/// The usual world with the agent in a container, without one of its capabilities if there is one
/// of this name.
fn contained(manifest: &str, without: &str) -> (Cluster, Pod, Files) {
    let lab = Lab::new();
    let node = lab.node(Topology::Routed);
    let client = lab.client();
    let servers = vec![Server::start(&node, "web1")];
    let pod = node.pod("client");
    let (manifests, bpffs) = (Manifests::new(), Bpffs::new());
    manifests.write("node.yaml", &[node_object(&node)]);
    let described = Pod::of(manifest);
    let files = Files::new(&described);
    let script = script(&described, without, &files, &node, (&manifests, &bpffs));
    let arguments = ["--mount", "sh", "-c", script.as_str()];
    let agent = Agent::start_program(&node.ns, "unshare", arguments);
    let cluster = Cluster { agent, servers, pod, client, node, manifests, bpffs, lab };
    cluster.write_web(1);
    (cluster, described, files)
}

/// The value of a line of `/proc/<pid>/status`.
fn status(agent: &Agent, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key}:")));
    line.unwrap().trim().to_owned()
}

/// The agent has the capabilities of its pod, and no way to others.
#[track_caller]
fn assert_confined(agent: &Agent, pod: &Pod) {
    let number = |name: &String| match name.as_str() {
        "net_admin" => 12,
        "sys_admin" => 21,
        "perfmon" => 38,
        "bpf" => 39,
        other => panic!("{other} is new here"),
    };
    let mask: u64 = pod.capabilities().iter().map(|name| 1 << number(name)).sum();
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(status(agent, set), format!("{mask:016x}"), "{set}");
    }
    assert_eq!(status(agent, "NoNewPrivs"), "1");
}

#[test]
fn the_daemon_sets_capabilities_and_mounts_are_enough() {
    let (mut cluster, pod, _files) = contained(DEFAULT, "");
    cluster.wait_until_served();
    assert_eq!(pod.capabilities(), ["bpf", "net_admin", "perfmon"]);
    assert_confined(&cluster.agent, &pod);
    let reserved = cluster.node.ns.sysctl("net.ipv4.ip_local_reserved_ports");
    assert_eq!(reserved, "50000-60999", "what the agent reserves, through its mount of /proc/sys");
    cluster.agent.restart(&cluster.node.ns);
    cluster.servers.push(Server::start(&cluster.node, "web2"));
    cluster.write_web(2);
    let (from, dst) = (&cluster.pod.ns, cluster_ips()[0]);
    cluster.agent.wait_ready("the agent that took over sees a pod that came", PATIENCE, || {
        Cluster::ask(from, dst, 20).remove("web2").ok_or("it does not")
    });
    let printed = cluster.agent.printed();
    assert!(!printed.contains("WARN") && !printed.contains("ERROR"), "{printed}");
    cluster.agent.stop();
    cluster.waggle(&["cleanup"]);
}

#[test]
fn none_of_the_capabilities_can_be_left_out() {
    for capability in Pod::of(DEFAULT).capabilities() {
        let (mut cluster, _pod, _files) = contained(DEFAULT, &capability);
        cluster.agent.wait_ended(PATIENCE);
        let printed = cluster.agent.printed();
        assert!(printed.contains("waggle: "), "without {capability}: {printed}");
    }
}

/// A socket of the pod that is connected to `web1` by UDP, which then leaves the Service to `web2`.
fn hold_what_goes(cluster: &mut Cluster) -> UdpClient {
    let dst = SocketAddr::new(cluster_ips()[0].ip(), 53);
    let before = cluster.counter("new_socket");
    let client = UdpClient::connect(&cluster.pod.ns, dst, None, PATIENCE).unwrap();
    assert_eq!(client.ask().unwrap().name, "web1");
    assert_eq!(cluster.counter("new_socket"), before + 1, "it is translated at the socket");
    cluster.servers.push(Server::start(&cluster.node, "web2"));
    let [v4, v6] = slices("default/web", &cluster.servers[1..]);
    cluster.manifests.write("web.yaml", &[web().object(), v4.object(), v6.object()]);
    client
}

#[test]
fn for_the_sockets_of_pods_its_capabilities_and_mounts_are_enough_too() {
    let (mut cluster, pod, _files) = contained(ALL_SOCKETS, "");
    cluster.wait_until_served();
    assert_eq!(pod.capabilities(), ["bpf", "net_admin", "perfmon", "sys_admin"]);
    assert_confined(&cluster.agent, &pod);
    let client = hold_what_goes(&mut cluster);
    wait_until("the socket has ended", PATIENCE, || client.ask().is_err());
    let printed = cluster.agent.printed();
    assert!(!printed.contains("WARN") && !printed.contains("ERROR"), "{printed}");
    cluster.agent.stop();
    cluster.waggle(&["cleanup"]);
}

#[test]
fn an_agent_that_may_not_enter_pods_says_what_that_costs() {
    let (mut cluster, _pod, _files) = contained(ALL_SOCKETS, "sys_admin");
    cluster.wait_until_served();
    let client = hold_what_goes(&mut cluster);
    let told = "sockets of pods hold dead backends and live on";
    cluster.agent.wait_printed(told, PATIENCE);
    assert!(cluster.agent.printed().contains("CAP_SYS_ADMIN"));
    assert_eq!(client.ask().unwrap().name, "web1", "it lives on");
    cluster.agent.stop();
    cluster.waggle(&["cleanup"]);
}
