//! What people read when the agent cannot reach the API server.

use lb_tests::apiserver::Trouble;
use lb_tests::lab::{Bpffs, Lab, Topology, temporary_directory, waggle};

use crate::world::{PATIENCE, World, endpoints, web, web_served_by};

#[test]
fn a_kubeconfig_that_cannot_be_used_ends_the_agent_with_one_line_that_names_it() {
    let lab = Lab::new();
    let node = lab.node(Topology::Routed);
    let (bpffs, files) = (Bpffs::new(), temporary_directory("kubeconfigs"));
    for (name, text, why) in [
        ("missing", None, "No such file"),
        ("garbage", Some("{ this: is [not YAML"), "YAML"),
        ("empty", Some("{}"), "context"),
        ("nowhere", Some("{clusters: [], contexts: [], users: [], current-context: lab}"), "lab"),
    ] {
        let path = files.path().join(name);
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let path = path.to_str().unwrap();
        let bpffs = bpffs.path().to_str().unwrap();
        let arguments = ["run", "--kubeconfig", path, "--node-name", "node1", "--bpffs", bpffs];
        let output = waggle(&node.ns, &arguments);
        assert_eq!(output.status.code(), Some(1));
        let printed = String::from_utf8(output.stderr).unwrap();
        let errors: Vec<_> = printed.lines().filter(|line| line.starts_with("waggle:")).collect();
        let [error] = errors[..] else { panic!("one line of errors in {printed}") };
        assert!(error.contains(path) && error.contains(why), "{error}");
        assert!(error.contains("--kubeconfig"), "it says what to do: {error}");
    }
}

#[test]
fn an_api_server_that_refuses_is_told_with_what_to_do_and_asked_again() {
    for (code, advice) in [(401, "credentials"), (403, "ClusterRole")] {
        let mut world = World::without_server();
        world.start_server();
        world.server().trouble(Trouble::Status(code));
        for plural in ["services", "endpointslices", "nodes"] {
            world.agent.wait_printed(&format!("cannot follow {plural}, trying again"), PATIENCE);
        }
        // Roles made for an older version do not name them.
        let refused = if code == 403 {
            "going on without servicecidrs"
        } else {
            "cannot follow servicecidrs"
        };
        world.agent.wait_printed(refused, PATIENCE);
        world.server().apply(&web());
        world.server().apply(&endpoints(&[2]));
        world.agent.wait_printed(advice, PATIENCE);
        world.server().trouble(Trouble::None);
        world.until_maps_are(&web_served_by(&[2]));
    }
}
