//! A directory of ordinary Kubernetes manifests, read again whenever it changes.
//!
//! No cluster is needed: the objects take the same way as the API server's. A file that is not
//! YAML keeps the objects it had, because an editor's half-written file must not empty a service, and
//! an object of which a field cannot be read stays as it was.

mod directory;
mod manifest;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::store::Event;
use directory::Directory;

/// How long nothing must have changed before the directory is read again.
const QUIET: Duration = Duration::from_millis(50);
/// How long changes are waited out at most.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends what the manifests in `directory` say until nobody receives any more. Of the Services,
/// those that `proxy_name` names are ours, or those that name no proxy. Fails only if the directory
/// cannot be watched to begin with.
pub async fn run(
    directory: PathBuf,
    proxy_name: Option<Arc<str>>,
    events: mpsc::Sender<Event>,
) -> anyhow::Result<()> {
    let changed = Arc::new(Notify::new());
    let _watcher = watch(&directory, Arc::clone(&changed)).with_context(|| {
        let directory = directory.display();
        format!("watch the manifest directory {directory}; create it or name another")
    })?;
    let mut directory = Directory::new(directory, proxy_name);
    loop {
        let news;
        (directory, news) = refresh(directory).await?;
        for event in news {
            if events.send(event).await.is_err() {
                return Ok(());
            }
        }
        tokio::select! {
            () = changed.notified() => wait_for_quiet(&changed).await,
            () = events.closed() => return Ok(()),
        }
    }
}

fn watch(directory: &Path, changed: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let mut watcher =
        notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
            Ok(event) if is_change(event.kind) => changed.notify_one(),
            Ok(_) => {}
            Err(error) => warn!(%error, "watching the manifests failed; restart to resume"),
        })?;
    watcher.watch(directory, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Reading the files is an event too, which must not make us read them again.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

async fn wait_for_quiet(changed: &Notify) {
    let start = Instant::now();
    while start.elapsed() < PATIENCE && timeout(QUIET, changed.notified()).await.is_ok() {}
}

/// Reads on a thread of its own: a large directory takes longer than the other tasks may wait.
async fn refresh(mut directory: Directory) -> anyhow::Result<(Directory, Vec<Event>)> {
    let read = move || {
        let news = directory.refresh();
        (directory, news)
    };
    tokio::task::spawn_blocking(read).await.context("read the manifest directory")
}
