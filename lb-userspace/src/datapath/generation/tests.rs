//! Generations over a BPF file system, with an end between any two steps.

use aya::programs::TcAttachType;
use lb_common::abi;
use lb_common::abi::flow::FlowKey;

use super::*;
use crate::datapath::attach::{Attacher, Method, Order};
use crate::datapath::load::{Datapath, Globals, open};
use crate::datapath::tests::{Node, SMALL, index, tcx, v0};
use crate::netlink::namespace::{block_on, command, in_namespace};

const LARGE: Capacities = Capacities {
    frontends: 512,
    services: 512,
    slots: 512,
    backends: 512,
    flows: 8192,
    clients: 512,
    source_ranges: 512,
    sockets: 512,
};

/// What all maps hold whose entries can be read, by their names.
type Contents = BTreeMap<&'static str, BTreeMap<Vec<u8>, Vec<u8>>>;

fn load(node: &Node, capacities: &Capacities) -> Datapath {
    Datapath::load(&node.pins(), capacities, Globals::default()).unwrap()
}

fn can_be_read(layout: &Layout) -> bool {
    !matches!(layout.shape.kind, MapType::PerCpuArray | MapType::RingBuf | MapType::SkStorage)
}

/// An entry of a map: its key and value say which.
fn entry(layout: &Layout, number: u8) -> (Vec<u8>, Vec<u8>) {
    let Shape { kind, key, value, .. } = layout.shape;
    let mut key = vec![number; key as usize];
    match kind {
        MapType::Array => key = u32::from(number - 1).to_ne_bytes().to_vec(),
        MapType::LpmTrie => key[..4].copy_from_slice(&32_u32.to_ne_bytes()),
        _ => {}
    }
    (key, vec![number; value as usize])
}

fn number(key: &[u8]) -> u32 {
    u32::from_ne_bytes(key.try_into().unwrap())
}

/// Puts three entries into every map that has room for them.
fn write_everything(directory: &Path) -> Contents {
    for layout in layouts(&SMALL).iter().filter(|layout| can_be_read(layout)) {
        let map = RawMap::from_pin(&directory.join(layout.name)).unwrap();
        for (key, value) in [1, 2, 3].map(|number| entry(layout, number)) {
            let has_room =
                layout.shape.kind != MapType::Array || number(&key) < layout.shape.capacity;
            if has_room {
                map.put(&key, &value, 0).unwrap();
            }
        }
    }
    read_everything(directory)
}

fn read_everything(directory: &Path) -> Contents {
    let readable = layouts(&SMALL).into_iter().filter(can_be_read);
    readable
        .map(|it| (it.name, RawMap::from_pin(&directory.join(it.name)).unwrap().dump()))
        .collect()
}

#[track_caller]
fn check_sizes(node: &Node, capacities: &Capacities) {
    for layout in layouts(capacities) {
        let found = found(&node.pins().maps(), layout.name).unwrap();
        assert_eq!(found, Some(layout.shape), "{}", layout.name);
    }
}

/// Nothing is left of any generation but the one in force.
#[track_caller]
fn check_tidy(node: &Node) {
    let names = |path: &Path| pins::names(path).unwrap();
    let version = format!("v{}", abi::VERSION);
    assert_eq!(names(node.pins().root()), std::slice::from_ref(&version));
    let mut found = names(&node.pins().root().join(version));
    found.sort_unstable();
    found.retain(|name| name != "reserved");
    assert_eq!(found, ["clsact", "links", "maps", "sockets"]);
}

/// As if what is pinned were the version's before.
fn make_it_older(node: &Node) {
    let (now, before) = (format!("v{}", abi::VERSION), format!("v{}", abi::VERSION - 1));
    let root = node.pins().root().to_owned();
    fs::rename(root.join(now), root.join(before)).unwrap();
}

fn older_maps(node: &Node) -> PathBuf {
    node.pins().root().join(format!("v{}/maps", abi::VERSION - 1))
}

#[test]
fn larger_and_smaller_maps_hold_what_was_there() {
    in_namespace(|| {
        let node = Node::new();
        drop(load(&node, &SMALL));
        let before = write_everything(&node.pins().maps());
        assert!(before.values().all(|entries| !entries.is_empty()));
        for capacities in [LARGE, SMALL] {
            load(&node, &capacities).settle().unwrap();
            assert_eq!(read_everything(&node.pins().maps()), before);
            check_sizes(&node, &capacities);
            check_tidy(&node);
        }
    });
}

#[test]
fn a_map_never_becomes_smaller_than_what_the_agent_has_put_there() {
    in_namespace(|| {
        let node = Node::new();
        drop(load(&node, &LARGE));
        for name in [map::SLOTS, map::FRONTENDS_V6] {
            let layout = *layouts(&LARGE).iter().find(|it| it.name == name).unwrap();
            let map = RawMap::from_pin(&node.pins().map(name)).unwrap();
            for (key, value) in (1..=100).map(|number| entry(&layout, number)) {
                map.put(&key, &value, 0).unwrap();
            }
        }
        let sizes = sizes(&node.pins(), &SMALL).unwrap();
        load(&node, &sizes).settle().unwrap();
        check_sizes(&node, &Capacities { slots: 100, frontends: 100, ..SMALL });
        assert_eq!(RawMap::from_pin(&node.pins().map(map::SLOTS)).unwrap().dump().len(), 100);
    });
}

#[test]
fn a_start_keeps_the_sizes_that_the_maps_have_grown_to() {
    in_namespace(|| {
        let node = Node::new();
        let limits = Capacities { flows: 2048, ..Capacities::default() };
        let first = sizes(&node.pins(), &limits).unwrap();
        assert_eq!(first, Capacities { flows: 2048, sockets: limits.sockets, ..first });
        assert!(first.slots < limits.slots);
        let grown = Capacities { slots: 2 * first.slots, services: 2 * first.services, ..first };
        make_maps(&node, &grown);
        assert_eq!(sizes(&node.pins(), &limits).unwrap(), grown);
    });
}

#[test]
fn maps_that_stay_as_they_are_are_the_very_same() {
    in_namespace(|| {
        let node = Node::new();
        drop(load(&node, &SMALL));
        let id = |name| RawMap::from_pin(&node.pins().map(name)).unwrap().id();
        let before = [map::FLOWS_V4, map::COUNTERS, map::SLOTS].map(id);
        load(&node, &Capacities { slots: 128, ..SMALL }).settle().unwrap();
        let after = [map::FLOWS_V4, map::COUNTERS, map::SLOTS].map(id);
        assert_eq!(before[..2], after[..2]);
        assert_ne!(before[2], after[2]);
    });
}

#[test]
fn values_of_an_older_version_are_filled_up_with_zeros() {
    in_namespace(|| {
        let node = Node::new();
        drop(load(&node, &SMALL));
        make_it_older(&node);
        let before = write_everything(&older_maps(&node));
        let old = older_maps(&node).join(map::FLOWS_V4);
        let shape = found(&older_maps(&node), map::FLOWS_V4).unwrap().unwrap();
        fs::remove_file(&old).unwrap();
        command(&format!(
            "bpftool map create {} type lru_hash key {} value {} entries {} name FLOWS_V4",
            old.display(),
            shape.key,
            shape.value - 8,
            shape.capacity
        ));
        let (key, value) = (vec![7; shape.key as usize], vec![9; shape.value as usize - 8]);
        RawMap::from_pin(&old).unwrap().put(&key, &value, 0).unwrap();
        load(&node, &SMALL).settle().unwrap();
        let mut after = read_everything(&node.pins().maps());
        let longer = [value, vec![0; 8]].concat();
        assert_eq!(after[map::FLOWS_V4], BTreeMap::from([(key, longer)]));
        after.insert(map::FLOWS_V4, before[map::FLOWS_V4].clone());
        assert_eq!(after, before);
        check_sizes(&node, &SMALL);
        check_tidy(&node);
    });
}

#[test]
fn a_map_of_another_kind_is_refused_and_nothing_is_changed() {
    in_namespace(|| {
        let node = Node::new();
        drop(load(&node, &SMALL));
        let pin = node.pins().map(map::EXEMPT);
        fs::remove_file(&pin).unwrap();
        let shape = "type hash key 4 value 4 entries 64";
        command(&format!("bpftool map create {} {shape} name EXEMPT", pin.display()));
        let error = Datapath::load(&node.pins(), &LARGE, Globals::default()).unwrap_err();
        assert!(error.to_string().contains("map EXEMPT is pinned as"), "{error}");
        let shape = found(&node.pins().maps(), map::SLOTS).unwrap().unwrap();
        assert_eq!(shape.capacity, SMALL.slots);
    });
}

#[test]
fn what_the_old_programs_have_noted_last_is_added_and_nothing_else() {
    in_namespace(|| {
        let node = Node::new();
        drop(load(&node, &SMALL));
        let old = RawMap::from_pin(&node.pins().map(map::FLOWS_V4)).unwrap();
        let mut datapath = load(&node, &LARGE);
        let now = crate::flows::now().unwrap().0;
        let new = RawMap::from_pin(&node.pins().map(map::FLOWS_V4)).unwrap();
        let put = |map: &RawMap, port: u8, seen: u32, packets: u64| {
            let mut value = vec![0_u8; size_of::<Flow<Addr4>>()];
            let at = offset_of!(Flow<Addr4>, seen);
            value[at..at + 4].copy_from_slice(&seen.to_ne_bytes());
            let at = offset_of!(Flow<Addr4>, packets);
            value[at..at + 8].copy_from_slice(&packets.to_ne_bytes());
            map.put(&[port; size_of::<FlowKey<Addr4>>()], &value, 0).unwrap();
        };
        put(&old, 1, now, 10);
        put(&old, 2, now, 20);
        put(&new, 2, now, 21);
        put(&old, 3, now - 100, 30);
        datapath.settle().unwrap();
        let at = offset_of!(Flow<Addr4>, packets);
        let packets: Vec<_> = new.dump().into_iter().map(|(key, it)| (key[0], it[at])).collect();
        assert_eq!(packets, [(1, 10), (2, 21)]);
        check_tidy(&node);
    });
}

/// What a start makes, without programs.
fn make_maps(node: &Node, capacities: &Capacities) {
    let (pins, layouts) = (node.pins(), layouts(capacities));
    pins.create().unwrap();
    let next = Next::plan(&pins, &layouts).unwrap().unwrap();
    next.begin().unwrap();
    drop(open(&pins.next_maps(), &layouts, Globals::default()).unwrap());
    next.take_over(Ticks::default).unwrap();
}

/// Ends after this many of the steps in which one generation follows another.
fn end_after(steps: usize, pins: &Pins) -> bool {
    let wanted = layouts(&LARGE);
    let next = Next::plan(pins, &wanted).unwrap().unwrap();
    let old = || Old::find(pins).unwrap().unwrap();
    let all: [&dyn Fn(); 10] = [
        &|| next.begin().unwrap(),
        &|| drop(open(&pins.next_maps(), &wanted, Globals::default()).unwrap()),
        &|| next.fill(|name, _| name < map::FLOWS_V4).unwrap(),
        &|| next.fill(|_, _| true).unwrap(),
        &|| drop(next.put_aside().unwrap()),
        &|| fs::rename(pins.next_maps(), pins.maps()).unwrap(),
        &|| adopt_others(pins).unwrap(),
        &|| old().add(map::FLOWS_V4).unwrap(),
        &|| fs::remove_file(old().maps.join(map::FLOWS_V6)).unwrap(),
        &|| old().settle(&wanted).unwrap(),
    ];
    all.iter().take(steps).for_each(|step| step());
    steps < all.len()
}

#[test]
fn after_an_end_between_any_two_steps_the_next_start_has_everything() {
    for is_older in [false, true] {
        in_namespace(move || {
            for steps in 0.. {
                let node = Node::new();
                make_maps(&node, &SMALL);
                let before = write_everything(&node.pins().maps());
                if is_older {
                    make_it_older(&node);
                    node.pins().create().unwrap();
                }
                let goes_on = end_after(steps, &node.pins());
                load(&node, &LARGE).settle().unwrap();
                assert_eq!(read_everything(&node.pins().maps()), before, "after {steps} steps");
                check_sizes(&node, &LARGE);
                check_tidy(&node);
                if !goes_on {
                    break;
                }
            }
        });
    }
}

#[test]
fn links_stay_and_get_the_programs_of_the_new_maps_whatever_happens_between() {
    for is_older in [false, true] {
        in_namespace(move || {
            let node = Node::new();
            command("ip link add v0 type veth peer name v1");
            let attacher =
                |datapath| Attacher::new(datapath, node.pins(), Method::Tcx, Order::First);
            block_on(async { attacher(load(&node, &SMALL)).sync(&v0()).await });
            let before = node.links(index());
            if is_older {
                make_it_older(&node);
            }
            // An end right after the new maps were put in force.
            drop(load(&node, &LARGE));
            let mut attacher = attacher(load(&node, &LARGE));
            assert!(attacher.datapath().take_over().unwrap(), "the old ones are still there");
            block_on(async { attacher.sync(&v0()).await });
            attacher.datapath().settle().unwrap();
            let after = node.links(index());
            for (before, after) in before.iter().zip(&after) {
                assert_eq!(before.0, after.0, "the link is the same");
                assert_ne!(before.1, after.1, "the program is another");
            }
            let flows = RawMap::from_pin(&node.pins().map(map::FLOWS_V4)).unwrap().id();
            let programs = [TcAttachType::Ingress, TcAttachType::Egress].map(tcx);
            assert_eq!(programs.concat().len(), 2);
            for (_, program) in after {
                let shown = command(&format!("bpftool --json prog show id {program}"));
                assert!(shown.contains(&flows.to_string()), "{shown}");
            }
            check_tidy(&node);
            assert_eq!(node.cleanup().interfaces, [(index(), 2)]);
        });
    }
}

#[test]
fn flows_of_programs_that_left_no_hints_are_looked_up_all_the_same() {
    in_namespace(|| {
        let node = Node::new();
        drop(load(&node, &SMALL));
        let hints = || RawMap::from_pin(&node.pins().map(map::HINTS)).unwrap().dump();
        let are_all = |byte| hints().values().flatten().all(|hint| *hint == byte);
        assert!(are_all(0));
        fs::remove_file(node.pins().map(map::HINTS)).unwrap();
        load(&node, &SMALL).settle().unwrap();
        assert!(are_all(1));
    });
}
