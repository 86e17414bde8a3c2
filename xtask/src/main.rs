//! The one door for people: `cargo xtask <command>`.
//!
//! One module a command. Every command makes sure of what it needs by itself ([`setup`]), so
//! `cargo xtask test` on a fresh machine is enough. Nothing here is shipped.

mod bench;
mod build;
mod demo;
mod fuzz;
mod image;
mod lint;
mod manifests;
mod miri;
mod needs;
mod progress;
mod setup;
mod test;
#[cfg(test)]
mod tidy;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::progress::Progress;
use crate::workspace::Workspace;

/// Everything one does with this repository.
///
/// Start with `cargo xtask test`: it installs what is missing, builds the kernel programs and the
/// agent, and runs every layer of tests. The agent alone: `cargo xtask build --release`, then
/// `target/release/waggle --help`.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    /// Show the output of every step, not only of those that fail.
    #[arg(short, long, global = true)]
    verbose: bool,

    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Setup(setup::Args),
    Build(build::Args),
    Test(test::Args),
    Lint(lint::Args),
    Demo(demo::Args),
    Bench(bench::Args),
    Fuzz(fuzz::Args),
    Miri(miri::Args),
    Image(image::Args),
    Manifests(manifests::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command, Progress::new(cli.verbose)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task, progress: Progress) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    match task {
        Task::Setup(args) => setup::run(&args, &workspace, progress)?,
        Task::Build(args) => build::run(args, &workspace, progress)?,
        Task::Test(args) => return test::run(&args, &workspace, progress),
        Task::Lint(args) => lint::run(&args, &workspace, progress)?,
        Task::Demo(args) => demo::run(&args, &workspace, progress)?,
        Task::Bench(args) => bench::run(&args, &workspace, progress)?,
        Task::Fuzz(args) => fuzz::run(&args, &workspace, progress)?,
        Task::Miri(args) => miri::run(&args, &workspace, progress)?,
        Task::Image(args) => image::run(&args, &workspace, progress)?,
        Task::Manifests(args) => manifests::run(&args, &workspace, progress)?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
