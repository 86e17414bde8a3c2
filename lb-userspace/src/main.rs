//! The `waggle` command.

use std::process::ExitCode;

use clap::Parser as _;
use lb_userspace::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("waggle: {error:#}");
            ExitCode::FAILURE
        }
    }
}
