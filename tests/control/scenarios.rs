//! Scenarios: Kubernetes objects in as YAML, text of all maps out (`scenarios/file.rs` says how).
//!
//! Each file of `scenarios/` runs exactly; over maps of which one in so many writes fails, tried
//! again until it converges; with a restart before the changes that lead to an `Expect`; and with
//! these changes made while the agent is down. All but the first are compared without ids.
//!
//! With `UPDATE_EXPECT=1` every `Expect` is rewritten to what came out; the test still fails and
//! says what has changed.

pub(crate) mod file;
pub(crate) mod objects;

use std::fs;
use std::path::PathBuf;

use lb_userspace::maps::dump::Ids;
use lb_userspace::maps::fake::{Fake, Flaky};

use file::{Scenario, Stage};
use objects::{Objects, restart, start};

/// Of so many writes one fails: rarely, and so often that the shortest scenario meets several.
const FAULTS: [usize; 3] = [10, 3, 2];

#[test]
fn objects_become_maps_whatever_fails_and_restarts() {
    let mut problems = Vec::new();
    for path in files() {
        // The maps panic, without knowing of files, as soon as something dangles.
        eprintln!("{}", path.display());
        let mut scenario = Scenario::read(path);
        let new = run(&mut scenario.stages);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            scenario.write();
        }
        problems
            .extend(new.iter().map(|problem| format!("{}: {problem}", scenario.path.display())));
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

pub(crate) fn files() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("control/scenarios");
    let entries = fs::read_dir(&folder).expect("read the folder of scenarios");
    let paths = entries.map(|entry| entry.expect("read the folder of scenarios").path());
    let mut files: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|it| it == "yaml")).collect();
    files.sort();
    assert!(!files.is_empty(), "no scenarios in {}", folder.display());
    files
}

/// Plays all stages; what came out takes the place of what was expected.
fn run(stages: &mut [Stage]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut objects = Objects::default();
    let mut exact = start(Fake::default(), &objects);
    let mut flaky = FAULTS.map(|every| start(Flaky::new(Fake::default(), every), &objects));
    let [mut restarted, mut away] = [(); 2].map(|()| start(Fake::default(), &objects));
    for (number, Stage { changes, expect, .. }) in (1..).zip(stages) {
        let mut compare = |what: &str, expected: &str, actual: &str| {
            if expected != actual {
                let difference = difference(expected, actual);
                problems.push(format!("Expect {number}, {what}:\n{difference}"));
            }
        };
        let before = objects.clone();
        objects.take(changes);

        exact.tell(changes);
        let rejections = exact.rejections();
        compare("rejections", &expect.rejections.join("\n"), &rejections.join("\n"));
        exact.settle();
        let (maps, masked) = (exact.dump(Ids::Shown), exact.dump(Ids::Masked));
        compare("maps", &expect.maps, &maps);

        for (agent, every) in flaky.iter_mut().zip(FAULTS) {
            agent.tell(changes);
            agent.settle();
            let what = format!("one in {every} writes failed");
            compare(&what, &masked, &agent.dump(Ids::Masked));
        }

        restart(&mut restarted, &before);
        restarted.settle();
        restarted.tell(changes);
        restarted.settle();
        compare("restarted before", &masked, &restarted.dump(Ids::Masked));

        restart(&mut away, if expect.witnessed { &before } else { &objects });
        away.tell(changes);
        away.settle();
        compare("changed while down", &masked, &away.dump(Ids::Masked));

        (expect.maps, expect.rejections) = (maps, rejections);
    }
    problems
}

/// The lines that are missing (`-`), then all that are there, the unexpected ones marked (`+`).
fn difference(expected: &str, actual: &str) -> String {
    let (expected, actual): (Vec<_>, Vec<_>) =
        (expected.lines().collect(), actual.lines().collect());
    let missing = expected.iter().filter(|line| !actual.contains(line));
    let missing = missing.map(|line| format!("  - {line}\n"));
    let there = actual.iter().map(|line| {
        let mark = if expected.contains(line) { ' ' } else { '+' };
        format!("  {mark} {line}\n")
    });
    missing.chain(there).collect()
}
