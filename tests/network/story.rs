//! A cluster as people use one: names, nodes, the outside, an ingress, pods that come and go.

use lb_tests::story::{STEPS, World};

#[test]
fn a_service_is_found_by_everybody_while_its_pods_come_and_go() {
    let mut world = World::new();
    for step in STEPS {
        let rows = (step.play)(&mut world);
        let faults: Vec<_> = rows.into_iter().filter_map(|row| row.fault).collect();
        assert_eq!(faults, [""; 0], "{}", step.title);
    }
}
