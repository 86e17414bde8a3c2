//! `test`: the layers of tests, one after the other, and what came of them.

mod tally;

use std::io::{BufRead as _, BufReader, Write, stdout};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::builder::PossibleValuesParser;

use self::tally::Tally;
use crate::needs::{Group, is_root};
use crate::progress::Progress;
use crate::workspace::Workspace;
use crate::{build, setup};

/// Run the tests: all layers, or those that are named.
///
/// unit:     decisions, plan, checksums, command line; nothing needed.
/// deploy:   the manifests against the types of the API; nothing needed.
/// control:  Kubernetes objects in, text of all maps out, over maps that fail at times.
/// verifier: every kernel program loads with every setting (root).
/// oracle:   random clusters, natively and in the kernel, against a model of kube-proxy (root).
/// datapath: packet in, verdict and packet out, in the kernel and natively (root).
/// truth:    every row of kube-proxy's tables, from objects to packets, twice (root).
/// network:  namespaces as nodes, pods and clients, real agents (root).
/// api:      the agent against an API server of the lab (root).
///
/// The last line is `N passed, M failed`, over all layers. A layer in which no test ran has failed.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Only tests whose name contains this.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,

    /// Ten times as many random clusters in the layer oracle, and others than ever.
    #[arg(long)]
    soak: bool,

    /// In the layer network, kill, upgrade and cut off agents for minutes instead of seconds.
    #[arg(long)]
    chaos: bool,

    /// The layers, in any order [default: all].
    #[arg(value_name = "LAYER", value_parser = PossibleValuesParser::new(LAYERS.map(|l| l.name)))]
    layers: Vec<String>,

    /// Arguments for the test binaries, such as `-- --nocapture`.
    #[arg(last = true, value_name = "ARG")]
    passed_on: Vec<String>,
}

/// One kind of test.
struct Layer {
    name: &'static str,
    needs_root: bool,
    /// What `cargo test` is to run. No package is named: all layers then share one build.
    targets: &'static [&'static str],
}

/// Weakest first: what fails early explains what fails later.
const LAYERS: [Layer; 9] = [
    Layer {
        name: "unit",
        needs_root: false,
        targets: &["--lib", "--bins", "--example", "bench-connections"],
    },
    Layer { name: "deploy", needs_root: false, targets: &["--test", "deploy"] },
    Layer { name: "control", needs_root: false, targets: &["--test", "control"] },
    Layer { name: "verifier", needs_root: true, targets: &["--test", "verifier"] },
    Layer { name: "datapath", needs_root: true, targets: &["--test", "datapath"] },
    Layer { name: "truth", needs_root: true, targets: &["--test", "truth"] },
    Layer { name: "oracle", needs_root: true, targets: &["--test", "oracle"] },
    Layer { name: "network", needs_root: true, targets: &["--test", "network"] },
    Layer { name: "api", needs_root: true, targets: &["--test", "api"] },
];

/// What came of a layer.
struct Outcome {
    layer: &'static str,
    tally: Tally,
    time: Duration,
}

/// Runs the command.
pub(crate) fn run(args: &Args, workspace: &Workspace, progress: Progress) -> Result<ExitCode> {
    let layers = chosen(&args.layers);
    may_run(&layers, is_root())?;
    setup::need(&[Group::Build, Group::Test], progress)?;
    let agent = build::build(build::Args::default(), workspace, progress)?;
    let mut outcomes = Vec::new();
    for layer in layers {
        outcomes.push(run_layer(layer, args, workspace, &agent)?);
    }
    let total = report(&outcomes);
    Ok(if total.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn chosen(names: &[String]) -> Vec<&'static Layer> {
    let is_chosen = |layer: &&Layer| names.is_empty() || names.iter().any(|n| n == layer.name);
    LAYERS.iter().filter(is_chosen).collect()
}

/// A test that cannot run is not skipped: it would look as if it had passed.
fn may_run(layers: &[&Layer], is_root: bool) -> Result<()> {
    let names: Vec<_> = layers.iter().filter(|l| l.needs_root).map(|l| l.name).collect();
    if is_root || names.is_empty() {
        return Ok(());
    }
    bail!(
        "root is needed for {}, to load kernel programs and make namespaces; run as root, or name \
         the other layers: cargo xtask test unit control",
        names.join(", ")
    );
}

fn run_layer(
    layer: &'static Layer,
    args: &Args,
    workspace: &Workspace,
    agent: &Path,
) -> Result<Outcome> {
    eprintln!("\n── {} ──", layer.name);
    let started = Instant::now();
    let (mut tally, succeeded) =
        run_tests(test_command(layer, args, workspace, agent), &mut stdout())?;
    if !succeeded && tally.failed == 0 {
        eprintln!("{}: did not run to its end", layer.name);
        tally.failed = 1;
    }
    if tally.is_empty() && args.filter.is_none() {
        eprintln!("{}: no test ran", layer.name);
        tally.failed = 1;
    }
    Ok(Outcome { layer: layer.name, tally, time: started.elapsed() })
}

fn test_command(layer: &Layer, args: &Args, workspace: &Workspace, agent: &Path) -> Command {
    let mut command = workspace.cargo("test");
    command.arg("--no-fail-fast").args(layer.targets).args(&args.filter);
    command.arg("--").args(&args.passed_on).env("WAGGLE_BIN", agent);
    if args.soak {
        command.env("WAGGLE_SOAK", "1");
    }
    if args.chaos {
        command.env("WAGGLE_CHAOS", "full");
    }
    command
}

/// Runs `command`, passes on what it prints to `shown` and counts the tests in it.
fn run_tests(mut command: Command, shown: &mut impl Write) -> Result<(Tally, bool)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().context("start cargo test")?;
    let printed = child.stdout.take().context("read from cargo test")?;
    let mut tally = Tally::default();
    for line in BufReader::new(printed).split(b'\n') {
        let line = line.context("read from cargo test")?;
        shown.write_all(&[&line[..], b"\n"].concat()).context("show the tests' output")?;
        tally += Tally::of_line(&String::from_utf8_lossy(&line));
    }
    Ok((tally, child.wait()?.success()))
}

/// Prints the closing table and the closing line.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
fn report(outcomes: &[Outcome]) -> Tally {
    println!("\n{:<10}{:>8}{:>8}{:>10}", "layer", "passed", "failed", "time");
    let mut total = Tally::default();
    for Outcome { layer, tally, time } in outcomes {
        let seconds = time.as_secs_f32();
        println!("{layer:<10}{:>8}{:>8}{seconds:>8.1} s", tally.passed, tally.failed);
        total += *tally;
    }
    total.failed += u32::from(total.is_empty()); // a filter that fits no test proves nothing
    println!("\n{} passed, {} failed", total.passed, total.failed);
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn no_name_means_all_layers_and_names_keep_the_order_of_the_table() {
        let names = |chosen: Vec<&Layer>| chosen.iter().map(|l| l.name).collect::<Vec<_>>();
        let all = [
            "unit", "deploy", "control", "verifier", "datapath", "truth", "oracle", "network",
            "api",
        ];
        assert_eq!(names(chosen(&[])), all);
        assert_eq!(names(chosen(&["api".into(), "unit".into()])), ["unit", "api"]);
    }

    #[test]
    fn layers_that_need_root_are_refused_without_it_and_named() {
        let error = may_run(&chosen(&[]), false).unwrap_err().to_string();
        assert!(
            error
                .starts_with("root is needed for verifier, datapath, truth, oracle, network, api,"),
            "{error}"
        );
        may_run(&chosen(&["unit".into(), "control".into()]), false).unwrap();
        may_run(&chosen(&[]), true).unwrap();
    }

    #[test]
    fn results_of_all_test_binaries_of_a_layer_are_added() {
        let script = "echo 'test result: ok. 2 passed; 0 failed; 0 ignored;'
            echo 'test result: FAILED. 1 passed; 3 failed; 0 ignored;'
            exit 101";
        let mut shown = Vec::new();
        let (tally, succeeded) = run_tests(shell(script), &mut shown).unwrap();
        assert_eq!((tally.passed, tally.failed, succeeded), (3, 3, false));
        assert!(shown.ends_with(b"3 failed; 0 ignored;\n"));
    }

    #[test]
    fn a_run_without_a_test_fails() {
        assert!(!report(&[]).is_success());
    }
}
