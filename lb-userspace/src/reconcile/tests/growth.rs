//! Room is made before it is needed.

use super::*;
use crate::maps::Snapshot;
use crate::maps::growth;
use crate::maps::sketch::Sketch;

/// Room for one service.
const TINY: Capacities = Capacities {
    frontends: 1,
    services: 2,
    slots: 1,
    backends: 2,
    flows: 1,
    clients: 1,
    source_ranges: 1,
    sockets: 1,
};
const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

fn tiny() -> Reconciler<Sketch> {
    reconciler(Sketch::new(TINY, Snapshot::default()))
}

/// A pass of an agent whose maps may grow up to `limits`.
fn pass(reconciler: &mut Reconciler<Sketch>, limits: &Capacities) -> Option<Duration> {
    let (demand, now) = (reconciler.demand().unwrap(), reconciler.maps.capacities());
    if let Some(larger) = growth::wanted(&demand, &now, limits) {
        let content = reconciler.maps.snapshot().unwrap();
        reconciler.replace_maps(Sketch::new(larger, content));
    }
    reconciler.pass(Duration::ZERO)
}

#[test]
fn maps_grow_before_they_are_full_and_ids_stay() {
    let mut reconciler = tiny();
    assert_eq!(reconciler.demand(), None, "nobody has told it anything");
    let mut before = Snapshot::default();
    for count in 1..=NAMES.len() {
        list(&mut reconciler, &NAMES[..count]);
        assert_eq!(pass(&mut reconciler, &Capacities::default()), None);
        let after = reconciler.maps.snapshot().unwrap();
        assert_eq!(after.frontends.len(), count);
        assert!(before.services.keys().all(|id| after.services.contains_key(id)));
        assert!(before.backends.iter().all(|(id, entry)| after.backends[id] == *entry));
        before = after;
    }
    assert!(reconciler.take_told().is_empty());
    let Capacities { services, slots, frontends, backends, .. } = reconciler.maps.capacities();
    assert_eq!([services, slots, frontends, backends], [32, 16, 16, 32]);
}

#[test]
fn what_is_asked_for_is_what_is_in_use_afterwards() {
    let mut reconciler = tiny();
    list(&mut reconciler, &NAMES);
    let demand = reconciler.demand().unwrap();
    pass(&mut reconciler, &Capacities::default());
    let used = |name| {
        let usage = reconciler.figures().usage;
        let found = usage.maps.iter().find(|it| it.map == name).unwrap();
        u32::try_from(found.entries).unwrap()
    };
    assert_eq!(demand.services, used("SERVICES") + 1);
    assert_eq!(demand.slots, used("SLOTS"));
    assert_eq!(demand.frontends, used("FRONTENDS_V4"));
    assert_eq!(demand.backends, used("BACKENDS_V4") + 1);
    let demand = reconciler.demand().unwrap();
    assert_eq!((demand.services, demand.slots), (13, 12), "nothing waits");
}

#[test]
fn beyond_the_limits_a_service_is_refused_and_told() {
    let limits = Capacities { services: 4, ..Capacities::default() };
    let mut reconciler = tiny();
    list(&mut reconciler, &NAMES[..5]);
    assert!(pass(&mut reconciler, &limits).is_some());
    assert_eq!(frontends(&reconciler.maps).len(), 3);
    assert_eq!(reconciler.take_told().len(), 2);
    assert_eq!(pass(&mut reconciler, &Capacities::default()), None);
    assert_eq!(frontends(&reconciler.maps).len(), 5);
}
