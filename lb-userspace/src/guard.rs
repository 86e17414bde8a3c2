//! The voice of the port guard: who wanted to bind a node port is told in the log, and to people who
//! look at the Service.
//!
//! A process that tries again and again is told of once in a while.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use lb_common::abi::bind::RefusedBind;
use lb_common::net::protocol;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::maps::kernel::{Binds, Names};
use crate::model::{Kind, NamespacedName, Problem, Rejection, Subject};

/// How long the same process is not told of again for the same port.
const SILENCE: Duration = Duration::from_mins(10);

/// Tells of refused binds from now on: the log, and `complaints` if there are any. The maps are
/// pinned in `maps`; `node` is the name of this node.
pub fn start(
    maps: &Path,
    node: String,
    complaints: Option<mpsc::Sender<Rejection>>,
) -> anyhow::Result<()> {
    let maps = maps.to_owned();
    let binds = Binds::from_pins(&maps).context("open the refused binds")?;
    let mut binds = watched(binds)?;
    tokio::spawn(async move {
        let mut silence = Silence::default();
        loop {
            let Ok(mut ready) = binds.readable_mut().await else { return };
            ready.clear_ready();
            while let Some(bind) = ready.get_inner_mut().take() {
                if !silence.is_over(&bind, Instant::now()) {
                    continue;
                }
                // Opened each time: it may be another map by then, since the maps grow.
                let names = Names::from_pins(&maps).ok();
                let name = names.and_then(|names| names.get(bind.service));
                let Some(rejection) = rejection(&bind, name, &node) else {
                    continue;
                };
                tracing::warn!(pid = bind.pid, "{rejection}");
                if let Some(complaints) = &complaints {
                    complaints.try_send(rejection).ok();
                }
            }
        }
    });
    Ok(())
}

#[expect(deprecated, reason = "the map keeps its file open for as long as it is watched")]
fn watched(binds: Binds) -> anyhow::Result<AsyncFd<Binds>> {
    AsyncFd::with_interest(binds, Interest::READABLE).context("watch the refused binds")
}

/// What was told of last, and when.
#[derive(Debug, Default)]
struct Silence(BTreeMap<(u32, u16, u8, [u8; 16]), Instant>);

impl Silence {
    /// Whether `bind` may be told of now; then not for a while.
    fn is_over(&mut self, bind: &RefusedBind, now: Instant) -> bool {
        self.0.retain(|_, told| now.duration_since(*told) < SILENCE);
        let key = (bind.service, bind.port.to_host(), bind.protocol, bind.name);
        let is_over = !self.0.contains_key(&key);
        self.0.entry(key).or_insert(now);
        is_over
    }
}

/// What to tell; `None` if nobody knows the service any more, which is called
/// `namespace/name:port/PROTOCOL`.
fn rejection(bind: &RefusedBind, service: Option<String>, node: &str) -> Option<Rejection> {
    let service = service?;
    let (namespace, name) = service.split_once(':').unwrap_or((&service, "")).0.split_once('/')?;
    let process = String::from_utf8_lossy(&bind.name);
    let process = process.trim_end_matches('\0');
    let (port, protocol) = (bind.port.to_host(), protocol::name(bind.protocol).unwrap_or("?"));
    Some(Rejection {
        object: Subject::Object(Kind::Service, NamespacedName::new(namespace, name)),
        file: None,
        problem: Problem::NodePortGuarded,
        reason: format!(
            "the process {process} of node {node} wanted to bind the node port {port}/{protocol}; \
             let it listen at another port, or give the Service another nodePort"
        ),
    })
}

#[cfg(test)]
mod tests {
    use lb_common::net::Port;

    use super::*;

    fn bind(port: u16) -> RefusedBind {
        let mut name = [0; 16];
        name[..5].copy_from_slice(b"nginx");
        let port = Port::from_host(port);
        RefusedBind { pid: 7, service: 1, name, port, protocol: protocol::TCP, pad: 0 }
    }

    #[test]
    fn the_service_is_told_of_the_process_and_the_port() {
        let told = |name: Option<&str>| rejection(&bind(30_080), name.map(str::to_owned), "node1");
        assert_eq!(
            told(Some("shop/web:http/TCP")).unwrap().to_string(),
            "service shop/web: the process nginx of node node1 wanted to bind the node port \
             30080/TCP; let it listen at another port, or give the Service another nodePort"
        );
        assert_eq!(told(None), None);
    }

    #[test]
    fn a_process_that_insists_is_told_of_once_in_a_while() {
        let (mut silence, now) = (Silence::default(), Instant::now());
        assert!(silence.is_over(&bind(1), now));
        assert!(silence.is_over(&bind(2), now), "another port");
        assert!(!silence.is_over(&bind(1), now + SILENCE - Duration::from_secs(1)));
        assert!(silence.is_over(&bind(1), now + SILENCE));
    }
}
