//! An API server over plain HTTP: what an agent needs of a cluster, and every trouble with it.
//!
//! It keeps a few kinds of objects (see [`RESOURCES`]), lists them in pages, watches them with
//! selectors and bookmarks, and can be told to disconnect, to forget its history (410 Gone), to hang,
//! to refuse, to hold back one kind, not to know one, and to talk garbage. It checks nothing of what an object says beyond its name.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

mod resource;
mod routes;
mod selector;
mod status;
mod store;
mod watching;

pub use resource::{RESOURCES, Resource};
use store::{Key, Store};

use crate::lab::{Namespace, temporary_directory};
use crate::traffic::Daemon;

/// A running API server; gone with all its connections when dropped.
#[derive(Debug)]
pub struct ApiServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    kubeconfig: PathBuf,
    _directory: TempDir,
    _daemon: Daemon,
}

/// What the server does to requests instead of answering them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trouble {
    /// It answers them.
    #[default]
    None,
    /// It lets them wait until the trouble is over; running watches say nothing.
    Pause,
    /// It answers with this HTTP status (429 with `Retry-After: 1`).
    Status(u16),
    /// It answers 200 with something that is not JSON.
    Garbage,
}

/// How the server says that a version is too old to watch from. Both are seen in the wild.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gone {
    /// HTTP status 410.
    #[default]
    AsStatus,
    /// HTTP status 200, and an event of type `ERROR` with code 410.
    AsEvent,
}

impl ApiServer {
    /// Starts one on a free port of 127.0.0.1, for agents in the test's own namespace.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        Self::serve(listener.expect("listen on a free port of 127.0.0.1"), Arc::default())
    }

    /// Starts one at an address of a namespace: the router's is reached by every node.
    #[must_use]
    pub fn start_in(ns: &Namespace, address: SocketAddr) -> Self {
        Self::serve(listen(ns, address), Arc::default())
    }

    /// The same server, with the same objects and troubles, at an address of another namespace: for
    /// agents of another lab.
    #[must_use]
    pub fn also_in(&self, ns: &Namespace, address: SocketAddr) -> Self {
        Self::serve(listen(ns, address), Arc::clone(&self.shared))
    }

    fn serve(listener: TcpListener, shared: Arc<Shared>) -> Self {
        let address = listener.local_addr().expect("a listener has an address");
        listener.set_nonblocking(true).expect("make a listener non-blocking");
        let router = routes::routes(&shared);
        let daemon = Daemon::start(|| async {
            let listener =
                tokio::net::TcpListener::from_std(listener).expect("listen inside the runtime");
            axum::serve(listener, router).await.expect("serve the API");
        });
        let directory = temporary_directory("kubeconfig");
        let kubeconfig = write_kubeconfig(directory.path(), address);
        Self { shared, address, kubeconfig, _directory: directory, _daemon: daemon }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A kubeconfig file that leads to it.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Creates the object, or replaces the one of its name; panics if it is of no kind known here.
    #[track_caller]
    pub fn apply(&self, object: &impl Serialize) {
        let object = serde_json::to_value(object).expect("an object is JSON");
        let resource = resource::of_object(&object)
            .unwrap_or_else(|| panic!("the lab's API server has no resource for {object}"));
        self.shared.change(|state| state.store.apply(resource, object));
    }

    /// Deletes `namespace/name` (or `name` where there are no namespaces) of a resource such as
    /// `services`; panics if it is not there.
    #[track_caller]
    pub fn delete(&self, plural: &str, name: &str) {
        let resource = resource::of_plural(plural)
            .unwrap_or_else(|| panic!("the lab's API server has no resource {plural}"));
        let key = Key::new(resource, name);
        let deleted = self.shared.change(|state| state.store.delete(&key));
        deleted.unwrap_or_else(|status| panic!("delete {plural} {name}: {}", status.message));
    }

    /// Sends a bookmark with the newest version to every watch that allows them.
    pub fn bookmark(&self) {
        self.shared.change(|state| state.bookmarks += 1);
    }

    /// Breaks the connection of every running watch.
    pub fn disconnect_watches(&self) {
        self.shared.change(|state| state.disconnects += 1);
    }

    /// Forgets the history, as etcd's compaction does: who wants to watch or to go on listing from
    /// any version so far is told that it is gone. Running watches go on.
    pub fn expire(&self, gone: Gone) {
        self.shared.change(|state| {
            state.gone = gone;
            state.store.expire();
        });
    }

    /// Begins or ends a trouble that is met by every request from now on.
    pub fn trouble(&self, trouble: Trouble) {
        self.shared.change(|state| state.trouble = trouble);
    }

    /// Lets every request for a resource such as `services` wait until [`Self::release`], while all
    /// others are answered.
    pub fn hold(&self, plural: &str) {
        self.shared.change(|state| state.held = Some(plural.to_owned()));
    }

    /// Answers what [`Self::hold`] let wait.
    pub fn release(&self) {
        self.shared.change(|state| state.held = None);
    }

    /// Answers as an older API server, which does not have a resource such as `servicecidrs`; running
    /// watches of it go on.
    pub fn lack(&self, plural: &str) {
        self.shared.change(|state| state.lacking = Some(plural.to_owned()));
    }

    /// All objects of a resource such as `events` now, ordered by namespace and name.
    #[track_caller]
    #[must_use]
    pub fn objects(&self, plural: &str) -> Vec<Value> {
        let resource = resource::of_plural(plural)
            .unwrap_or_else(|| panic!("the lab's API server has no resource {plural}"));
        self.shared.state().store.all(resource)
    }

    /// Every request so far as `METHOD path?query`, the query decoded.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.shared.state().requests.clone()
    }

    /// How many watches run now.
    #[must_use]
    pub fn watches(&self) -> usize {
        self.shared.state().watches
    }

    /// The newest version of anything, as in `metadata.resourceVersion`.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.shared.state().store.version()
    }
}

/// What all requests share.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    store: Store,
    trouble: Trouble,
    /// The last part of the paths whose requests wait.
    held: Option<String>,
    /// The last part of the paths that there are not.
    lacking: Option<String>,
    gone: Gone,
    /// How often watches were disconnected: one that began under another number ends.
    disconnects: u64,
    /// How many bookmarks there were.
    bookmarks: u64,
    watches: usize,
    requests: Vec<String>,
}

impl State {
    /// What happens to requests for this path now.
    fn trouble_of(&self, path: &str) -> Trouble {
        match &self.held {
            Some(held) if is_of(path, held) => Trouble::Pause,
            _ => self.trouble,
        }
    }

    /// Whether there is no such path.
    fn lacks(&self, path: &str) -> bool {
        self.lacking.as_ref().is_some_and(|lacking| is_of(path, lacking))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes who waits for that.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.changed.send_replace(());
        result
    }
}

/// Whether a path is that of a collection such as `services`.
fn is_of(path: &str, plural: &str) -> bool {
    path.rsplit('/').next() == Some(plural)
}

fn listen(ns: &Namespace, address: SocketAddr) -> TcpListener {
    let listener = ns.run(|| TcpListener::bind(address));
    listener.unwrap_or_else(|error| panic!("listen on {address}: {error}"))
}

/// JSON is YAML too, and needs no quoting rules.
fn write_kubeconfig(directory: &Path, address: SocketAddr) -> PathBuf {
    let config: Value = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "agent", "user": {}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "agent"}}],
        "current-context": "lab",
    });
    let path = directory.join("kubeconfig");
    std::fs::write(&path, config.to_string()).expect("write a kubeconfig");
    path
}
