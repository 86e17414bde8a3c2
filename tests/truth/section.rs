//! One section of §10: a world, its rows, and what came of them.

use std::collections::BTreeSet;

use lb_common::abi::settings::masquerade::{ALL, LOCAL_BACKENDS};
use lb_tests::truth::{Fates, Probe, World};
use lb_userspace::plan::Settings;
use serde_json::Value;

use crate::fixture::{ADDRESSES, cluster, settings};
use crate::table::{self, Line};

/// A row, or a cell of a row with several: what is asked, and what must come of it.
pub(crate) struct Row {
    /// The row of the table, from 1 on. Rows that the tables do not have come after theirs.
    number: u32,
    what: String,
    probe: Probe,
    expected: Fates,
}

/// Row `number`: `from` dials `to` by TCP.
pub(crate) fn row(number: u32, what: &str, (from, to): (&str, &str), expected: Fates) -> Row {
    Row { number, what: what.to_owned(), probe: Probe::new(from, to), expected }
}

impl Row {
    /// The same row by another protocol.
    pub(crate) fn by(mut self, protocol: lb_tests::objects::Protocol) -> Self {
        self.probe = self.probe.by(protocol);
        self
    }
}

/// A section on its way through its rows.
pub(crate) struct Section {
    number: u32,
    rows: u32,
    world: World,
    lines: Vec<Line>,
}

impl Section {
    /// §10.`number`, which has `rows` rows, with the settings of §10.
    pub(crate) fn new(number: u32, rows: u32) -> Self {
        let world = World::new(&ADDRESSES, LOCAL_BACKENDS);
        let mut section = Self { number, rows, world, lines: Vec::new() };
        section.settings(&settings());
        section
    }

    /// Other programs, with `--masquerade-all` too.
    pub(crate) fn masquerade_all(&mut self) {
        self.world = World::new(&ADDRESSES, LOCAL_BACKENDS | ALL);
    }

    /// Other agents, with these settings.
    pub(crate) fn settings(&mut self, settings: &Settings) {
        self.world.restart(settings);
    }

    /// From now on the cluster has these objects besides [`cluster`]'s.
    pub(crate) fn objects(&mut self, objects: &[Value]) {
        self.world.show(&[&cluster()[..], objects].concat());
    }

    /// Asks what the rows ask.
    pub(crate) fn rows(&mut self, rows: impl IntoIterator<Item = Row>) {
        for Row { number, what, probe, expected } in rows {
            let seen = self.world.probe(probe);
            self.lines.push(Line {
                section: self.number,
                row: number,
                what,
                expected: expected.to_string(),
                native: seen.native.to_string(),
                kernel: seen.kernel.to_string(),
                difference: seen.difference,
            });
        }
    }

    /// A row about the control plane alone; `seen` is what memory and the kernel's maps say.
    pub(crate) fn fact(&mut self, row: u32, what: &str, expected: &str, seen: [String; 2]) {
        let [native, kernel] = seen;
        let (what, expected) = (what.to_owned(), expected.to_owned());
        let section = self.number;
        self.lines.push(Line { section, row, what, expected, native, kernel, difference: None });
    }

    /// How many ports of Services both agents have written.
    pub(crate) fn entries(&self) -> [usize; 2] {
        self.world.written().map(|snapshot| snapshot.services.len())
    }

    /// Puts the section into the table.
    ///
    /// # Panics
    /// If a row was left out or is not met.
    #[track_caller]
    pub(crate) fn end(self) {
        let Self { number, rows, lines, .. } = self;
        let asked: BTreeSet<_> = lines.iter().map(|line| line.row).collect();
        let problems = table::add(&lines);
        assert!(asked.into_iter().eq(1..=rows), "§10.{number} has {rows} rows, each is asked");
        let list = problems.join("\n\n");
        assert!(problems.is_empty(), "{} of §10.{number} are not met:\n\n{list}\n", problems.len());
    }
}
