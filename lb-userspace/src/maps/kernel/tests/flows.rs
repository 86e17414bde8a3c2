//! The flows of the kernel, as the sweep sees them.

use std::collections::BTreeMap;

use lb_common::decide::state::Timeouts;

use super::*;
use crate::datapath;
use crate::datapath::load::{Datapath, Globals};
use crate::flows::{Stage, Sweep, Tally};
use crate::maps::FlowTable as _;

#[test]
fn a_sweep_removes_what_is_over_and_leaves_the_rest_as_it_is() {
    const MANY: u16 = 5000;
    if !can_create_maps() {
        return;
    }
    let pins = Pins::new();
    let object = datapath::pins::Pins::new(pins.0.path());
    let capacities = Capacities { flows: 16_384, ..SMALL };
    Datapath::load(&object, &capacities, Globals::default()).unwrap();
    let flows = MapData::from_pin(object.map(map::FLOWS_V6)).unwrap();
    let mut map =
        HashMap::<_, FlowKey<Addr6>, Flow<Addr6>>::try_from(Map::from_map_data(flows).unwrap())
            .unwrap();
    let entry = |port: u16| {
        let key = FlowKey {
            src: Addr6::from_octets([1; 16]),
            dst: Addr6::from_octets([2; 16]),
            src_port: Port::from_host(port),
            dst_port: Port::from_host(80),
            protocol: protocol::UDP,
            hook: Hook::Ingress as u8,
            pad: [0; 2],
        };
        let seen = Ticks(if port.is_multiple_of(3) { 1000 } else { 1020 });
        (key, flow_to(&key, seen))
    };
    for (key, flow) in (0..MANY).map(entry) {
        map.insert(key, flow, 0).unwrap();
    }
    let table = KernelFlows::<Addr6>::from_pins(&object.maps()).unwrap();
    assert_eq!(table.capacity(), 16_384);
    let mut sweep = Sweep::new(table, || Ticks(1029), Timeouts::DEFAULT);
    let walk = |sweep: &mut Sweep<Addr6, _, _>| {
        let mut tally = Tally::default();
        while sweep.step(&mut tally).unwrap() {}
        (tally.entries[&Stage::New], tally.removed)
    };
    let over = (0..MANY).filter(|port| port.is_multiple_of(3)).count();
    assert_eq!(walk(&mut sweep), (usize::from(MANY), over as u64));
    assert_eq!(walk(&mut sweep), (usize::from(MANY) - over, 0));
    let left: BTreeMap<_, _> = map.iter().map(Result::unwrap).collect();
    let expected = (0..MANY).filter(|port| !port.is_multiple_of(3)).map(entry);
    assert_eq!(left, expected.collect());
}

#[test]
fn a_flow_is_taken_as_it_is_and_put_back_only_where_nothing_is() {
    if !can_create_maps() {
        return;
    }
    let pins = Pins::new();
    pin_twins::<Addr4>(&pins);
    let mut table = KernelFlows::<Addr4>::from_pins(pins.0.path()).unwrap();
    let key = FlowKey {
        src: Addr4::from_octets([1; 4]),
        dst: Addr4::from_octets([2; 4]),
        src_port: Port::from_host(1),
        dst_port: Port::from_host(2),
        protocol: protocol::UDP,
        hook: Hook::Ingress as u8,
        pad: [0; 2],
    };
    let (old, new) = (flow_to(&key, Ticks(1)), flow_to(&key, Ticks(2)));
    assert_eq!((table.get(&key).unwrap(), table.take(&key).unwrap()), (None, None));
    assert!(table.put_if_absent(&key, &old).unwrap());
    assert!(!table.put_if_absent(&key, &new).unwrap());
    assert_eq!(table.take(&key).unwrap(), Some(old));
    assert_eq!((table.get(&key).unwrap(), table.next_entries().unwrap()), (None, Some(vec![])));
}
