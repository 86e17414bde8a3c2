//! Bad manifests: one clear message each, and every good object is still served.

use lb_tests::lab::Topology;
use lb_tests::objects::{Protocol, service};

use crate::cluster::{Cluster, PATIENCE, cluster_ips, slices};

/// Writes `text` as a manifest and expects one message that contains all of `words`.
#[track_caller]
fn check_message(cluster: &mut Cluster, file: &str, text: &str, words: &[&str]) {
    cluster.manifests.write_text(file, text);
    for word in words {
        cluster.agent.wait_printed(word, PATIENCE);
    }
    let printed = cluster.agent.printed();
    let about = |line: &&str| words.iter().all(|word| line.contains(word));
    let lines: Vec<_> = printed.lines().filter(about).collect();
    assert_eq!(lines.len(), 1, "one message with {words:?} in\n{printed}");
    let [dst, _] = cluster_ips();
    Cluster::ask(&cluster.pod.ns, dst, 1);
}

#[test]
fn each_bad_manifest_gives_one_message_and_good_objects_are_served() {
    let mut cluster = Cluster::new(Topology::Routed, 1);
    let cluster = &mut cluster;
    check_message(cluster, "not-yaml.yaml", "kind: [unclosed\n", &["not-yaml.yaml"]);
    check_message(
        cluster,
        "unknown.yaml",
        "apiVersion: v1\nkind: Servce\nmetadata: {name: typo}\n",
        &["unknown.yaml", "Servce", "typo"],
    );
    check_message(
        cluster,
        "no-ports.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: portless}\nspec: {clusterIP: 10.96.0.77, clusterIPs: [10.96.0.77]}\n",
        &["no-ports.yaml", "portless", "ports"],
    );
    check_message(
        cluster,
        "bad-ip.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: crooked}\nspec: {clusterIP: 10.96.0.300, clusterIPs: [10.96.0.300], ports: [{port: 80}]}\n",
        &["bad-ip.yaml", "crooked", "10.96.0.300"],
    );
    check_message(
        cluster,
        "twice.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: copycat, creationTimestamp: \"2026-01-01T00:00:00Z\"}\nspec: {clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10], ports: [{port: 80}]}\n",
        &["default/copycat", "default/web", "10.96.0.10:80"],
    );
    // A good object beside a bad one, in one file, is served.
    let good = service("default/good").cluster_ip("10.96.0.20").port("http", 80, Protocol::Tcp);
    let [slice, _] = slices("default/good", &cluster.servers);
    let documents = [good.object(), slice.object()].map(|object| object.to_string());
    cluster.manifests.write_text(
        "mixed.yaml",
        &format!("{}\n---\nkind: Nonsense\n---\n{}\n", documents[0], documents[1]),
    );
    let dst = "10.96.0.20:80".parse().unwrap();
    let pod = &cluster.pod.ns;
    cluster.agent.wait_ready("the good service answers", PATIENCE, || {
        lb_tests::traffic::http_get(pod, dst, None, std::time::Duration::from_secs(1))
    });
}
