//! `--story`: the story that the tests assert, step by step on the screen.

use comfy_table::{Table, presets};
use lb_tests::story::{Row, STEPS, World};

use crate::screen::{self, Screen};

/// Plays and shows every step; panics at the first that has a fault.
pub(crate) fn show(screen: Screen) {
    screen.section("Waggle in a small cluster: names, nodes, the outside, an ingress");
    println!(
        "Two nodes with agents, a DNS server and a web server in pods, nginx as an ingress, a client\n\
         outside: all of them network namespaces of this machine. The Services are deploy/story/*.yaml;\n\
         curl asks, and finds names as a container does."
    );
    let mut world = screen::wait("build the cluster, start the agents", World::new);
    for (number, step) in (1..).zip(STEPS) {
        screen.headline(&format!("{number}. {}", step.title));
        let rows = screen::wait("ask", || (step.play)(&mut world));
        println!("{}\n{}", table(&rows), step.text);
        let faults: Vec<_> = rows.into_iter().filter_map(|row| row.fault).collect();
        assert!(faults.is_empty(), "{}", faults.join("; "));
    }
    screen.section("All of it held");
    println!(
        "Namespaces, programs and maps are gone again.\n\n\
         Next: cargo xtask test network --filter story     the same, as a test"
    );
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["WHO", "ASKS FOR", "DIALS", "ANSWER", ""]);
    table.add_rows(rows.iter().map(|row| {
        [&row.who, &row.asks, &row.reaches, &row.answer, &row.detail].map(String::as_str)
    }));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}
