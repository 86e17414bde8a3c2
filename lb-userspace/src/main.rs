//! The `waggle` command.

use std::process::ExitCode;

use lb_userspace::cli::Cli;

fn main() -> ExitCode {
    match Cli::read().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("waggle: {error:#}");
            ExitCode::FAILURE
        }
    }
}
