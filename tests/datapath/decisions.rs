//! Who may ask, who answers: policies and their short-circuits, source ranges, interfaces.

use lb_common::abi::counter::Counter;
use lb_common::abi::flow::{Hook, flags as flow};
use lb_common::abi::frontend::flags::{EXTERNAL, LOCAL, SOURCE_RANGES};
use lb_common::abi::interface::flags::WORKLOAD;
use lb_common::abi::prefix::client::{NODE, POD, UNTOLD};
use lb_common::abi::settings::masquerade::LOCAL_BACKENDS;
use lb_common::net::protocol::TCP;
use lb_common::parse::tcp::SYN;
use lb_common::verdict::Verdict;
use lb_tests::datapath::{Datapath, World, tcp};

const VIP: &str = "1.2.3.4:80";
/// On this node: the first of the backends.
const HERE: &str = "10.180.2.1:80";
const THERE: &str = "10.180.0.1:80";
const P: &str = "10.0.0.2";
const N: &str = "192.168.0.2";
const X: &str = "203.0.113.2";
const XB: &str = "203.0.113.130";

/// A service at [`VIP`] with one backend on this node and one elsewhere; pods and the node known.
fn world(flags: u32) -> World {
    World::default()
        .service(TCP, &[VIP], &[HERE, THERE])
        .policy(flags, 1)
        .clients("10.0.0.0/8", POD)
        .clients("192.168.0.2/32", NODE)
        .masquerade(LOCAL_BACKENDS)
}

/// The backends that thirty connections from `client` reach, and whether it is masqueraded.
#[track_caller]
fn reached(datapath: &mut Datapath, client: &str) -> (Vec<[u8; 4]>, bool) {
    let mut backends = Vec::new();
    for port in 1000..1030 {
        let outcome = datapath.send(Hook::Ingress, &tcp(&format!("{client}:{port}"), VIP, SYN));
        assert_eq!(outcome.verdict, Verdict::Rewritten);
        backends.push(<[u8; 4]>::try_from(&outcome.packet[30..34]).unwrap());
    }
    backends.sort_unstable();
    backends.dedup();
    let flows = datapath.tables().v4.flows();
    let mut own = flows.iter().filter(|(key, _)| format!("{:?}", key.src) == client);
    let is_masqueraded = own.next().expect("a flow").1.flags & flow::MASQUERADE != 0;
    assert!(own.all(|(_, it)| (it.flags & flow::MASQUERADE != 0) == is_masqueraded), "all alike");
    (backends, is_masqueraded)
}

/// kube-proxy-behaviour §10.5-§10.8 and §4.3, by the flags of the frontend that is dialled.
#[track_caller]
fn check(flags: u32, client: &str, everywhere: bool, is_masqueraded: bool) {
    let mut datapath = Datapath::new(world(flags).tables());
    let all = [[10, 180, 0, 1], [10, 180, 2, 1]];
    let expected = if everywhere { &all[..] } else { &all[1..] };
    let (backends, masquerade) = reached(&mut datapath, client);
    assert_eq!((&backends[..], masquerade), (expected, is_masqueraded), "{client}, {flags}");
}

#[test]
fn an_internal_policy_cluster_reaches_all_endpoints() {
    check(0, P, true, false);
    check(0, N, true, true);
    check(0, X, true, true);
}

#[test]
fn an_internal_policy_local_binds_everybody() {
    check(LOCAL, P, false, false);
    check(LOCAL, N, false, true);
    check(LOCAL, X, false, true);
}

#[test]
fn an_external_policy_cluster_reaches_all_endpoints_and_hides_the_client() {
    check(EXTERNAL, P, true, true);
    check(EXTERNAL, N, true, true);
    check(EXTERNAL, X, true, true);
}

#[test]
fn an_external_policy_local_binds_the_world_but_not_pods_and_the_node() {
    check(EXTERNAL | LOCAL, P, true, false);
    check(EXTERNAL | LOCAL, N, true, true);
    check(EXTERNAL | LOCAL, X, false, false);
}

#[test]
fn a_pod_that_is_its_own_backend_is_hidden_from_itself() {
    let world = World::default().service(TCP, &[VIP], &["10.0.0.2:80"]);
    let mut datapath = Datapath::new(world.clients("10.0.0.0/8", POD).tables());
    assert_eq!(reached(&mut datapath, P), (vec![[10, 0, 0, 2]], true));
}

/// §3.4: nothing here, but something elsewhere.
#[test]
fn an_empty_local_list_drops_while_other_nodes_have_endpoints() {
    let world = World::default().service(TCP, &[VIP], &[THERE]).policy(EXTERNAL | LOCAL, 0);
    let mut datapath = Datapath::new(world.tables());
    let outcome = datapath.send(Hook::Ingress, &tcp("203.0.113.2:1000", VIP, SYN));
    assert_eq!(outcome.verdict, Verdict::Drop(Counter::DropNoLocalEndpoint));
}

/// §10.3: ranges are looked at before anything else, and pods are not exempt.
#[test]
fn only_clients_in_a_source_range_get_in() {
    let world = world(EXTERNAL | SOURCE_RANGES)
        .source_range("203.0.113.0/25")
        .source_range("192.168.0.0/24");
    let mut datapath = Datapath::new(world.tables());
    for client in [X, N] {
        assert_eq!(reached(&mut datapath, client).0.len(), 2, "{client}");
    }
    for client in [XB, P] {
        let outcome = datapath.send(Hook::Ingress, &tcp(&format!("{client}:1000"), VIP, SYN));
        assert_eq!(outcome.verdict, Verdict::Drop(Counter::DropSourceRange), "{client}");
    }
}

/// Sends connections of a client whose address is `what` (if anything) by interface 1, and expects
/// them to be those of a pod, or not: told apart by an external policy `Local`.
#[track_caller]
fn check_interface(workload: u32, what: Option<u32>, is_pod: bool) {
    let mut world = World::default()
        .service(TCP, &[VIP], &[HERE, THERE])
        .policy(EXTERNAL | LOCAL, 1)
        .interface(workload, WORKLOAD);
    if let Some(what) = what {
        world = world.clients("203.0.113.0/24", what);
    }
    let (backends, is_masqueraded) = reached(&mut Datapath::new(world.tables()), X);
    assert_eq!((backends.len() == 2, is_masqueraded), (is_pod, false), "{what:?} by {workload}");
}

#[test]
fn whoever_comes_by_an_interface_of_pods_is_a_pod() {
    check_interface(1, None, true);
    check_interface(1, Some(UNTOLD), true);
    check_interface(2, None, false);
}

#[test]
fn a_node_that_comes_by_an_interface_of_pods_stays_a_node() {
    let world = World::default().service(TCP, &[VIP], &[THERE]).policy(0, 0);
    let world = world.interface(1, WORKLOAD).clients("203.0.113.2/32", NODE);
    assert!(reached(&mut Datapath::new(world.tables()), X).1, "the node is hidden, a pod is not");
}
