//! What the maps hold after which plans.

use crate::harness::{check, gone, put};
use crate::plans::{key, key6, plan};

#[test]
fn a_service_appears_changes_and_disappears() {
    let web = || plan().cluster_ip("10.96.0.10:80").there("10.1.1.2:8080");
    check(&[
        (
            vec![put(key("web"), web())],
            "FRONTENDS_V4 10.96.0.10:80/TCP service=1
             SERVICES 1 demo/web:http/TCP IPv4 cluster=[1] local=[] affinity=0s
             BACKENDS_V4 1 10.1.1.2:8080 service=1 generation=1 serving",
        ),
        (
            vec![put(key("web"), web().here("10.1.0.2:8080").local_node_port("192.0.2.1:30080"))],
            "FRONTENDS_V4 10.96.0.10:80/TCP service=1
             FRONTENDS_V4 192.0.2.1:30080/TCP service=1 flags=external,local
             SERVICES 1 demo/web:http/TCP IPv4 cluster=[2 1] local=[2] affinity=0s
             BACKENDS_V4 1 10.1.1.2:8080 service=1 generation=1 serving
             BACKENDS_V4 2 10.1.0.2:8080 service=1 generation=1 serving,local",
        ),
        (
            vec![put(
                key("web"),
                plan().cluster_ip("10.96.0.10:80").here("10.1.0.2:8080").affinity(60),
            )],
            "FRONTENDS_V4 10.96.0.10:80/TCP service=1
             SERVICES 1 demo/web:http/TCP IPv4 cluster=[2] local=[2] affinity=60s
             BACKENDS_V4 2 10.1.0.2:8080 service=1 generation=1 serving,local",
        ),
        (vec![gone(key("web"))], ""),
    ]);
}

#[test]
fn an_id_that_is_used_again_has_the_next_generation() {
    let with = |pod| plan().cluster_ip("10.96.0.10:80").there(pod);
    check(&[(
        vec![
            put(key("web"), with("10.1.1.2:8080")),
            put(key("web"), with("10.1.1.3:8080")),
            put(key("web"), with("10.1.1.4:8080")),
        ],
        "FRONTENDS_V4 10.96.0.10:80/TCP service=1
         SERVICES 1 demo/web:http/TCP IPv4 cluster=[1] local=[] affinity=0s
         BACKENDS_V4 1 10.1.1.4:8080 service=1 generation=2 serving",
    )]);
}

#[test]
fn a_terminating_endpoint_stays_until_it_is_gone() {
    let web = || plan().cluster_ip("10.96.0.10:80").there("10.1.1.2:8080");
    check(&[
        (
            vec![
                put(key("web"), web().there("10.1.1.3:8080")),
                put(key("web"), web().leaving("10.1.1.3:8080", true)),
            ],
            "FRONTENDS_V4 10.96.0.10:80/TCP service=1
             SERVICES 1 demo/web:http/TCP IPv4 cluster=[1] local=[] affinity=0s
             BACKENDS_V4 1 10.1.1.2:8080 service=1 generation=1 serving
             BACKENDS_V4 2 10.1.1.3:8080 service=1 generation=1 serving",
        ),
        (
            vec![put(key("web"), web().leaving("10.1.1.3:8080", false))],
            "FRONTENDS_V4 10.96.0.10:80/TCP service=1
             SERVICES 1 demo/web:http/TCP IPv4 cluster=[1] local=[] affinity=0s
             BACKENDS_V4 1 10.1.1.2:8080 service=1 generation=1 serving
             BACKENDS_V4 2 10.1.1.3:8080 service=1 generation=1",
        ),
    ]);
}

#[test]
fn a_service_without_endpoints_has_empty_lists() {
    check(&[(
        vec![
            put(key("web"), plan().cluster_ip("10.96.0.10:80").here("10.1.0.2:8080")),
            put(key("web"), plan().cluster_ip("10.96.0.10:80")),
        ],
        "FRONTENDS_V4 10.96.0.10:80/TCP service=1
         SERVICES 1 demo/web:http/TCP IPv4 cluster=[] local=[] affinity=0s",
    )]);
}

#[test]
fn families_have_backend_ids_of_their_own() {
    check(&[(
        vec![
            put(key("web"), plan().cluster_ip("10.96.0.10:80").there("10.1.1.2:8080")),
            put(key6("web"), plan().cluster_ip("[fd96::a]:80").there("[fd01::2]:8080")),
        ],
        "FRONTENDS_V4 10.96.0.10:80/TCP service=1
         FRONTENDS_V6 [fd96::a]:80/TCP service=2
         SERVICES 1 demo/web:http/TCP IPv4 cluster=[1] local=[] affinity=0s
         SERVICES 2 demo/web:http/TCP IPv6 cluster=[1] local=[] affinity=0s
         BACKENDS_V4 1 10.1.1.2:8080 service=1 generation=1 serving
         BACKENDS_V6 1 [fd01::2]:8080 service=2 generation=1 serving",
    )]);
}

#[test]
fn a_frontend_moves_to_another_service_whoever_is_applied_first() {
    let (old, new) = (|| plan().there("10.1.1.2:8080"), || plan().there("10.1.1.3:8080"));
    let before =
        [put(key("old"), old().cluster_ip("10.96.0.10:80")), put(key("new"), new())].to_vec();
    let taken = put(key("new"), new().cluster_ip("10.96.0.10:80"));
    let after = "FRONTENDS_V4 10.96.0.10:80/TCP service=2
         SERVICES 1 demo/old:http/TCP IPv4 cluster=[1] local=[] affinity=0s
         SERVICES 2 demo/new:http/TCP IPv4 cluster=[2] local=[] affinity=0s
         BACKENDS_V4 1 10.1.1.2:8080 service=1 generation=1 serving
         BACKENDS_V4 2 10.1.1.3:8080 service=2 generation=1 serving";
    let given_up = put(key("old"), old());
    check(&[([before.clone(), vec![taken.clone(), given_up.clone()]].concat(), after)]);
    check(&[([before, vec![given_up, taken]].concat(), after)]);
}

#[test]
fn a_service_that_lost_its_frontend_to_another_can_go() {
    check(&[(
        vec![
            put(key("old"), plan().cluster_ip("10.96.0.10:80").there("10.1.1.2:8080")),
            put(key("new"), plan().cluster_ip("10.96.0.10:80")),
            gone(key("old")),
        ],
        "FRONTENDS_V4 10.96.0.10:80/TCP service=2
         SERVICES 2 demo/new:http/TCP IPv4 cluster=[] local=[] affinity=0s",
    )]);
}
