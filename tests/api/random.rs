//! Random bursts over a handful of Services that want each other's addresses and ports.
//!
//! The seed is printed; `BURST_SEED` repeats a run.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::burst::{CUTS, Edit, PROXY_NAME, apply, assert_as_after_a_fresh_start, play};
use crate::world::World;

const ROUNDS: u8 = 6;
const MOST_EDITS: usize = 80;

#[test]
fn random_bursts_leave_what_a_fresh_start_finds() {
    let seed = std::env::var("BURST_SEED").map_or_else(|_| now(), |seed| seed.parse().unwrap());
    eprintln!("BURST_SEED={seed}");
    let (mut dice, mut cluster) = (Dice(seed), Cluster::new());
    let mut world = World::new();
    for round in 1..=ROUNDS {
        let count = 1 + dice.below(MOST_EDITS);
        let edits: Vec<_> = (0..count).flat_map(|_| cluster.edit(&mut dice)).collect();
        let cut = *dice.pick(&CUTS);
        eprintln!("round {round}: {count} edits, watches cut: {cut:?}");
        play(&world, &edits, cut);
        assert_as_after_a_fresh_start(&mut world, round);
    }
}

/// All objects that there ever are.
struct Cluster {
    services: Vec<Object>,
    slices: Vec<Object>,
}

/// An object as it is, or as it was or will be.
struct Object {
    plural: &'static str,
    is_there: bool,
    value: Value,
}

impl Cluster {
    fn new() -> Self {
        let families = ["IPv4", "IPv4", "IPv4", "IPv4", "IPv6", "IPv6"];
        let slices = families.iter().enumerate();
        Self {
            services: ["a", "b", "c", "d"].map(service).into(),
            slices: slices.map(|(number, family)| slice(number, family)).collect(),
        }
    }

    /// Deletes something, changes one field of something (which creates it if it is gone), or swaps
    /// all that two Services have.
    fn edit(&mut self, dice: &mut Dice) -> Vec<Edit> {
        match dice.below(10) {
            0 => self.swap(dice),
            1 => dice.pick_mut(&mut self.services).delete().into_iter().collect(),
            2 => dice.pick_mut(&mut self.slices).delete().into_iter().collect(),
            3..7 => vec![dice.pick_mut(&mut self.services).change(dice, &service_fields())],
            _ => {
                let slice = dice.pick_mut(&mut self.slices);
                let fields = slice_fields(&slice.value["addressType"]);
                vec![slice.change(dice, &fields)]
            }
        }
    }

    fn swap(&mut self, dice: &mut Dice) -> Vec<Edit> {
        let (one, other) = (dice.below(self.services.len()), dice.below(self.services.len()));
        for part in ["spec", "status"] {
            let [a, b] = [one, other].map(|number| self.services[number].value[part].clone());
            (self.services[one].value[part], self.services[other].value[part]) = (b, a);
        }
        [one, other].map(|number| self.services[number].put()).into()
    }
}

impl Object {
    fn put(&mut self) -> Edit {
        self.is_there = true;
        apply(&self.value)
    }

    fn delete(&mut self) -> Option<Edit> {
        let name = format!("default/{}", self.value["metadata"]["name"].as_str().unwrap());
        std::mem::take(&mut self.is_there).then_some(Edit::Delete(self.plural, name))
    }

    /// Gives one of the `fields` another of its values.
    fn change(&mut self, dice: &mut Dice, fields: &Value) -> Edit {
        let fields: Vec<_> = fields.as_object().unwrap().iter().collect();
        let (pointer, values) = *dice.pick(&fields);
        let value = dice.pick(values.as_array().unwrap());
        *self.value.pointer_mut(pointer).unwrap() = value.clone();
        self.put()
    }
}

fn service(name: &str) -> Object {
    let value = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default", "labels": {}},
        "spec": {
            "type": "ClusterIP",
            "clusterIPs": ["10.96.0.1"],
            "externalIPs": [],
            "ports": [port("http", 80, "TCP", 0)],
            "sessionAffinity": "None",
            "loadBalancerSourceRanges": [],
            "internalTrafficPolicy": "Cluster",
            "externalTrafficPolicy": "Cluster",
        },
        "status": {"loadBalancer": {"ingress": []}},
    });
    Object { plural: "services", is_there: false, value }
}

/// What a Service's fields can be: so little that they clash often.
fn service_fields() -> Value {
    json!({
        "/metadata/labels": [{}, {(PROXY_NAME): "another"}],
        "/spec/type": ["ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer", "ExternalName"],
        "/spec/clusterIPs": [
            ["10.96.0.1"],
            ["10.96.0.1", "fd00:96::1"],
            ["10.96.0.2"],
            ["10.96.0.3", "fd00:96::2"],
            ["None"],
        ],
        "/spec/externalIPs": [[], ["192.0.2.1"], ["192.0.2.2", "10.96.0.2"], ["2001:db8::1"]],
        "/spec/ports": [
            [port("http", 80, "TCP", 0)],
            [port("http", 80, "TCP", 30_080)],
            [port("web", 80, "TCP", 30_080)],
            [port("http", 81, "TCP", 30_081), port("web", 80, "TCP", 30_080)],
            [port("dns", 53, "UDP", 30_080), port("http", 53, "TCP", 30_081)],
        ],
        "/spec/sessionAffinity": ["None", "ClientIP"],
        "/spec/loadBalancerSourceRanges": [[], ["203.0.113.0/25"], ["2001:db8::/32", "10.0.0.0/8"]],
        "/spec/internalTrafficPolicy": ["Cluster", "Local"],
        "/spec/externalTrafficPolicy": ["Cluster", "Local"],
        "/status/loadBalancer/ingress": [
            [],
            [{"ip": "192.0.2.1"}],
            [{"ip": "192.0.2.3"}, {"ip": "2001:db8::1"}],
            [{"ip": "192.0.2.1", "ipMode": "Proxy"}],
        ],
    })
}

fn port(name: &str, port: u16, protocol: &str, node_port: u16) -> Value {
    json!({"name": name, "port": port, "protocol": protocol, "nodePort": node_port})
}

fn slice(number: usize, family: &str) -> Object {
    let value = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": format!("slice{number}"), "namespace": "default", "labels": of("a")},
        "addressType": family,
        "ports": [port("http", 8080, "TCP", 0)],
        "endpoints": [],
    });
    Object { plural: "endpointslices", is_there: false, value }
}

fn of(service: &str) -> Value {
    json!({"kubernetes.io/service-name": service})
}

fn slice_fields(family: &Value) -> Value {
    let network = if family == "IPv6" { "fd00:10:1::" } else { "10.1.0." };
    let endpoint = |number: u8, node: &str, ready: bool, terminating: bool| {
        let serving = ready || terminating;
        json!({
            "addresses": [format!("{network}{number}")],
            "nodeName": node,
            "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        })
    };
    let (local, remote) = (endpoint(2, "node1", true, false), endpoint(3, "node2", true, false));
    let (draining, dead) = (endpoint(2, "node1", false, true), endpoint(4, "node2", false, false));
    json!({
        "/metadata/labels": [of("a"), of("b"), of("c"), of("d")],
        "/ports": [
            [port("http", 8080, "TCP", 0)],
            [port("http", 8080, "TCP", 0), port("web", 8080, "TCP", 0)],
            [port("http", 8081, "TCP", 0), port("dns", 8053, "UDP", 0)],
        ],
        "/endpoints": [
            [],
            [local],
            [local, remote, dead],
            [remote],
            [draining, remote],
            [draining, dead],
        ],
    })
}

/// The generator `SplitMix64`: the same seed throws the same.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn pick_mut<'a, T>(&mut self, of: &'a mut [T]) -> &'a mut T {
        let at = self.below(of.len());
        &mut of[at]
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs() ^ u64::from(since.subsec_nanos()) << 20
}
