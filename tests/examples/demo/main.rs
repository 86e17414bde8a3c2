//! The demo: a node, three pods and a client outside, all of them network namespaces of this
//! machine, and real HTTP through Waggle. Start it with `cargo xtask demo`.
//!
//! It checks what it shows. Whatever does not hold ends it with one sentence, what the agent printed
//! and exit code 1, as in the lab it is built of: by a panic, so that everything is taken down again.
//! Nothing outside its own namespaces and temporary directories is used or changed.
#![expect(clippy::print_stdout, reason = "showing something is its job")]

mod maps;
mod requests;
mod screen;
mod story;
mod world;

use std::env;
use std::io::stdin;
use std::panic::{self, PanicHookInfo};
use std::process::ExitCode;

use lb_tests::lab::Topology;

use crate::requests::{Round, TIMES};
use crate::screen::Screen;
use crate::world::World;

fn main() -> ExitCode {
    // Everything else about the command line is xtask's.
    let is_asked = |flag: &str| env::args().skip(1).any(|argument| argument == flag);
    panic::set_hook(Box::new(say_in_a_sentence));
    let shown = panic::catch_unwind(|| {
        if is_asked("--story") {
            story::show(Screen::new());
        } else {
            show(is_asked("--stay"));
        }
    });
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn say_in_a_sentence(info: &PanicHookInfo<'_>) {
    eprintln!("error: {}", info.payload_as_str().unwrap_or("the demo failed"));
}

fn show(stay: bool) {
    let screen = Screen::new();
    screen.section("Waggle balances a Kubernetes Service, without a cluster");
    println!(
        "A node, three pods that serve HTTP and a client outside are network namespaces of this\n\
         machine. The agent runs on the node; its Service and EndpointSlices are deploy/demo/*.yaml."
    );
    let routed = "pods on links of their own, with routes, as Calico has them";
    show_node(screen, Topology::Routed, routed, false);
    show_node(screen, Topology::Bridge, "pods on a Linux bridge, as flannel has them", stay);
    screen.section("All of it held");
    println!(
        "In both topologies {TIMES} of {TIMES} requests were answered on ClusterIP and NodePort, IPv4 and IPv6\n\
         each, every pod had a fair share, and the peer was always the address that was dialled.\n\
         Namespaces, maps and programs are gone again."
    );
    if !stay {
        println!(
            "\nNext: cargo xtask demo --story     names, two nodes, an ingress, pods that come and go"
        );
        println!("      cargo xtask demo --stay      look around in the last node");
        println!("      target/debug/waggle check  is this machine ready to be a node of yours?");
    }
}

/// Builds a node, shows everything on it and takes it down.
fn show_node(screen: Screen, topology: Topology, pods: &str, stay: bool) {
    screen.section(&format!("{topology:?}: {pods}"));
    let mut world = screen::wait("build the node, start the agent", || World::new(topology));
    show_requests(screen, &world);
    maps::show(screen, &world);
    show_scaling(screen, &mut world);
    if stay {
        look_around(screen, &world);
    }
}

fn show_requests(screen: Screen, world: &World) {
    screen.headline(&format!("{TIMES} new connections to each address of the Service"));
    let rounds = world.targets().map(|target| {
        let title = format!("ask {} {TIMES} times", target.dst);
        screen::wait(&title, || Round::new(&target))
    });
    println!("{}", requests::table(&rounds));
    println!(
        "A pod asks the ClusterIPs, the client outside the NodePorts. The client's socket says that its\n\
         peer is the address it dialled, never a pod's: the answers are translated back."
    );
    let faults: Vec<_> = rounds.iter().filter_map(|round| round.fault(world.pods.len())).collect();
    assert!(faults.is_empty(), "{}", faults.join("; "));
}

fn show_scaling(screen: Screen, world: &mut World) {
    let all = world.pods.len();
    screen.headline(&format!("The EndpointSlices shrink from {all} endpoints to 1, and grow back"));
    for count in [1, all] {
        screen::wait(&format!("wait for {count} of {all} pods to answer"), || world.scale(count));
        let [target, ..] = world.targets();
        let round = Round::new(&target);
        let noun = if count == 1 { "endpoint: " } else { "endpoints:" };
        println!("  {count} {noun} {}", round.shares());
        let fault = round.fault(count);
        assert!(fault.is_none(), "{}", fault.unwrap_or_default());
    }
    println!(
        "Each time {TIMES} new connections to the ClusterIP. The agent follows the files as it would\n\
         follow a cluster; nothing was restarted."
    );
}

fn look_around(screen: Screen, world: &World) {
    screen.headline("Look around");
    println!("{}", world.hints());
    println!("Enter takes everything down.");
    stdin().read_line(&mut String::new()).expect("wait for Enter");
}
