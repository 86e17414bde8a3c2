//! Which pods are left to their packets, and by which uid.

use super::*;
use crate::model::Pod;

fn pod_of(change: impl FnOnce(&mut Value)) -> Outcome<Pod> {
    let mut value = json!({
        "metadata": {
            "name": "shy", "namespace": "default", "uid": "5a3f-11",
            "annotations": {"waggle.dev/socket-lb": "off"},
        },
        "spec": {"nodeName": "node1"},
        "status": {"phase": "Running"},
    });
    change(&mut value);
    pod(&serde_json::from_value(value).unwrap())
}

#[track_caller]
fn check(change: impl FnOnce(&mut Value), uid: Option<&str>) {
    let expected = uid.map_or(Outcome::NotOurs, |uid| {
        Outcome::Usable(Pod { node: "node1".into(), uid: uid.into() }, Vec::new())
    });
    assert_eq!(pod_of(change), expected);
}

fn with_annotations(annotations: Value) -> impl FnOnce(&mut Value) {
    move |pod| pod["metadata"]["annotations"] = annotations
}

#[test]
fn a_pod_is_left_alone_if_it_says_off_and_nothing_else() {
    check(|_| {}, Some("5a3f-11"));
    for value in ["on", "", "Off", "false", "off "] {
        check(with_annotations(json!({"waggle.dev/socket-lb": value})), None);
    }
    check(with_annotations(json!({"example.dev/socket-lb": "off"})), None);
    check(with_annotations(Value::Null), None);
}

#[test]
fn a_pod_counts_from_its_placement_to_its_end() {
    check(|pod| pod["spec"] = json!({}), None);
    check(|pod| pod["spec"] = Value::Null, None);
    for (phase, uid) in [
        ("Pending", Some("5a3f-11")),
        ("Running", Some("5a3f-11")),
        ("Unknown", Some("5a3f-11")),
        ("Succeeded", None),
        ("Failed", None),
    ] {
        check(|pod| pod["status"]["phase"] = json!(phase), uid);
    }
    check(|pod| pod["status"] = Value::Null, Some("5a3f-11"));
}

#[test]
fn a_pod_in_the_nodes_own_network_is_the_node() {
    check(|pod| pod["spec"]["hostNetwork"] = json!(true), None);
    check(|pod| pod["spec"]["hostNetwork"] = json!(false), Some("5a3f-11"));
}

#[test]
fn a_static_pod_is_known_by_the_hash_of_its_file() {
    let off = |more: Value| {
        let mut annotations = json!({"waggle.dev/socket-lb": "off"});
        annotations.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        with_annotations(annotations)
    };
    let mirror = json!({"kubernetes.io/config.mirror": "ab", "kubernetes.io/config.hash": "ab12"});
    check(off(mirror), Some("ab12"));
    check(off(json!({"kubernetes.io/config.hash": "ab12"})), Some("5a3f-11"));
    check(off(json!({"kubernetes.io/config.mirror": "ab"})), Some("5a3f-11"));
}

#[test]
fn a_pod_without_uid_has_no_cgroup_to_look_for() {
    check(|pod| pod["metadata"]["uid"] = Value::Null, None);
}
