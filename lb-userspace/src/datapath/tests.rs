//! Attaching for real, each test in a namespace and on a BPF file system of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{NlOptions, TcAttachOptions};
use aya::programs::{SchedClassifier, TcAttachType};
use lb_common::abi::flow::Hook;
use tempfile::TempDir;

use super::attach::{Attacher, Method, Order};
use super::layout::layouts;
use super::load::{Datapath, Globals};
use super::pins::Pins;
use super::{HOOKS, bpffs, cleanup, links};
use crate::maps::Capacities;
use crate::netlink::namespace::{block_on, command, in_namespace};
use crate::netlink::{InterfaceFilter, Layer, Target, follow, targets};

pub(super) const SMALL: Capacities = Capacities {
    frontends: 64,
    services: 64,
    slots: 64,
    backends: 64,
    flows: 1024,
    clients: 64,
    source_ranges: 64,
    sockets: 64,
};

/// A BPF file system and what hangs on it.
pub(super) struct Node {
    bpffs: TempDir,
}

impl Node {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        assert!(bpffs::ensure(dir.path()).unwrap(), "it was not mounted before");
        assert!(!bpffs::ensure(dir.path()).unwrap(), "it is now");
        Self { bpffs: dir }
    }

    pub(super) fn pins(&self) -> Pins {
        Pins::new(self.bpffs.path())
    }

    fn agent(&self, method: Method, order: Order) -> Attacher {
        let datapath = Datapath::load(&self.pins(), &SMALL, Globals::default()).unwrap();
        Attacher::new(datapath, self.pins(), method, order)
    }

    /// What an agent does that starts, attaches and is killed.
    fn run_agent(&self, method: Method, order: Order) {
        let mut agent = self.agent(method, order);
        block_on(async { agent.sync(&v0()).await });
    }

    pub(super) fn cleanup(&self) -> cleanup::Removed {
        block_on(cleanup::cleanup(self.bpffs.path(), Path::new("/proc/sys"))).unwrap()
    }

    /// The id of the pinned link and of the program behind it, per hook.
    pub(super) fn links(&self, ifindex: u32) -> Vec<(u32, u32)> {
        let info = |hook| {
            let link = PinnedLink::from_pin(self.pins().link(ifindex, hook)).unwrap();
            let info = FdLink::from(link).info().unwrap();
            (info.id(), info.program_id())
        };
        HOOKS.map(info).to_vec()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let unmounted = nix::mount::umount(self.bpffs.path());
        assert!(unmounted.is_ok() || std::thread::panicking(), "{unmounted:?}");
    }
}

/// The interfaces that are ours, of which the tests have v0 and perhaps others.
pub(super) fn v0() -> BTreeMap<u32, Target> {
    let filter = InterfaceFilter::new(&["v0".parse().unwrap()], &[]).unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    // Called within a runtime as well as outside, so it brings its own thread's.
    let network = std::thread::scope(|scope| {
        let list = || block_on(async { follow(stop).await.unwrap().borrow().clone() });
        scope.spawn(list).join().unwrap()
    });
    targets(&network.interfaces, &filter)
}

pub(super) fn index() -> u32 {
    *v0().keys().next().unwrap()
}

/// Names of the tcx programs on v0, in their order.
pub(super) fn tcx(hook: TcAttachType) -> Vec<String> {
    let (_, programs) = SchedClassifier::query_tcx("v0", hook).unwrap();
    programs.iter().map(|program| program.name_as_str().unwrap().to_owned()).collect()
}

fn tcx_ids() -> Vec<u32> {
    let (_, programs) = SchedClassifier::query_tcx("v0", TcAttachType::Ingress).unwrap();
    programs.iter().map(aya::programs::ProgramInfo::id).collect()
}

/// Our filters on v0, as tc prints them.
fn filters(hook: &str) -> Vec<String> {
    let text = command(&format!("tc filter show dev v0 {hook}"));
    text.lines().filter(|line| line.contains("handle")).map(str::to_owned).collect()
}

#[test]
fn the_object_makes_maps_of_the_layouts_that_are_checked() {
    in_namespace(|| {
        let node = Node::new();
        drop(Datapath::load(&node.pins(), &SMALL, Globals::default()).unwrap());
        // Loading again compares what the kernel made with what is wanted, map by map.
        drop(Datapath::load(&node.pins(), &SMALL, Globals::default()).unwrap());
        let pinned: BTreeSet<String> = fs::read_dir(node.pins().maps())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(pinned, layouts(&SMALL).iter().map(|l| l.name.to_owned()).collect());
    });
}

#[test]
fn programs_stay_when_the_agent_goes_and_the_next_one_swaps_them_in_place() {
    in_namespace(|| {
        let node = Node::new();
        command("ip link add v0 type veth peer name v1");
        node.run_agent(Method::Tcx, Order::First);
        assert_eq!(tcx(TcAttachType::Ingress), ["lb_tc_ingress"]);
        assert_eq!(tcx(TcAttachType::Egress), ["lb_tc_egress"]);
        let before = node.links(index());
        node.run_agent(Method::Tcx, Order::First);
        let after = node.links(index());
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before.0, after.0, "the link is the same");
            assert_ne!(before.1, after.1, "the program is another");
        }
        assert_eq!(tcx(TcAttachType::Ingress).len(), 1);
    });
}

#[test]
fn an_interface_without_ethernet_header_gets_the_l3_programs() {
    in_namespace(|| {
        let node = Node::new();
        command("ip tuntap add v0 mode tun");
        node.run_agent(Method::Tcx, Order::First);
        assert_eq!(tcx(TcAttachType::Ingress), ["lb_l3_ingress"]);
        assert_eq!(tcx(TcAttachType::Egress), ["lb_l3_egress"]);
    });
}

#[test]
fn programs_of_others_stay_and_ours_go_where_the_setting_says() {
    in_namespace(|| {
        command("ip link add v0 type veth peer name v1");
        let [foreign, first, last] = [(); 3].map(|()| Node::new());
        foreign.run_agent(Method::Tcx, Order::First);
        let other = tcx_ids()[0];
        first.run_agent(Method::Tcx, Order::First);
        last.run_agent(Method::Tcx, Order::Last);
        assert_eq!(tcx_ids().iter().position(|id| *id == other), Some(1));
        first.cleanup();
        last.cleanup();
        assert_eq!(tcx_ids(), [other]);
    });
}

#[test]
fn a_pin_of_an_interface_that_is_gone_does_not_keep_its_successor_from_being_attached() {
    in_namespace(|| {
        let node = Node::new();
        command("ip link add v0 index 50 type veth peer name v1");
        node.run_agent(Method::Tcx, Order::First);
        command("ip link del v0");
        command("ip link add v0 index 50 type veth peer name v1");
        node.run_agent(Method::Tcx, Order::First);
        assert_eq!(tcx(TcAttachType::Ingress), ["lb_tc_ingress"]);
        assert_eq!(tcx(TcAttachType::Egress), ["lb_tc_egress"]);
    });
}

#[test]
fn a_pin_of_another_namespace_is_not_taken_for_ours() {
    in_namespace(|| {
        let node = Node::new();
        command("ip link add v0 index 50 type veth peer name v1");
        node.run_agent(Method::Tcx, Order::First);
        let _keeps_it = fs::File::open("/proc/thread-self/ns/net").unwrap();
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        command("ip link add v0 index 50 type veth peer name v1");
        node.run_agent(Method::Tcx, Order::First);
        assert_eq!(tcx(TcAttachType::Ingress), ["lb_tc_ingress"]);
    });
}

#[test]
fn an_interface_that_is_no_longer_ours_is_let_go() {
    for method in [Method::Tcx, Method::Clsact] {
        in_namespace(move || {
            let node = Node::new();
            command("ip link add v0 type veth peer name v1");
            let mut agent = node.agent(method, Order::First);
            block_on(async {
                agent.sync(&v0()).await;
                assert_eq!(node.pins().interfaces().unwrap(), BTreeSet::from([index()]));
                agent.sync(&BTreeMap::new()).await;
            });
            assert!(node.pins().interfaces().unwrap().is_empty());
            assert!(tcx(TcAttachType::Ingress).is_empty());
            assert!(filters("ingress").is_empty());
        });
    }
}

#[test]
fn what_an_interface_that_is_gone_has_left_is_forgotten() {
    for method in [Method::Tcx, Method::Clsact] {
        in_namespace(move || {
            let node = Node::new();
            command("ip link add v0 type veth peer name v1");
            node.run_agent(method, Order::First);
            command("ip link del v0");
            node.run_agent(method, Order::First);
            assert!(node.pins().interfaces().unwrap().is_empty());
        });
    }
}

#[test]
fn one_interface_that_fails_does_not_hinder_the_others() {
    in_namespace(|| {
        let node = Node::new();
        command("ip link add v0 type veth peer name v1");
        let mut wanted = v0();
        let gone = Target { index: 1_000, name: "gone".into(), ..wanted[&index()].clone() };
        wanted.insert(0, gone);
        let mut agent = node.agent(Method::Tcx, Order::First);
        block_on(async { agent.sync(&wanted).await });
        assert_eq!(tcx(TcAttachType::Ingress), ["lb_tc_ingress"]);
    });
}

#[track_caller]
fn assert_attached_once(method: Method) {
    let (tcx, filters) = match method {
        Method::Tcx => (1, 0),
        Method::Clsact => (0, 1),
    };
    for (hook, attach_type) in
        [("ingress", TcAttachType::Ingress), ("egress", TcAttachType::Egress)]
    {
        assert_eq!((self::tcx(attach_type).len(), self::filters(hook).len()), (tcx, filters));
    }
}

#[test]
fn what_somebody_else_removed_is_attached_again_at_the_next_change() {
    for method in [Method::Tcx, Method::Clsact] {
        in_namespace(move || {
            let node = Node::new();
            command("ip link add v0 type veth peer name v1");
            let mut agent = node.agent(method, Order::First);
            block_on(async {
                agent.sync(&v0()).await;
                for hook in HOOKS {
                    match method {
                        Method::Tcx => _ = links::detach(&node.pins().link(index(), hook)).unwrap(),
                        Method::Clsact => _ = command("tc qdisc del dev v0 clsact"),
                    }
                    agent.sync(&v0()).await;
                    assert_attached_once(method);
                }
            });
        });
    }
}

#[test]
fn an_interface_that_is_replaced_by_its_like_is_attached_again() {
    for method in [Method::Tcx, Method::Clsact] {
        in_namespace(move || {
            let node = Node::new();
            command("ip link add v0 index 50 type veth peer name v1");
            let mut agent = node.agent(method, Order::First);
            block_on(async {
                agent.sync(&v0()).await;
                command("ip link del v0");
                command("ip link add v0 index 50 type veth peer name v1");
                agent.sync(&v0()).await;
            });
            assert_attached_once(method);
        });
    }
}

#[test]
fn a_filter_is_replaced_in_place_and_moves_with_the_order() {
    in_namespace(|| {
        let node = Node::new();
        command("ip link add v0 type veth peer name v1");
        node.run_agent(Method::Clsact, Order::First);
        let before = filters("ingress");
        node.run_agent(Method::Clsact, Order::First);
        let after = filters("ingress");
        assert!(before.len() == 1 && after.len() == 1, "{before:?} {after:?}");
        assert!(after[0].contains("pref 7") && after[0].contains("lb_tc_ingress"), "{after:?}");
        assert_ne!(before, after, "the program is another");
        node.run_agent(Method::Clsact, Order::Last);
        let moved = filters("egress");
        assert!(moved.len() == 1 && moved[0].contains("pref 60007"), "{moved:?}");
    });
}

#[test]
fn another_method_leaves_nothing_of_the_first_one() {
    in_namespace(|| {
        let node = Node::new();
        command("ip link add v0 type veth peer name v1");
        node.run_agent(Method::Clsact, Order::First);
        node.run_agent(Method::Tcx, Order::First);
        assert_eq!((tcx(TcAttachType::Ingress).len(), filters("ingress").len()), (1, 0));
        node.run_agent(Method::Clsact, Order::First);
        assert_eq!((tcx(TcAttachType::Ingress).len(), filters("ingress").len()), (0, 1));
    });
}

#[test]
fn cleanup_leaves_the_interface_as_it_was() {
    for method in [Method::Tcx, Method::Clsact] {
        in_namespace(move || {
            let node = Node::new();
            command("ip link add v0 type veth peer name v1");
            let before = command("tc qdisc show");
            node.run_agent(method, Order::First);
            assert_eq!(node.cleanup().interfaces, [(index(), 2)]);
            assert_eq!(command("tc qdisc show"), before);
            assert!(tcx(TcAttachType::Ingress).is_empty());
            assert!(!node.pins().root().exists());
            assert!(node.cleanup().is_empty());
        });
    }
}

#[test]
fn cleanup_keeps_a_qdisc_that_others_made_or_use() {
    in_namespace(|| {
        let node = Node::new();
        command("ip link add v0 type veth peer name v1");
        command("tc qdisc add dev v0 clsact");
        node.run_agent(Method::Clsact, Order::First);
        node.cleanup();
        assert!(command("tc qdisc show dev v0").contains("clsact"), "it was there before us");
        command("tc qdisc del dev v0 clsact");
        node.run_agent(Method::Clsact, Order::First);
        let foreign = Node::new();
        let mut datapath = Datapath::load(&foreign.pins(), &SMALL, Globals::default()).unwrap();
        let program = datapath.program(Layer::Ethernet, Hook::Egress).unwrap();
        let options = TcAttachOptions::Netlink(NlOptions::default());
        program.attach_with_options("v0", TcAttachType::Egress, options).unwrap();
        assert_eq!(filters("egress").len(), 2);
        node.cleanup();
        assert_eq!(filters("egress").len(), 1, "somebody else's filter stays");
    });
}
