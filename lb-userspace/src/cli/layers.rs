//! Where settings come from: what was typed, else the environment, else a file, else the default.
//!
//! What the lower layers say becomes flags behind those that were typed, one at a time and only
//! where a flag is not given yet. So there is one parser and one place that judges values, and a
//! fault names where it comes from.

mod file;
mod kube_proxy;
#[cfg(test)]
mod tests;

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory as _, Error, FromArgMatches as _};

use super::Cli;

/// A flag that a lower layer sets.
#[derive(Debug)]
struct Setting {
    /// What people call the place that says so.
    origin: String,
    /// The flag's long name.
    flag: String,
    value: OsString,
}

/// What is typed and how it is to be understood.
struct Line {
    command: Command,
    arguments: Vec<OsString>,
    matches: ArgMatches,
}

impl Cli {
    /// What this process was told to do. After a usage error it ends.
    #[must_use]
    pub fn read() -> Self {
        let read = read(env::args_os(), |name| env::var_os(name));
        read.unwrap_or_else(|error| error.exit())
    }
}

pub(super) fn command() -> Command {
    Cli::command().mut_subcommand("run", |run| kube_proxy::accept(run.mut_args(switch)))
}

/// What is switched on by a flag alone takes `=true` and `=false` as well, as Go's flags do.
fn switch(flag: Arg) -> Arg {
    if !matches!(flag.get_action(), ArgAction::SetTrue) {
        return flag;
    }
    let flag = flag.action(ArgAction::Set).value_name("BOOL").hide_possible_values(true);
    let flag = flag.num_args(0..=1).require_equals(true).default_missing_value("true");
    flag.default_value("false").hide_default_value(true)
}

pub(super) fn read(
    arguments: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Cli, Error> {
    let mut line = Line::new(arguments.into_iter().collect())?;
    for setting in of_environment(line.flags(), variable) {
        line.set(setting)?;
    }
    let mut ignored = kube_proxy::ignored(line.last_matches());
    if let Some(path) = line.config_file() {
        let contents = file::read(Path::new(&path), &line.flags())?;
        ignored.extend(contents.ignored);
        for setting in contents.settings {
            line.set(setting)?;
        }
    }
    let mut cli = Cli::from_arg_matches(&line.matches).map_err(|e| e.format(&mut line.command))?;
    cli.ignored = ignored;
    Ok(cli)
}

impl Line {
    fn new(arguments: Vec<OsString>) -> Result<Self, Error> {
        let mut command = command();
        let matches = command.try_get_matches_from_mut(&arguments)?;
        command.build();
        Ok(Self { command, arguments, matches })
    }

    /// Those of the command that was typed.
    fn flags(&self) -> Vec<Arg> {
        let name = self.matches.subcommand_name().unwrap_or_default();
        let command = self.command.find_subcommand(name);
        let flags = command.into_iter().flat_map(Command::get_arguments);
        flags.filter(|flag| is_setting(flag)).cloned().collect()
    }

    fn last_matches(&self) -> &ArgMatches {
        self.matches.subcommand().map_or(&self.matches, |(_, matches)| matches)
    }

    fn config_file(&self) -> Option<OsString> {
        let raw = self.last_matches().try_get_raw("config").ok()??;
        raw.into_iter().next_back().map(OsStr::to_owned)
    }

    /// Sets a flag that is not given yet.
    fn set(&mut self, setting: Setting) -> Result<(), Error> {
        let Setting { origin, flag, value } = setting;
        let id = self.flags().into_iter().find(|arg| is_called(arg, &flag));
        let given = id.and_then(|arg| self.last_matches().value_source(arg.get_id().as_str()));
        if given == Some(ValueSource::CommandLine) {
            return Ok(());
        }
        let mut argument = OsString::from(format!("--{flag}="));
        argument.push(value);
        self.arguments.push(argument);
        let matches = self.command.try_get_matches_from_mut(&self.arguments);
        self.matches = matches.map_err(|error| fault(&origin, &error))?;
        Ok(())
    }
}

fn of_environment(
    flags: Vec<Arg>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> impl Iterator<Item = Setting> {
    flags.into_iter().filter_map(move |flag| {
        let flag = flag.get_long()?.to_owned();
        let name = format!("WAGGLE_{}", flag.replace('-', "_").to_uppercase());
        // How charts hand in the name of the node, ours and those of others.
        let usual = (flag == "node-name").then_some("NODE_NAME");
        let mut names = [Some(name.as_str()), usual].into_iter().flatten();
        let (name, value) = names.find_map(|name| Some((name.to_owned(), variable(name)?)))?;
        Some(Setting { origin: name, flag, value })
    })
}

/// Whether it may come from a lower layer.
fn is_setting(flag: &Arg) -> bool {
    !flag.is_hide_set() && flag.get_action().takes_values() && flag.get_long().is_some()
}

fn is_called(flag: &Arg, name: &str) -> bool {
    let aliases = flag.get_all_aliases().unwrap_or_default();
    flag.get_long() == Some(name) || aliases.contains(&name)
}

/// A usage error that says where it comes from.
fn fault(origin: &str, what: &Error) -> Error {
    let text = what.to_string();
    // Of the usual form only the first line is about the value; the rest is about the command line.
    let first = text.lines().take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    usage_error(format!("{origin}: {}", first.trim_start_matches("error: ")))
}

fn usage_error(text: impl std::fmt::Display) -> Error {
    Error::raw(ErrorKind::ValueValidation, format!("{text}\n"))
}
