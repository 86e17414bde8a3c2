//! A watch: JSON events, one a line, for as long as the connection lasts.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::stream::unfold;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::status::Refusal;
use super::store::Scope;
use super::{Gone, Shared, State, Trouble};

/// Far enough for a watch without a time-out.
const FOR_EVER: Duration = Duration::from_hours(365 * 24);

/// What a client asks of a watch.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) scope: Scope,
    /// Empty or `0`: from any version, with all that is there as added first.
    pub(super) version: u64,
    pub(super) bookmarks: bool,
    /// A streaming list: all that is there as added, then a bookmark that says so.
    pub(super) initial_events: bool,
    pub(super) timeout: Option<Duration>,
}

/// Begins a watch, or refuses it with 410.
pub(super) fn begin(shared: &Arc<Shared>, wish: &Wish) -> Result<Body, Refusal> {
    let mut state = shared.state();
    let begun = Watch::begin(shared, &mut state, wish);
    drop(state);
    let watch = begun?;
    Ok(Body::from_stream(unfold(watch, |mut watch| async {
        watch.next().await.map(|item| (item, watch))
    })))
}

struct Watch {
    shared: Arc<Shared>,
    changed: watch::Receiver<()>,
    scope: Scope,
    /// All changes up to here were sent.
    version: u64,
    /// How many bookmarks there were; `None` if they are not wanted.
    bookmarks: Option<u64>,
    disconnects: u64,
    deadline: Instant,
    /// What to send before anything else.
    first: Vec<Value>,
    over: bool,
}

/// What there is to send now.
enum Next {
    Events(Vec<Value>),
    /// Nothing yet.
    Wait,
    Disconnect,
}

impl Watch {
    fn begin(shared: &Arc<Shared>, state: &mut State, wish: &Wish) -> Result<Self, Refusal> {
        let list = wish.initial_events || wish.version == 0;
        let version = if list { state.store.version() } else { wish.version };
        let mut first = Vec::new();
        let mut over = false;
        if list {
            let page = state.store.list(&wish.scope, 0, "")?;
            first.extend(
                page.items.into_iter().map(|object| json!({"type": "ADDED", "object": object})),
            );
        } else if let Err(gone) = state.store.events_since(version, &wish.scope) {
            if state.gone == Gone::AsStatus {
                return Err(gone);
            }
            first.push(error(&gone));
            over = true;
        }
        if wish.initial_events {
            first.push(bookmark(&wish.scope, version, true));
        }
        state.watches += 1;
        Ok(Self {
            shared: Arc::clone(shared),
            changed: shared.changed.subscribe(),
            scope: wish.scope.clone(),
            version,
            bookmarks: wish.bookmarks.then_some(state.bookmarks),
            disconnects: state.disconnects,
            deadline: Instant::now() + wish.timeout.unwrap_or(FOR_EVER),
            first,
            over,
        })
    }

    /// The next lines; `None` when the watch is over, an error to break the connection.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if !self.first.is_empty() {
            return Some(Ok(lines(&std::mem::take(&mut self.first))));
        }
        while !self.over {
            self.changed.borrow_and_update();
            match self.look() {
                Next::Events(events) => return Some(Ok(lines(&events))),
                Next::Disconnect => {
                    self.over = true;
                    return Some(Err(io::Error::other("told to disconnect")));
                }
                Next::Wait => tokio::select! {
                    _ = self.changed.changed() => {}
                    () = sleep_until(self.deadline) => self.over = true,
                },
            }
        }
        None
    }

    fn look(&mut self) -> Next {
        let shared = Arc::clone(&self.shared);
        let state = shared.state();
        if state.disconnects != self.disconnects {
            return Next::Disconnect;
        }
        if state.trouble == Trouble::Pause {
            return Next::Wait;
        }
        let mut events = self.news(&state);
        if self.bookmarks.is_some_and(|seen| seen != state.bookmarks) {
            self.bookmarks = Some(state.bookmarks);
            events.push(bookmark(&self.scope, self.version, false));
        }
        if events.is_empty() { Next::Wait } else { Next::Events(events) }
    }

    /// The changes since the last look. A watch that saw all that is forgotten goes on; another one
    /// is told that it is too late, and ends.
    fn news(&mut self, state: &State) -> Vec<Value> {
        let oldest = state.store.oldest();
        let from = if self.version + 1 == oldest { oldest } else { self.version };
        self.version = state.store.version();
        state.store.events_since(from, &self.scope).unwrap_or_else(|gone| {
            self.over = true;
            vec![error(&gone)]
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.state().watches -= 1;
    }
}

fn error(refusal: &Refusal) -> Value {
    json!({"type": "ERROR", "object": refusal.to_json()})
}

fn bookmark(scope: &Scope, version: u64, end_of_list: bool) -> Value {
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if end_of_list {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    let resource = scope.resource;
    json!({
        "type": "BOOKMARK",
        "object": {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata},
    })
}

fn lines(events: &[Value]) -> Bytes {
    events.iter().flat_map(|event| [event.to_string(), "\n".to_owned()]).collect::<String>().into()
}
