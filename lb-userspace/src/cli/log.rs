//! Flags for what is logged, and how.

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use clap::Args;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::serve::recent::Recent;

#[derive(Debug, Args)]
#[command(next_help_heading = "Logging, on stderr")]
pub(super) struct LogArgs {
    /// A level (error, warn, info, debug, trace), or levels by module: `info,lb_userspace=debug`
    /// [default: info]
    #[arg(long, value_name = "LEVEL", value_parser = log_filter)]
    log_level: Option<String>,
    /// The same as a number, as for kube-proxy: from 4 on debug, from 6 on trace
    #[arg(short, long, value_name = "N", default_value = "0", hide_default_value = true)]
    v: u8,
    /// How log lines look
    #[arg(long, value_name = "FORMAT", alias = "logging-format", default_value = "text")]
    log_format: LogFormat,
}

impl LogArgs {
    /// Writes what is logged from now on as the flags say.
    pub(super) fn start(&self) -> anyhow::Result<()> {
        let filter = EnvFilter::try_new(self.filter()).context("read --log-level")?;
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal());
        match self.log_format {
            LogFormat::Text => log.finish().with(Recent).init(),
            LogFormat::Json => log.json().finish().with(Recent).init(),
        }
        Ok(())
    }

    fn filter(&self) -> &str {
        match (&self.log_level, self.v) {
            (Some(filter), _) => filter,
            // What the client library logs of its errors, the agent says better.
            (None, 0..4) => "info,kube_client=off",
            (None, 4..6) => "debug,kube_client=off",
            (None, 6..) => "trace",
        }
    }
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

fn log_filter(text: &str) -> Result<String, ParseError> {
    EnvFilter::try_new(text).map(|_| text.to_owned())
}
