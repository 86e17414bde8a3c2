//! Who holds a backend, as the agent finds it out, and what becomes of those who are gone.

use lb_common::abi::socket::{Role, halves};

use super::*;
use crate::datapath;
use crate::datapath::load::{Datapath, Globals};

/// A map with 1000 sockets, three entries each: those with an even cookie are connected.
fn filled(object: &datapath::pins::Pins) -> KernelSockets<Addr4> {
    let capacities = Capacities { sockets: 16_384, ..SMALL };
    Datapath::load(object, &capacities, Globals::default()).unwrap();
    let data = MapData::from_pin(object.map(map::SOCKETS_V4)).unwrap();
    let map = Map::from_map_data(data).unwrap();
    let mut map = HashMap::<_, SocketKey<Addr4>, Socket<Addr4>>::try_from(map).unwrap();
    for cookie in 1..=1000_u64 {
        let (backend, netns) = (u32::try_from(cookie % 4).unwrap(), halves(cookie << 32));
        let socket = Socket { backend, generation: 1, netns, ..Socket::default() };
        let role = if cookie.is_multiple_of(2) { Role::Peer } else { Role::Asked };
        for role in [role, Role::Answers, Role::Last] {
            map.insert(SocketKey::of(cookie, role), socket, 0).unwrap();
        }
    }
    KernelSockets::from_pins(&object.maps()).unwrap()
}

#[test]
fn the_sockets_that_hold_a_backend_are_found() {
    if !can_create_maps() {
        return;
    }
    let pins = Pins::new();
    let mut table = filled(&datapath::pins::Pins::new(pins.0.path()));
    for backend in [2, 3] {
        let mut holders = table.holders(|it, _| it.backend == backend).unwrap();
        holders.sort_by_key(|holder| holder.cookie);
        assert_eq!(holders.len(), 250);
        assert!(holders.iter().all(|it| it.is_connected == (backend == 2)));
        let expected = (0..250).map(|n| 4 * n + u64::from(backend));
        assert!(holders.iter().map(|it| it.cookie).eq(expected));
        assert!(holders.iter().all(|it| it.netns == it.cookie << 32));
    }
}

#[test]
fn all_entries_of_a_socket_are_forgotten_and_no_others() {
    if !can_create_maps() {
        return;
    }
    let pins = Pins::new();
    let mut table = filled(&datapath::pins::Pins::new(pins.0.path()));
    let gone = (1..=1000).filter(|cookie| cookie % 10 == 7).collect();
    assert_eq!(table.forget(&gone).unwrap(), 300);
    assert_eq!(table.forget(&gone).unwrap(), 0);
    let mut left = Vec::new();
    table.each(|cookie, netns| left.push((cookie, netns))).unwrap();
    assert_eq!(left.len(), 2700);
    assert!(left.iter().all(|(cookie, netns)| !gone.contains(cookie) && *netns == cookie << 32));
}
