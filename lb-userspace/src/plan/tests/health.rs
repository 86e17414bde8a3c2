//! Health check node ports: which there are, where, and what they tell.

use super::planner::{put_node, settled};
use crate::model::fixture::{name, service, slice};
use crate::model::{Outcome, Service};
use crate::plan::{HealthChecks, NodePortAddresses, Planner, Settings};
use crate::store::{Event, Update};

fn checked(name: &str, port: Option<u16>) -> Event {
    let service = Service { health_check_node_port: port, ..service(name, "10.96.0.1") };
    Event::Services(Update::Apply(service.name.clone(), Outcome::Usable(service, vec![])))
}

fn endpoints(text: &str) -> Event {
    let slice = slice("d/s", "d/a", text);
    Event::Slices(Update::Apply(slice.name.clone(), Outcome::Usable(slice, vec![])))
}

/// What the planner tells after `event`, as `service port endpoints`; nothing if that is no news.
fn after(planner: &mut Planner, event: Event) -> Option<String> {
    planner.apply(event);
    planner.changes();
    planner.take_health_checks().map(|checks| text(&checks))
}

fn text(checks: &HealthChecks) -> String {
    let line = |(name, check): (&_, &crate::plan::HealthCheck)| {
        format!("{name} {} {}", check.port, check.local_endpoints)
    };
    checks.services.iter().map(line).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_check_comes_with_its_service_follows_its_endpoints_and_goes_with_it() {
    let mut planner = super::planner::planner();
    planner.changes();
    planner.take_health_checks();
    for (event, expected) in [
        (checked("d/a", None), None),
        (checked("d/a", Some(30_001)), Some("d/a 30001 0")),
        (checked("d/a", Some(30_001)), None),
        (endpoints(".1 L r; .2 L r; .3 R r"), Some("d/a 30001 2")),
        (endpoints(".1 L r; .2 L st; .3 R r"), Some("d/a 30001 1")),
        (endpoints(".1 L r; .3 R r; .4 R r"), None),
        (checked("d/b", Some(30_002)), Some("d/a 30001 1, d/b 30002 0")),
        (checked("d/a", Some(30_003)), Some("d/a 30003 1, d/b 30002 0")),
        (checked("d/b", None), Some("d/a 30003 1")),
        (Event::Services(Update::Delete(name("d/a"))), Some("")),
    ] {
        assert_eq!(after(&mut planner, event.clone()).as_deref(), expected, "{event:?}");
    }
}

#[test]
fn checks_answer_where_node_ports_do() {
    for (setting, expected) in
        [(NodePortAddresses::Primary, "192.168.0.2"), (NodePortAddresses::All, "::")]
    {
        let settings = Settings { node_ports: setting, ..Settings::default() };
        let mut planner = settled(settings).into_planner();
        planner.apply(put_node("", "192.168.0.2"));
        planner.changes();
        let checks = planner.take_health_checks().unwrap();
        let addresses: Vec<_> = checks.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, [expected]);
    }
}
