//! What is read of the text of a file, and what is said of the rest.

use super::{API, WEB};
use crate::sources::files::manifest::Contents;

#[track_caller]
fn problem(text: &str) -> String {
    let problems = Contents::parse(text, None).problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.into_iter().next().unwrap()
}

fn names(text: &str) -> Vec<String> {
    let contents = Contents::parse(text, None);
    assert!(contents.problems.is_empty(), "{:?}", contents.problems);
    contents.manifests.iter().map(|m| format!("{} {} {}", m.kind(), m.name, m.line)).collect()
}

#[test]
fn a_file_may_hold_several_documents_of_the_kinds_we_read() {
    let text = format!(
        "# first\n---\n{WEB}---\n{API}--- # third\napiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
endpoints: []
---
apiVersion: v1
kind: Node
metadata: {{name: n1, namespace: ignored}}
---
apiVersion: networking.k8s.io/v1beta1
kind: ServiceCIDR
metadata: {{name: kubernetes}}
...
---
"
    );
    assert_eq!(
        names(&text),
        [
            "service default/web 2",
            "service shop/api 8",
            "endpointslice default/web-1 14",
            "node n1 20",
            "servicecidr kubernetes 24"
        ]
    );
}

#[test]
fn lists_are_read_whether_or_not_their_items_name_their_type() {
    let list = |version, kind, item| {
        format!(r#"{{"apiVersion": "{version}", "kind": "{kind}", "items": [{item}]}}"#)
    };
    let typed = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}}"#;
    let bare = r#"{"metadata": {"name": "a"}}"#;
    assert_eq!(names(&list("v1", "List", typed)), ["service default/a 1"]);
    assert_eq!(names(&list("v1", "ServiceList", bare)), ["service default/a 1"]);
    assert_eq!(names(&list("v1", "NodeList", bare)), ["node a 1"]);
    assert_eq!(problem(&list("v1", "List", bare)), "line 1: an object has no apiVersion and kind");
    let slice = r#"{"metadata": {"name": "a"}, "addressType": "IPv4"}"#;
    let slices = list("discovery.k8s.io/v1", "EndpointSliceList", slice);
    assert_eq!(names(&slices), ["endpointslice default/a 1"]);
}

#[test]
fn one_bad_document_costs_nothing_else_and_is_found_by_its_line() {
    let text = format!("{WEB}---\nkind: [Service\nspec: x\n---\n{API}");
    let contents = Contents::parse(&text, None);
    assert_eq!(contents.manifests.len(), 2);
    assert!(contents.is_broken);
    let problem = problem(&text);
    assert!(problem.starts_with("is not YAML: "), "{problem}");
    assert!(problem.contains("line 8"), "{problem}");
}

#[test]
fn a_document_may_begin_after_the_end_of_another() {
    let text = format!("{WEB}... # over\n{API}...\n%YAML 1.2\n---\n{WEB}");
    let lines: Vec<_> = names(&text.replacen("web", "other", 1)).into_iter().collect();
    assert_eq!(lines, ["service default/other 1", "service shop/api 7", "service default/web 14"]);
}

#[test]
fn a_list_without_items_is_named_unless_it_is_empty() {
    let list = |items| format!("apiVersion: v1\nkind: ServiceList\nitems: {items}");
    assert_eq!(problem(&list("{a: b}")), "line 1: the items of a ServiceList are no list");
    assert_eq!(problem(&list("none")), "line 1: the items of a ServiceList are no list");
    assert!(names(&list("[]")).is_empty() && names(&list("null")).is_empty());
}

#[test]
fn names_that_cannot_be_used_are_named() {
    let named = |kind: &str, metadata: &str| {
        problem(&format!("apiVersion: v1\nkind: {kind}\nmetadata: {metadata}"))
    };
    let check = |metadata: &str, expected: &str| {
        assert_eq!(named("Service", metadata), format!("line 1: {expected}"));
    };
    check("{name: 123}", "the metadata.name 123 of a service is not a string; quote it");
    check("{name: [a]}", "the metadata.name [\"a\"] of a service is not a string; quote it");
    check(
        "{name: a, namespace: 1}",
        "the metadata.namespace 1 of a service is not a string; quote it",
    );
    check("{name: null}", "a service has no metadata.name");
    let advice = "is no DNS label; use up to 63 of a-z, 0-9 and -";
    check("{name: a/b}", &format!("a service is left out: the name \"a/b\" {advice}"));
    check(r#"{name: "a\nb"}"#, &format!(r#"a service is left out: the name "a\nb" {advice}"#));
    check(
        "{name: a, namespace: B}",
        &format!("a service is left out: the namespace \"B\" {advice}"),
    );
    assert!(named("Node", "{name: N1}").starts_with("line 1: a node is left out: the name \"N1\""));
}

#[test]
fn documents_that_are_no_objects_are_named() {
    assert_eq!(problem("hello"), "line 1: is not a Kubernetes object");
    assert_eq!(problem("\n---\n- 1\n"), "line 2: is not a Kubernetes object");
    assert_eq!(problem("kind: Service"), "line 1: an object has no apiVersion and kind");
    assert_eq!(problem("apiVersion: v1"), "line 1: an object has no apiVersion and kind");
    let nameless = "apiVersion: v1\nkind: Service\nspec: {clusterIP: 10.96.0.1}";
    assert_eq!(problem(nameless), "line 1: a service has no metadata.name");
    assert!(problem("a: 1\na: 2").contains("duplicate"));
}

#[test]
fn kinds_that_others_read_are_passed_over_and_mistakes_are_named() {
    let object =
        |version, kind| format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}");
    for (version, kind) in [
        ("apps/v1", "Deployment"),
        ("v1", "ConfigMap"),
        ("v1", "Namespace"),
        ("serving.knative.dev/v1", "Service"),
        ("networking.k8s.io/v1", "NetworkPolicy"),
    ] {
        assert!(names(&object(version, kind)).is_empty());
    }
    let check = |version, kind, expected: &str| {
        assert_eq!(problem(&object(version, kind)), format!("line 1: {expected}"));
    };
    let kinds = "only Service, EndpointSlice and Node are read";
    check("v1", "Sevice", &format!("v1 Sevice a is not supported: {kinds}"));
    check("v1", "EndpointSlice", &format!("v1 EndpointSlice a is not supported: {kinds}"));
    let advice = "write an EndpointSlice instead";
    check("v1", "Endpoints", &format!("v1 Endpoints a is not supported: {advice}"));
    let old = "discovery.k8s.io/v1beta1";
    check(
        old,
        "EndpointSlice",
        &format!("{old} EndpointSlice a is not supported: use discovery.k8s.io/v1"),
    );
}
