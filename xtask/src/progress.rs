//! Steps that take a while, and what a person sees of them.
//!
//! On a terminal a step is a spinner with the child's latest line, elsewhere two plain lines. The
//! child's output is kept and shown only if it fails, or streamed with `--verbose`.

use std::io::{BufRead as _, BufReader, IsTerminal as _, PipeReader, pipe, stderr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

/// How steps are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    verbose: bool,
}

impl Progress {
    /// `verbose` streams what children print.
    pub(crate) fn new(verbose: bool) -> Self {
        Self { verbose }
    }

    /// Runs `command` to its end as the step `title`. An exit status other than 0 is an error.
    pub(crate) fn step(self, title: &str, command: Command) -> Result<()> {
        if self.verbose {
            eprintln!("{title}");
            return stream(command).with_context(|| title.to_owned());
        }
        let started = Instant::now();
        let spinner = spinner(title);
        let (output, succeeded) = capture(command, &spinner).with_context(|| title.to_owned())?;
        spinner.finish_and_clear();
        if !succeeded {
            eprintln!("{output}");
            bail!("{title}: failed, see the output above");
        }
        eprintln!("{title}: done in {:.1} s", started.elapsed().as_secs_f32());
        Ok(())
    }
}

/// Runs `command` with this terminal as its own. An exit status other than 0 is an error.
pub(crate) fn stream(mut command: Command) -> Result<()> {
    let status = command.status().with_context(|| format!("start {}", program(&command)))?;
    if !status.success() {
        bail!("{} ended with {status}", program(&command));
    }
    Ok(())
}

/// Both streams of `command` in the order they were written, and whether it succeeded.
fn capture(mut command: Command, spinner: &ProgressBar) -> Result<(String, bool)> {
    let (reader, writer) = pipe().context("make a pipe")?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("start {}", program(&command)))?;
    drop(command); // and with it our end of the pipe, so that the child's end is the last
    let output = read_lines(reader, spinner)?;
    Ok((output, child.wait()?.success()))
}

fn read_lines(reader: PipeReader, spinner: &ProgressBar) -> Result<String> {
    let mut output = String::new();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.context("read the output of a step")?;
        let line = String::from_utf8_lossy(&line);
        spinner.set_message(line.trim().to_owned());
        output.push_str(&line);
        output.push('\n');
    }
    Ok(output)
}

fn spinner(title: &str) -> ProgressBar {
    if !stderr().is_terminal() {
        eprintln!("{title} …");
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg:.dim}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let spinner = ProgressBar::new_spinner().with_style(style).with_prefix(title.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
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
    fn both_streams_are_kept_in_the_order_of_writing() {
        let script = "echo one; echo two >&2; echo three; exit 3";
        let (output, succeeded) = capture(shell(script), &ProgressBar::hidden()).unwrap();
        assert_eq!((output.as_str(), succeeded), ("one\ntwo\nthree\n", false));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = stream(Command::new("waggle-no-such-program")).unwrap_err();
        assert!(format!("{error:#}").starts_with("start waggle-no-such-program: "));
    }
}
