//! §10.9 and §10.10: endpoints that terminate.

use lb_tests::objects::{Service, Slice};
use lb_tests::truth::{Fates, NODE_NAME, dropped, masqueraded, reaches, rejected};
use serde_json::Value;

use crate::fixture::{LB1, P, X, http, http_slice};
use crate::section::{Section, row};

/// An endpoint as the tables write it: the last number of its address, `L` or `R`, and `r` (ready),
/// `s+t` (serving while it terminates) or `t` (terminating).
type Endpoint = (u8, char, &'static str);

fn endpoints(all: &[Endpoint]) -> Value {
    let add = |slice: Slice, (number, place, state): &Endpoint| {
        let slice = slice.endpoint(&format!("10.0.1.{number}"));
        let slice = slice.on(if *place == 'L' { NODE_NAME } else { "another" });
        match *state {
            "r" => slice.ready(),
            "s+t" => slice.terminating(true),
            "t" => slice.terminating(false),
            other => panic!("{other} is no state of an endpoint"),
        }
    };
    all.iter().fold(http_slice("svc1"), add).object()
}

/// Those endpoints, by the last numbers of their addresses.
fn at(numbers: &[u8], fates: fn(&[&str]) -> Fates) -> Fates {
    let addresses: Vec<_> = numbers.iter().map(|number| format!("10.0.1.{number}:80")).collect();
    fates(&addresses.iter().map(String::as_str).collect::<Vec<_>>())
}

/// One row: what a pod that dials the ClusterIP and a client that dials the LoadBalancer meet.
fn ask(
    section: &mut Section,
    number: u32,
    web: &Service,
    slice: Option<Value>,
    expected: [Fates; 2],
) {
    section.objects(&[web.object()].into_iter().chain(slice).collect::<Vec<_>>());
    let [pod, outside] = expected;
    section.rows([
        row(number, "P → ClusterIP", (P, "172.30.0.41:80"), pod),
        row(number, "X → LB", (X, "1.2.3.4:80"), outside),
    ]);
}

#[test]
fn section_10_9_terminating_endpoints_under_policy_local() {
    let mut section = Section::new(9, 5);
    let web = http("svc1", "172.30.0.41").load_balancer_ip(LB1).external_local();
    let web = web.with("/spec/healthCheckNodePort", 32_000);
    let s = &mut section;
    let all = [(1, 'L', "r"), (2, 'L', "r"), (3, 'L', "s+t"), (4, 'L', "t"), (5, 'R', "r")];
    ask(s, 1, &web, Some(endpoints(&all)), [at(&[1, 2, 5], reaches), at(&[1, 2], reaches)]);
    let all = [(2, 'L', "s+t"), (3, 'L', "s+t"), (4, 'L', "t"), (5, 'R', "r")];
    ask(s, 2, &web, Some(endpoints(&all)), [at(&[5], reaches), at(&[2, 3], reaches)]);
    let remote = [(5, 'R', "s+t")];
    ask(s, 3, &web, Some(endpoints(&remote)), [at(&[5], reaches), dropped()]);
    let none = [(5, 'L', "t"), (5, 'R', "t")];
    ask(s, 4, &web, Some(endpoints(&none)), [rejected(), rejected()]);
    ask(s, 5, &web, None, [rejected(), rejected()]);
    section.end();
}

#[test]
fn section_10_10_terminating_endpoints_under_policy_cluster() {
    let mut section = Section::new(10, 4);
    let web = http("svc1", "172.30.0.41").load_balancer_ip(LB1);
    let s = &mut section;
    let all = [(1, 'L', "r"), (2, 'L', "r"), (3, 'R', "s+t"), (4, 'R', "t"), (5, 'R', "r")];
    ask(s, 1, &web, Some(endpoints(&all)), [at(&[1, 2, 5], reaches), at(&[1, 2, 5], masqueraded)]);
    let all = [(2, 'L', "s+t"), (3, 'L', "s+t"), (4, 'R', "t"), (5, 'R', "s+t")];
    ask(s, 2, &web, Some(endpoints(&all)), [at(&[2, 3, 5], reaches), at(&[2, 3, 5], masqueraded)]);
    let remote = [(5, 'R', "s+t")];
    ask(s, 3, &web, Some(endpoints(&remote)), [at(&[5], reaches), at(&[5], masqueraded)]);
    let none = [(5, 'L', "t"), (5, 'R', "t")];
    ask(s, 4, &web, Some(endpoints(&none)), [rejected(), rejected()]);
    section.end();
}
