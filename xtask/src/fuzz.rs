//! `fuzz`: random packets against the datapath, led by coverage; never part of the tests, for it has no
//! end.
//!
//! No sanitizer: what is fuzzed has no unsafe code, is checked for overflow, and runs twice as often
//! without. So the pinned compiler will do.

use anyhow::Result;
use clap::builder::PossibleValuesParser;

use crate::needs::Group;
use crate::progress::{Progress, stream};
use crate::setup;
use crate::workspace::Workspace;

/// The fuzz targets.
const TARGETS: [&str; 2] = ["packet", "sequence"];

/// Look for packets that the datapath treats wrongly.
///
/// packet:   any bytes as a packet, behind flows that live or are over.
/// sequence: few clients that dial, close and dial again, while endpoints come and go.
///
/// What fails is written to fuzz/artifacts: put it into fuzz/corpus with the repair, where every
/// `cargo test --manifest-path fuzz/Cargo.toml` replays it. What only covers more is kept in
/// target/fuzz and used the next time.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// How long, for each target.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    minutes: u32,

    /// What to fuzz [default: all].
    #[arg(value_name = "TARGET", value_parser = PossibleValuesParser::new(TARGETS))]
    targets: Vec<String>,

    /// Arguments of the engine, such as `-- -jobs=4`.
    #[arg(last = true, value_name = "ARG")]
    passed_on: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(args: &Args, workspace: &Workspace, progress: Progress) -> Result<()> {
    setup::need(&[Group::Fuzz], progress)?;
    let all: Vec<_> = TARGETS.map(str::to_owned).to_vec();
    let targets = if args.targets.is_empty() { &all } else { &args.targets };
    targets.iter().try_for_each(|target| fuzz(target, args, workspace))
}

fn fuzz(target: &str, args: &Args, workspace: &Workspace) -> Result<()> {
    let found = workspace.target.join("fuzz").join(target);
    std::fs::create_dir_all(&found)?;
    let mut command = workspace.cargo("fuzz");
    command.args(["run", "--sanitizer", "none", "--features", "engine", target]);
    // The engine adds to the first folder.
    command.arg(found).arg(workspace.root.join("fuzz/corpus").join(target)).arg("--");
    command.arg(format!("-max_total_time={}", 60 * args.minutes));
    command.arg(format!("-dict={}", workspace.root.join("fuzz/packet.dict").display()));
    command.args(["-max_len=600", "-print_final_stats=1"]).args(&args.passed_on);
    stream(command)
}
