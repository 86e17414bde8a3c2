//! §10.7: three Services, three clients, three destinations, with and without `--masquerade-all`
//! and a detector.

use lb_tests::objects::Service;
use lb_tests::truth::{Fates, masqueraded, reaches};
use lb_userspace::plan::{Detector, Settings};
use serde_json::Value;

use crate::fixture::{L, LB1, LB2, LB3, N, P, R, X, both, http, settings};
use crate::section::{Row, Section, row};

const COLUMNS: [&str; 4] = ["base", "no detector", "masqAll", "masqAll, no detector"];

/// Client → destination, Service, and a cell per column: the endpoints, and `m` for masqueraded.
type Line = (&'static str, u16, [&'static str; 4]);

const MATRIX: [Line; 27] = [
    ("pod → ClusterIP", 1, ["LR", "LR", "LR m", "LR m"]),
    ("pod → NodePort", 1, ["LR m"; 4]),
    ("pod → LB", 1, ["LR m"; 4]),
    ("node → ClusterIP", 1, ["LR m", "LR", "LR m", "LR m"]),
    ("node → NodePort", 1, ["LR m"; 4]),
    ("node → LB", 1, ["LR m"; 4]),
    ("external → ClusterIP", 1, ["LR m", "LR", "LR m", "LR m"]),
    ("external → NodePort", 1, ["LR m"; 4]),
    ("external → LB", 1, ["LR m"; 4]),
    ("pod → ClusterIP", 2, ["LR", "LR", "LR m", "LR m"]),
    ("pod → NodePort", 2, ["LR", "L", "LR", "L"]),
    ("pod → LB", 2, ["LR", "L", "LR", "L"]),
    ("node → ClusterIP", 2, ["LR m", "LR", "LR m", "LR m"]),
    ("node → NodePort", 2, ["LR m"; 4]),
    ("node → LB", 2, ["LR m"; 4]),
    ("external → ClusterIP", 2, ["LR m", "LR", "LR m", "LR m"]),
    ("external → NodePort", 2, ["L"; 4]),
    ("external → LB", 2, ["L"; 4]),
    ("pod → ClusterIP", 3, ["L", "L", "L m", "L m"]),
    ("pod → NodePort", 3, ["LR m"; 4]),
    ("pod → LB", 3, ["LR m"; 4]),
    ("node → ClusterIP", 3, ["L m", "L", "L m", "L m"]),
    ("node → NodePort", 3, ["LR m"; 4]),
    ("node → LB", 3, ["LR m"; 4]),
    ("external → ClusterIP", 3, ["L m", "L", "L m", "L m"]),
    ("external → NodePort", 3, ["LR m"; 4]),
    ("external → LB", 3, ["LR m"; 4]),
];

#[test]
fn section_10_7_matrix() {
    let mut section = Section::new(7, 27);
    for (column, name) in COLUMNS.into_iter().enumerate() {
        if name == "masqAll" {
            section.masquerade_all();
        }
        section.settings(&if name.ends_with("no detector") {
            without_detector()
        } else {
            settings()
        });
        section.objects(&objects());
        let rows = MATRIX.iter().zip(1..);
        section.rows(rows.map(|(line, number)| to_row(number, line, column, name)));
    }
    section.end();
}

fn without_detector() -> Settings {
    Settings { detector: Detector::None, ..settings() }
}

fn objects() -> Vec<Value> {
    let web = |number: u16, load_balancer: &str| -> Service {
        let web = http(&format!("svc{number}"), &format!("172.30.0.4{number}"));
        web.node_port(3000 + number).load_balancer_ip(load_balancer)
    };
    let svc2 = web(2, LB2).external_local().with("/spec/healthCheckNodePort", 32_000);
    let services = [web(1, LB1), svc2, web(3, LB3).internal_local()];
    let slices = ["svc1", "svc2", "svc3"].map(both);
    services.iter().map(Service::object).chain(slices).collect()
}

fn to_row(number: u32, (who, service, cells): &Line, column: usize, name: &str) -> Row {
    let (client, destination) = who.split_once(" → ").expect("client → destination");
    let client = match client {
        "pod" => P,
        "node" => N,
        _ => X,
    };
    let destination = match destination {
        "ClusterIP" => format!("172.30.0.4{service}:80"),
        "NodePort" => format!("{N}:{}", 3000 + service),
        _ => format!("{}:80", [LB1, LB2, LB3][usize::from(service - 1)]),
    };
    let what = format!("{who} svc{service}, {name}");
    row(number, &what, (client, &destination), to_fates(cells[column]))
}

fn to_fates(cell: &str) -> Fates {
    match cell {
        "LR" => reaches(&[L, R]),
        "LR m" => masqueraded(&[L, R]),
        "L" => reaches(&[L]),
        "L m" => masqueraded(&[L]),
        other => panic!("{other} is no cell"),
    }
}
