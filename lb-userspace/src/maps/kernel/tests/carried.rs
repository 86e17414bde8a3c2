//! What services have carried.

use super::*;
use crate::maps::dump::CarriedRow;

fn row(id: ServiceId, packets: u64) -> CarriedRow {
    CarriedRow::new(id, &Carried { packets, bytes: 60 * packets, ..Carried::default() })
}

#[test]
fn what_is_carried_adds_up_until_an_id_has_another_user() {
    if !can_create_maps() {
        return;
    }
    let mut maps = kernel_maps();
    let name = |id, name: &str| Write::PutServiceName(id, name.to_owned(), Family::V4);
    for write in [name(1, "shop/web:http/TCP"), name(2, "shop/api:http/TCP")] {
        maps.apply(&write).unwrap();
    }
    let more = Carried { packets: 2, bytes: 120, ..Carried::default() };
    for id in [1, 2, 2, u32::MAX] {
        maps.sums.add(id, &more);
    }
    assert_eq!(maps.carried(), [row(1, 2), row(2, 4)]);

    maps.apply(&name(2, "shop/api:http/TCP")).unwrap();
    assert_eq!(maps.carried(), [row(1, 2), row(2, 4)], "the same user");
    maps.apply(&Write::DeleteServiceName(2)).unwrap();
    maps.sums.add(2, &more);
    assert_eq!(maps.carried(), [row(1, 2), row(2, 6)], "its last flows may still end");
    maps.apply(&name(2, "shop/new:http/TCP")).unwrap();
    assert_eq!(maps.carried(), [row(1, 2)]);
}
