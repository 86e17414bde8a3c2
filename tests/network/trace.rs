//! `waggle trace` beside real traffic: what is told, to whom, and that it ends.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use lb_tests::lab::{Agent, Namespace, Topology, waggle, wait_until};
use lb_tests::objects::{Protocol, service};
use lb_tests::traffic::http_get;
use serde_json::{Value, json};

use crate::cluster::{Cluster, PATIENCE, cluster_ips, slices, web};

/// The ClusterIP of a Service without endpoints.
const NOBODY: &str = "10.96.0.20";
/// An address of a load balancer for which the pod is in no source range.
const BALANCER: &str = "198.51.100.10";
/// How long a client waits that need not be answered.
const BRIEF: Duration = Duration::from_millis(200);

fn dial(from: &Namespace, ip: &str) {
    http_get(from, SocketAddr::new(ip.parse().expect("an address"), 80), None, BRIEF).ok();
}

/// The first event that passes `filter` while the pod dials `ip` again and again.
#[track_caller]
fn first_event(cluster: &Cluster, filter: &[&str], ip: &str) -> Value {
    let arguments = [&["trace", "--count", "1"], filter].concat();
    thread::scope(|scope| {
        let trace = scope.spawn(|| cluster.waggle_json(&arguments));
        wait_until("the trace has ended", PATIENCE, || {
            dial(&cluster.pod.ns, ip);
            trace.is_finished()
        });
        trace.join().expect("an event")
    })
}

#[track_caller]
fn check(cluster: &Cluster, filter: &[&str], ip: &str, reason: &str, service: &str) -> Value {
    let event = first_event(cluster, filter, ip);
    assert_eq!(event["reason"], reason, "{event}");
    assert_eq!(event["service"], service, "{event}");
    assert_eq!(event["interface"], cluster.pod.host_link.as_str(), "{event}");
    assert_eq!(event["destination"], format!("{ip}:80"), "{event}");
    let client = format!("{}:", cluster.pod.v4);
    assert!(event["source"].as_str().is_some_and(|it| it.starts_with(&client)), "{event}");
    event
}

#[test]
fn new_flows_rejects_and_drops_show_up_with_service_and_interface() {
    let cluster = Cluster::new(Topology::Routed, 1);
    let guarded = web().load_balancer_ip(BALANCER).source_range("203.0.113.0/24");
    let [v4, v6] = slices("default/web", &cluster.servers);
    cluster.manifests.write("web.yaml", &[guarded.object(), v4.object(), v6.object()]);
    let nobody = service("default/nobody").cluster_ip(NOBODY).port("http", 80, Protocol::Tcp);
    cluster.manifests.write("nobody.yaml", &[nobody.object()]);

    let [web_ip, _] = cluster_ips().map(|dst| dst.ip().to_string());
    let new = ["--service", "default/web", "--reason", "new"];
    let event = check(&cluster, &new, &web_ip, "new_flow", "default/web:http/TCP");
    assert_eq!(event["new_destination"], cluster.servers[0].sockets()[0].to_string(), "{event}");
    assert_eq!((&event["hook"], &event["tcp_flags"]), (&json!("ingress"), &json!("SYN")));

    let filter = ["--address", NOBODY, "--reason", "reject"];
    check(&cluster, &filter, NOBODY, "reject_no_endpoint", "default/nobody:http/TCP");

    let filter = ["--port", "80", "--reason", "drop"];
    check(&cluster, &filter, BALANCER, "drop_source_range", "default/web:http/TCP");
}

#[test]
fn one_listens_at_a_time_and_a_killed_one_is_in_nobodys_way() {
    let cluster = Cluster::new(Topology::Routed, 1);
    let bpffs = cluster.bpffs.path().to_str().expect("UTF-8");
    let arguments = ["trace", "--bpffs", bpffs];
    let [ip, _] = cluster_ips().map(|dst| dst.ip().to_string());
    let mut first = Agent::start(&cluster.node.ns, arguments);
    let pid = first.pid();
    wait_until("the first shows a flow", PATIENCE, || {
        dial(&cluster.pod.ns, &ip);
        first.printed().contains("new_flow TCP")
    });
    let second = waggle(&cluster.node.ns, &arguments);
    let error = String::from_utf8(second.stderr).expect("UTF-8");
    assert!(!second.status.success(), "two listen");
    assert!(error.contains(&format!("process {pid} listens already")), "{error}");
    first.kill();
    first_event(&cluster, &["--reason", "new"], &ip);
    let mut third = Agent::start(&cluster.node.ns, arguments);
    wait_until("the third shows a flow", PATIENCE, || {
        dial(&cluster.pod.ns, &ip);
        third.printed().contains("new_flow TCP")
    });
    assert!(third.stop().success(), "a signal is how it ends");
}
