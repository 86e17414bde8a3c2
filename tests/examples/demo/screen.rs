//! What is on the screen besides results: headlines, and a spinner while something takes long.

use std::env;
use std::io::{IsTerminal as _, stdout};
use std::time::Duration;

use indicatif::ProgressBar;

/// The terminal, or the file that stands for it: there, nothing is bold and nothing spins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    is_bold: bool,
}

impl Screen {
    /// Standard output. `NO_COLOR` is respected.
    pub(crate) fn new() -> Self {
        Self { is_bold: stdout().is_terminal() && env::var_os("NO_COLOR").is_none() }
    }

    /// A part of the demo begins.
    pub(crate) fn section(self, title: &str) {
        self.headline(&format!("== {title} =="));
    }

    /// Something is shown next.
    pub(crate) fn headline(self, title: &str) {
        let (bold, plain) = if self.is_bold { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        println!("\n{bold}{title}{plain}");
    }
}

/// Does `work` while a spinner on standard error says what is being done.
pub(crate) fn wait<T>(title: &str, work: impl FnOnce() -> T) -> T {
    let spinner = ProgressBar::new_spinner().with_message(format!("{title} …"));
    spinner.enable_steady_tick(Duration::from_millis(100));
    let result = work();
    spinner.finish_and_clear();
    result
}
