//! The last warnings and errors in the log, for who asks over HTTP and has no log at hand.
//!
//! There is one log in a process, and so one memory of it. It holds what passed the log's own filter.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use axum::Router;
use axum::routing::get;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::json;

/// How many are kept.
const KEPT: usize = 10;

/// Where they are served.
pub const PATH: &str = "/problems";

static LAST: Mutex<VecDeque<Logged>> = Mutex::new(VecDeque::new());

/// Something that was logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logged {
    /// When.
    pub time: Timestamp,
    /// `ERROR` or `WARN`.
    pub level: String,
    /// What, with its fields behind it.
    pub text: String,
}

/// A layer of the log that remembers.
#[derive(Clone, Copy, Debug)]
pub struct Recent;

impl<S: Subscriber> Layer<S> for Recent {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = *event.metadata().level();
        if level > Level::WARN {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        let text = line.message + &line.fields;
        keep(Logged { time: Timestamp::now(), level: level.to_string(), text });
    }
}

/// The route that tells.
pub fn router() -> Router {
    Router::new().route(PATH, get(|| async { json(&last()) }))
}

fn keep(logged: Logged) {
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.len() == KEPT {
        last.pop_front();
    }
    last.push_back(logged);
}

/// The oldest first.
fn last() -> Vec<Logged> {
    LAST.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
}

/// An event as text.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn the_last_warnings_and_errors_are_kept_with_their_fields() {
        let log = tracing_subscriber::registry().with(Recent);
        tracing::subscriber::with_default(log, || {
            for number in 0..KEPT {
                tracing::warn!(number, "too much");
            }
            tracing::info!("as usual");
            tracing::error!(map = %"SLOTS", "no room");
        });
        let last: Vec<_> =
            last().into_iter().map(|it| format!("{} {}", it.level, it.text)).collect();
        assert_eq!(last.len(), KEPT);
        assert_eq!(last[0], "WARN too much number=1");
        assert_eq!(last[KEPT - 1], "ERROR no room map=SLOTS");
    }
}
