//! What came of every row, as one table: `target/truth-table.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;

/// A row of the table.
pub(crate) struct Line {
    pub(crate) section: u32,
    pub(crate) row: u32,
    pub(crate) what: String,
    pub(crate) expected: String,
    pub(crate) native: String,
    pub(crate) kernel: String,
    /// What the executions did differently, even if not in a packet's fate.
    pub(crate) difference: Option<String>,
}

impl Line {
    fn is_met(&self) -> bool {
        let same = self.native == self.expected && self.kernel == self.expected;
        same && self.difference.is_none()
    }

    fn problem(&self) -> String {
        let Self { section, row, what, expected, native, kernel, difference } = self;
        let difference = difference.iter().map(|it| format!("\n  they differ in {it}"));
        format!(
            "§10.{section} row {row}: {what}\n  expected  {expected}\n  natively  {native}\n  \
             in kernel {kernel}{}",
            difference.collect::<String>()
        )
    }
}

/// The sections that have ended. The file is written anew with each, by whoever holds the lock.
static SECTIONS: Mutex<BTreeMap<u32, String>> = Mutex::new(BTreeMap::new());

/// Adds a section and returns what is wrong with it.
pub(crate) fn add(lines: &[Line]) -> Vec<String> {
    let section = lines[0].section;
    let text: String = lines.iter().map(line).collect();
    eprintln!("\n{text}");
    let mut sections = SECTIONS.lock().expect("nobody panics while holding it");
    sections.insert(section, text);
    // Beside the folder for temporary files, which Cargo puts right into its target folder.
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("truth-table.md");
    let table = HEAD.to_owned() + &sections.values().cloned().collect::<String>();
    std::fs::write(&path, table).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    lines.iter().filter(|line| !line.is_met()).map(Line::problem).collect()
}

const HEAD: &str = "\
Rows of kube-proxy-behaviour §10, as the last run of `cargo xtask test truth` found them.
`masq`: the endpoint sees an address of the node. `none`: the packet goes on as it came.
A row with several cells has several lines.

| section | row | what | expected | natively | in the kernel | met |
|---|---|---|---|---|---|---|
";

fn line(line: &Line) -> String {
    let met = if line.is_met() { "yes" } else { "**no**" };
    let Line { section, row, what, expected, native, kernel, .. } = line;
    let mut text = String::new();
    writeln!(text, "| §10.{section} | {row} | {what} | {expected} | {native} | {kernel} | {met} |")
        .expect("a string takes everything");
    text
}
