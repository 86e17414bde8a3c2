//! The agent's maps, as `bpftool` and `waggle` show them.

use std::fmt::Write as _;

use lb_common::abi::map;
use serde_json::Value;

use crate::screen::Screen;
use crate::world::World;

/// Shows the frontends twice: as the kernel has them and as an operator wants them.
pub(crate) fn show(screen: Screen, world: &World) {
    let name = map::FRONTENDS_V4;
    screen.headline(&format!("bpftool map dump pinned …/waggle/v1/maps/{name}"));
    print!("{}", entries(&world.bpftool_dump(name)));
    println!(
        "The first packet of each connection is looked up here: its destination's address, port (two\n\
         bytes: 117 128 is 30080) and protocol (6 is TCP) lead to a service. Flag 2 marks a NodePort."
    );
    screen.headline("waggle services");
    print!("{}", world.waggle("services"));
    println!("The same with names. FRONTENDS are what clients dial; of BACKENDS, so many serve.");
}

/// The entries of a map with named fields, one a line.
fn entries(dump: &str) -> String {
    let rows: Vec<Value> = serde_json::from_str(dump).expect("bpftool prints JSON");
    let mut lines = String::new();
    for row in &rows {
        let named = &row["formatted"];
        writeln!(lines, "  {} -> {}", named["key"], named["value"]).expect("write to a string");
    }
    lines
}
