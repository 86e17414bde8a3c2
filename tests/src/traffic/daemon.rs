//! A thread that serves until it is dropped.

use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

/// A server in a thread of its own. It needs no namespace: its sockets were made in theirs. Dropping
/// it closes every socket it had and waits for the thread.
#[derive(Debug)]
pub(crate) struct Daemon {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    /// Runs what `serve` returns, inside a runtime.
    pub(crate) fn start<S, F>(serve: S) -> Self
    where
        S: FnOnce() -> F + Send + 'static,
        F: Future<Output = ()>,
    {
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            current_thread_runtime().block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = serve() => {}
                }
            });
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(
            thread::panicking() || !matches!(ended, Some(Err(_))),
            "a server of the lab panicked"
        );
    }
}

/// A runtime on the calling thread, so in its namespace.
pub(crate) fn current_thread_runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("start a runtime")
}
