//! What the agent says of its health over HTTP, and of that of Services.

use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

use lb_tests::lab::{Namespace, Topology, wait_for};
use lb_tests::objects::Node;
use lb_tests::traffic::{Answer, Connection};
use serde_json::json;

use crate::cluster::{Cluster, PATIENCE, slices, web};
use crate::metrics::scrape;

/// The health check node port of `default/web`.
const CHECK_PORT: u16 = 32_000;
pub(crate) fn get(from: &Namespace, address: impl Display, path: &str) -> io::Result<Answer> {
    ask(from, address, path, "")
}

pub(crate) fn ask(
    from: &Namespace,
    address: impl Display,
    path: &str,
    headers: &str,
) -> io::Result<Answer> {
    let address = address.to_string().parse().expect("address:port");
    Connection::open(from, address, None, Duration::from_secs(1))?.get_with(path, headers)
}

#[track_caller]
fn body(answer: &Answer) -> serde_json::Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

#[track_caller]
fn check_headers(answer: &Answer, kind: &str) {
    assert_eq!(answer.headers["content-type"], kind, "{answer:?}");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{answer:?}");
}

/// Waits until `path` of the agent's health answers `status` to the world, over both families.
#[track_caller]
fn check_health(cluster: &Cluster, path: &str, status: u16, eligible: Option<bool>) {
    for ip in [IpAddr::from(cluster.node.v4), cluster.node.v6.into()] {
        let at = SocketAddr::new(ip, 10_256);
        let answer = wait_for(&format!("{at}{path} is {status}"), PATIENCE, || {
            let answer = get(&cluster.client.ns, at, path).map_err(|error| error.to_string())?;
            if answer.status == status { Ok(answer) } else { Err(format!("{answer:?}")) }
        });
        check_headers(&answer, "application/json");
        let body = body(&answer);
        assert_eq!(body.get("nodeEligible"), eligible.map(|it| json!(it)).as_ref(), "{body}");
        assert_eq!(body["healthy"], true, "{body}");
        assert_eq!(body["status"]["IPv4"]["healthy"], true, "{body}");
        assert_eq!(body["status"]["IPv6"]["healthy"], true, "{body}");
        assert!(body["lastUpdated"].is_string() && body["currentTime"].is_string(), "{body}");
    }
}

#[test]
fn healthz_says_no_when_the_node_is_about_to_go_and_livez_does_not() {
    let cluster = Cluster::new(Topology::Routed, 1);
    let node = || Node::from(&cluster.node);
    check_health(&cluster, "/healthz", 200, Some(true));
    check_health(&cluster, "/livez", 200, None);
    let taint = json!([{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]);
    cluster.manifests.write("node.yaml", &[node().with("/spec/taints", taint).object()]);
    check_health(&cluster, "/healthz", 503, Some(false));
    check_health(&cluster, "/livez", 200, None);
    cluster.manifests.write("node.yaml", &[node().object()]);
    check_health(&cluster, "/healthz", 200, Some(true));
    cluster.manifests.remove("node.yaml");
    check_health(&cluster, "/healthz", 503, Some(false));
    let answers = scrape(&cluster);
    for (name, code) in [("proxy_healthz", "200"), ("proxy_healthz", "503"), ("proxy_livez", "200")]
    {
        assert!(answers.value(&format!("kubeproxy_{name}_total"), &[("code", code)]) >= 2.0);
    }
}

#[test]
fn beside_the_metrics_is_what_kube_proxy_has_there() {
    let cluster = Cluster::with_flags(Topology::Routed, 1, &["--detect-local-mode", "none"]);
    let get = |path| get(&cluster.node.ns, "127.0.0.1:10249", path).expect("an answer");
    for (path, text) in [("/healthz", "ok"), ("/proxyMode", "ebpf")] {
        let answer = get(path);
        check_headers(&answer, "text/plain; charset=utf-8");
        assert_eq!((answer.status, &*answer.body), (200, text.as_bytes()), "{path}");
    }
    let answer = get("/configz");
    check_headers(&answer, "application/json");
    let config = &body(&answer)["kubeproxy.config.k8s.io"];
    assert_eq!(config["mode"], "ebpf", "{config}");
    assert_eq!(config["detectLocalMode"], "none", "{config}");
    assert_eq!(config["metricsBindAddress"], "127.0.0.1:10249", "{config}");
    assert_eq!(config["hostnameOverride"], cluster.node.name.as_str(), "{config}");
    assert_eq!(config["waggle"]["maxFlows"], 16_384, "{config}");
}

#[test]
fn servers_without_an_address_are_not_there() {
    let flags = ["--healthz-bind-address=", "--metrics-bind-address=0"];
    let cluster = Cluster::with_flags(Topology::Routed, 1, &flags);
    for at in ["127.0.0.1:10256", "[::1]:10256", "127.0.0.1:10249"] {
        let error = get(&cluster.node.ns, at, "/healthz").expect_err(at);
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
}

/// Writes `default/web` with a health check at `port` and its first `count` servers as endpoints.
fn write_checked(cluster: &Cluster, port: u16, count: usize) {
    let service = web()
        .load_balancer_ip("198.51.100.10")
        .external_local()
        .with("/spec/healthCheckNodePort", port);
    let [v4, v6] = slices("default/web", &cluster.servers[..count]);
    cluster.manifests.write("web.yaml", &[service.object(), v4.object(), v6.object()]);
}

/// The addresses at which a load balancer asks for the check, IPv4 first.
fn checks(cluster: &Cluster, port: u16) -> [SocketAddr; 2] {
    [IpAddr::from(cluster.node.v4), cluster.node.v6.into()].map(|ip| SocketAddr::new(ip, port))
}

/// Waits until the check tells of `count` endpoints, over both families.
#[track_caller]
fn check_endpoints(cluster: &Cluster, port: u16, count: usize) {
    for at in checks(cluster, port) {
        let answer = wait_for(&format!("{at} tells of {count} endpoints"), PATIENCE, || {
            let answer = get(&cluster.client.ns, at, "/healthz").map_err(|e| e.to_string())?;
            let weight = &answer.headers["x-load-balancing-endpoint-weight"];
            if *weight == count.to_string() { Ok(answer) } else { Err(format!("{answer:?}")) }
        });
        assert_eq!(answer.status, if count > 0 { 200 } else { 503 });
        check_headers(&answer, "application/json");
        let expected = json!({
            "service": {"namespace": "default", "name": "web"},
            "localEndpoints": count,
            "serviceProxyHealthy": true,
        });
        assert_eq!(body(&answer), expected);
        let elsewhere = get(&cluster.client.ns, at, "/any/path?x").expect("an answer");
        assert_eq!((elsewhere.status, elsewhere.body), (answer.status, answer.body));
    }
}

#[track_caller]
fn check_closed(cluster: &Cluster, port: u16) {
    for at in checks(cluster, port) {
        wait_for(&format!("nobody listens at {at}"), PATIENCE, || {
            match get(&cluster.client.ns, at, "/") {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }
}

#[test]
fn a_health_check_follows_its_service_and_the_endpoints_of_this_node() {
    let cluster = Cluster::new(Topology::Routed, 2);
    check_closed(&cluster, CHECK_PORT);
    for count in [0, 1, 2, 1] {
        write_checked(&cluster, CHECK_PORT, count);
        check_endpoints(&cluster, CHECK_PORT, count);
    }
    let mut idle =
        Connection::open(&cluster.client.ns, checks(&cluster, CHECK_PORT)[0], None, PATIENCE)
            .expect("a connection");
    idle.get("/").expect("an answer");
    write_checked(&cluster, CHECK_PORT + 1, 1);
    check_endpoints(&cluster, CHECK_PORT + 1, 1);
    check_closed(&cluster, CHECK_PORT);
    idle.get("/").expect_err("a connection to a check that is gone");
    cluster.write_web(2);
    check_closed(&cluster, CHECK_PORT + 1);
}

#[test]
fn a_health_check_whose_port_is_taken_stands_in_nobodys_way() {
    let mut cluster = Cluster::new(Topology::Routed, 1);
    let [taken, other] = checks(&cluster, CHECK_PORT);
    let thief = cluster.node.ns.run(|| TcpListener::bind(taken)).expect("a free port");
    write_checked(&cluster, CHECK_PORT, 1);
    cluster.agent.wait_printed("cannot serve the health check of service default/web", PATIENCE);
    let deaf = |cluster: &Cluster| {
        let labels = [("server", "health check")];
        scrape(cluster).value("waggle_servers_not_listening", &labels)
    };
    assert_eq!(deaf(&cluster).to_string(), "1");
    assert_eq!(get(&cluster.client.ns, other, "/").expect("an answer").status, 200);
    cluster.wait_until_served();
    drop(thief);
    check_endpoints(&cluster, CHECK_PORT, 1);
    assert_eq!(deaf(&cluster).to_string(), "0");
}
