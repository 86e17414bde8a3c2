//! The lab itself: what it builds works, and nothing of it stays.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::time::Duration;

use lb_tests::lab::{Agent, Bpffs, Lab, Namespace, Node, Pod, Topology, wait_for, wait_until};
use lb_tests::traffic::{Connection, HttpServer, UdpClient, UdpEcho, http_get};

const PATIENCE: Duration = Duration::from_secs(5);
const PORT: u16 = 8080;

/// Both addresses of a pod with the port of its servers.
fn sockets(pod: &Pod) -> [SocketAddr; 2] {
    [IpAddr::from(pod.v4), IpAddr::from(pod.v6)].map(|ip| SocketAddr::new(ip, PORT))
}

/// A pod that serves TCP and UDP.
fn server(node: &Node, name: &str) -> (Pod, HttpServer, UdpEcho) {
    let pod = node.pod(name);
    let http = HttpServer::start(&pod.ns, name, PORT);
    let udp = UdpEcho::start(&pod.ns, name, PORT);
    (pod, http, udp)
}

/// Asks `name` at `dst` by TCP and UDP from `client`, and checks both ends of every answer.
#[track_caller]
fn check_reaches(client: &Namespace, own: [IpAddr; 2], dst: SocketAddr, name: &str) {
    let own = if dst.is_ipv4() { own[0] } else { own[1] };
    let answer = http_get(client, dst, None, PATIENCE).expect("the server answers by TCP");
    assert_eq!((answer.name.as_str(), answer.peer, answer.local.ip()), (name, dst, own));
    assert_eq!(answer.seen_peer, Some(answer.local));
    for udp in [
        UdpClient::open(client, dst, None, PATIENCE),
        UdpClient::connect(client, dst, None, PATIENCE),
    ] {
        let answer = udp.unwrap().ask().expect("the server answers by UDP");
        assert_eq!((answer.name.as_str(), answer.seen_peer.ip(), answer.from), (name, own, dst));
    }
}

fn addresses(pod: &Pod) -> [IpAddr; 2] {
    [pod.v4.into(), pod.v6.into()]
}

#[track_caller]
fn check_pods_reach_each_other(one: Topology, other: Topology, same_node: bool) {
    let lab = Lab::new();
    let here = lab.node(one);
    let elsewhere = lab.node(other);
    let there = if same_node { &here } else { &elsewhere };
    let client = here.pod("client");
    let (pod, _http, _udp) = server(there, "server");
    for dst in sockets(&pod) {
        check_reaches(&client.ns, addresses(&client), dst, "server");
        check_reaches(
            &here.ns,
            [here.v4.into(), here.v6.into()].map(|ip| gateway(ip, &here, same_node, one)),
            dst,
            "server",
        );
    }
}

/// The address a node asks its own pods from: the bridge's, where there is one.
fn gateway(uplink: IpAddr, node: &Node, same_node: bool, topology: Topology) -> IpAddr {
    if !same_node || topology == Topology::Routed {
        return uplink;
    }
    let cidr = &node.pod_cidrs()[usize::from(uplink.is_ipv6())];
    let network = cidr.split('/').next().unwrap();
    let first = network
        .strip_suffix(".0")
        .map_or_else(|| format!("{network}1"), |start| format!("{start}.1"));
    first.parse().unwrap()
}

#[test]
fn pods_of_a_routed_node_reach_each_other() {
    check_pods_reach_each_other(Topology::Routed, Topology::Routed, true);
}

#[test]
fn pods_of_a_bridged_node_reach_each_other() {
    check_pods_reach_each_other(Topology::Bridge, Topology::Bridge, true);
}

#[test]
fn pods_of_two_nodes_reach_each_other() {
    check_pods_reach_each_other(Topology::Routed, Topology::Bridge, false);
}

#[test]
fn a_client_reaches_nodes_and_reaches_pods_only_with_a_route() {
    let lab = Lab::new();
    let node = lab.node(Topology::Routed);
    let client = lab.client();
    let (pod, _http, _udp) = server(&node, "pod");
    let _on_node =
        (HttpServer::start(&node.ns, "node", PORT), UdpEcho::start(&node.ns, "node", PORT));
    let own = [client.v4.into(), client.v6.into()];
    for ip in [IpAddr::from(node.v4), IpAddr::from(node.v6)] {
        check_reaches(&client.ns, own, SocketAddr::new(ip, PORT), "node");
    }
    for dst in sockets(&pod) {
        let error = http_get(&client.ns, dst, None, PATIENCE).expect_err("there is no way to pods");
        assert_eq!(error.kind(), io::ErrorKind::NetworkUnreachable);
    }
    client.route_to_pods(&node);
    for dst in sockets(&pod) {
        check_reaches(&client.ns, own, dst, "pod");
    }
}

#[test]
fn a_pod_that_comes_later_works_and_one_that_goes_is_gone_at_once() {
    for topology in [Topology::Routed, Topology::Bridge] {
        let lab = Lab::new();
        let node = lab.node(topology);
        let client = node.pod("client");
        let (first, first_http, first_udp) = server(&node, "first");
        let (gone, host_link) = (sockets(&first), first.host_link.clone());
        drop((first, first_http, first_udp));
        assert!(
            !node.ns.output("ip", &["link"]).contains(&host_link),
            "{host_link} is still there"
        );
        let (second, _http, _udp) = server(&node, "second");
        assert!(!sockets(&second).contains(&gone[0]), "an address is given out once");
        for dst in sockets(&second) {
            check_reaches(&client.ns, addresses(&client), dst, "second");
        }
    }
}

#[test]
fn an_address_that_nobody_has_is_refused_at_once() {
    let lab = Lab::new();
    let node = lab.node(Topology::Routed);
    let pod = node.pod("pod");
    for dst in ["10.96.0.10:80", "[fd00:96::10]:80"] {
        let error =
            http_get(&pod.ns, dst.parse().unwrap(), None, PATIENCE).expect_err("nobody is there");
        assert!(
            matches!(
                error.kind(),
                io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable
            ),
            "{dst}: {error}"
        );
    }
}

#[test]
fn a_connection_serves_many_requests_both_ways_and_may_be_held() {
    let lab = Lab::new();
    let node = lab.node(Topology::Bridge);
    let client = node.pod("client");
    let (pod, http, udp) = server(&node, "server");
    let bind = SocketAddr::new(client.v4.into(), 40000);
    let mut connection =
        Connection::open(&client.ns, sockets(&pod)[0], Some(bind), PATIENCE).unwrap();
    assert_eq!(connection.get("/").unwrap().seen_peer, Some(bind));
    assert_eq!(connection.get("/bytes/1000000").unwrap().body.len(), 1_000_000);
    assert_eq!(connection.post("/count", &vec![7; 1_000_000]).unwrap().body, b"1000000");
    connection.ask("/hold").unwrap();
    http.release();
    assert_eq!(connection.receive().unwrap().name, "server");
    drop(http);
    assert!(connection.get("/").is_err(), "a server that is gone closes its connections");
    drop(udp);
    let udp = UdpClient::connect(&client.ns, sockets(&pod)[0], None, PATIENCE).unwrap();
    assert_eq!(udp.ask().unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn an_agent_is_watched_ended_and_started_again() {
    let ns = Namespace::new("agent");
    let script = "trap 'echo ended well; exit 7' TERM; ip -brief link; echo ready; while :; do sleep 0.01; done";
    let mut agent = Agent::start_program(&ns, "/bin/sh", ["-c", script]);
    agent.wait_printed("ready", PATIENCE);
    assert_eq!(agent.printed().lines().count(), 2, "it sees only lo:\n{}", agent.printed());
    assert_eq!(agent.stop().code(), Some(7));
    assert!(agent.printed().ends_with("ready\nended well\n"), "{}", agent.printed());
    agent.restart(&ns);
    let first = agent.pid();
    agent.wait_ready("it is ready again", PATIENCE, || {
        fs::read_link(format!("/proc/{first}/ns/net"))
    });
    agent.restart(&ns);
    assert_ne!(agent.pid(), first);
    agent.kill();
    let late = catch_unwind(AssertUnwindSafe(|| agent.wait_printed("never", PATIENCE)));
    let complaint = late.unwrap_err().downcast::<String>().unwrap();
    assert!(complaint.contains("has ended (signal: 9"), "{complaint}");
}

/// What this process holds of namespaces and mounts, beside the label of its own.
fn left_of(marks: &[String]) -> Vec<String> {
    let names = fs::read_dir("/run/netns")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let found = names.chain(mounts.lines().map(str::to_owned));
    found.filter(|line| marks.iter().any(|mark| line.contains(mark))).collect()
}

#[test]
fn nothing_is_left_of_a_lab_that_is_dropped() {
    let lab = Lab::new();
    let node = lab.node(Topology::Bridge);
    let (pod, http, udp) = server(&node, "server");
    let client = lab.client();
    let bpffs = Bpffs::new();
    let directory = bpffs.path().to_owned();
    let cgroup = node.ns.cgroup().expect("nodes have one").path().to_owned();
    assert!(cgroup.exists());
    let marks =
        [&lab.router, &node.ns, &pod.ns, &client.ns].map(|ns| ns.name().to_owned()).to_vec();
    let marks = [marks, vec![directory.display().to_string()]].concat();
    assert!(
        left_of(&marks).len() >= 2 * marks.len() - 1,
        "each has a name and a mount: {:?}",
        left_of(&marks)
    );
    drop((http, udp, bpffs, pod, client, node, lab));
    assert_eq!(left_of(&marks), Vec::<String>::new());
    assert!(!directory.exists() && !cgroup.exists());
    let links = Command::new("ip").args(["-brief", "link"]).output().unwrap();
    let links = String::from_utf8(links.stdout).unwrap();
    for link in ["veth-server", "node1", "client1", "switch", "cni0"] {
        assert!(!links.contains(link), "{link} is a link of the host:\n{links}");
    }
}

#[test]
fn a_lab_is_taken_down_when_its_test_panics() {
    let name = catch_unwind(|| {
        let namespace = Namespace::new("panicking");
        std::panic::panic_any(namespace.name().to_owned());
    });
    let name = name.unwrap_err().downcast::<String>().unwrap();
    assert_eq!(left_of(&[*name]), Vec::<String>::new());
}

/// Set in the process that the next test starts and ends.
const WAITS: &str = "LAB_WAITS_FOR_A_SIGNAL";

/// A lab with a child in it, until the process is ended from outside.
fn wait_for_a_signal() -> ! {
    let namespace = Namespace::new("waiting");
    let mut child = namespace.spawn(Command::new("sleep").arg("600")).unwrap();
    child.wait().unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn a_lab_is_taken_down_when_its_process_is_told_to_end() {
    if std::env::var_os(WAITS).is_some() {
        wait_for_a_signal();
    }
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let mut lab = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "lab::a_lab_is_taken_down_when_its_process_is_told_to_end"])
            .env(WAITS, "1")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mark = [format!("wg-{}-1-waiting", lab.id())];
        let child = wait_for("a child runs in the lab", PATIENCE, || {
            let inside = Command::new("ip").args(["netns", "pids", &mark[0]]).output().unwrap();
            let found = String::from_utf8(inside.stdout).unwrap();
            found.lines().find(|id| is_asleep(id)).map(str::to_owned).ok_or(found)
        });
        let told = Command::new("kill").args([signal, &lab.id().to_string()]).status().unwrap();
        assert!(told.success());
        assert_eq!(lab.wait().unwrap().code(), Some(code));
        assert_eq!(left_of(&mark), Vec::<String>::new());
        // A zombie that init has not reaped yet has no namespaces any more.
        let namespace = format!("/proc/{child}/ns/net");
        wait_until("the child is gone", PATIENCE, || fs::read_link(&namespace).is_err());
    }
}

/// Whether the process runs sleep(1).
fn is_asleep(id: &str) -> bool {
    fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name == "sleep\n")
}

#[test]
fn the_next_run_sweeps_what_a_killed_one_left() {
    let mut owner = Command::new("sleep").arg("600").spawn().unwrap();
    let leftover = format!("wg-{}-1-killed", owner.id());
    let file = format!("/run/netns/{leftover}");
    let made = Command::new("ip").args(["netns", "add", &leftover]).status().unwrap();
    assert!(made.success());
    let mut inside =
        Command::new("ip").args(["netns", "exec", &leftover, "sleep", "600"]).spawn().unwrap();
    wait_until("the child is inside", PATIENCE, || is_asleep(&inside.id().to_string()));
    owner.kill().unwrap();
    owner.wait().unwrap();
    let next = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lab::a_lab_is_taken_down_when_its_test_panics"])
        .output()
        .unwrap();
    assert!(next.status.success(), "{next:?}");
    let ended = inside.wait().expect("the child has ended");
    assert!(!ended.success(), "the child in the leftover was killed");
    assert!(!fs::exists(file).unwrap());
}
