//! Keeps a [`Network`] equal to the kernel's.
//!
//! A notification only rings a bell: whatever it says, everything is dumped again. So a lost
//! notification (the kernel drops them when we are slow, ENOBUFS), a dump that was interrupted by a
//! change and a burst of a hundred changes are all the same case, and the view cannot drift.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc::UnboundedReceiver;
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::{MulticastGroup, packet_core::NetlinkMessage, sys::SocketAddr};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Network;
use super::dump::dump;

/// How long to wait before trying again what the kernel refused.
const RETRY: Duration = Duration::from_secs(1);

const GROUPS: [MulticastGroup; 3] =
    [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];

/// Why the network cannot be seen.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket.
    #[error("open a netlink socket: {0}")]
    Open(#[from] io::Error),
    /// The kernel refused.
    #[error("list interfaces and addresses: {0}")]
    Dump(#[from] rtnetlink::Error),
}

/// The network now, and from now on: the receiver changes whenever the kernel's view does.
///
/// Must be called within a tokio runtime, in the network namespace that is meant; the task it
/// spawns ends when `stop` is cancelled or nobody listens any more.
pub async fn follow(
    stop: CancellationToken,
) -> Result<watch::Receiver<Arc<Network>>, NetlinkError> {
    let mut link = Link::open()?;
    let (sender, receiver) = watch::channel(Arc::new(link.dump().await?));
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = sender.closed() => {}
            () = link.follow(&sender) => {}
        }
    });
    Ok(receiver)
}

type Notifications = UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>;

/// Two sockets: a dump never waits behind notifications.
struct Link {
    requests: rtnetlink::Handle,
    notifications: Notifications,
}

impl Link {
    /// Listens first, so that no change falls between this and the first dump.
    fn open() -> io::Result<Self> {
        let (listener, _, notifications) = rtnetlink::new_multicast_connection(&GROUPS)?;
        let (connection, requests, _) = rtnetlink::new_connection()?;
        tokio::spawn(listener);
        tokio::spawn(connection);
        Ok(Self { requests, notifications })
    }

    async fn dump(&self) -> Result<Network, NetlinkError> {
        Ok(dump(&self.requests).await?)
    }

    async fn follow(&mut self, sender: &watch::Sender<Arc<Network>>) {
        loop {
            self.changed().await;
            let network = Arc::new(self.dump_at_last().await);
            sender.send_if_modified(|known| {
                let differs = *known != network;
                *known = network;
                differs
            });
        }
    }

    /// Waits for the bell, and takes in all that is ringing already.
    async fn changed(&mut self) {
        if self.notifications.next().await.is_none() {
            tracing::warn!("lost the netlink socket, opening another");
            self.reopen().await;
        }
        while self.notifications.try_recv().is_ok() {}
    }

    async fn dump_at_last(&mut self) -> Network {
        loop {
            match self.dump().await {
                Ok(network) => return network,
                Err(error) => tracing::warn!(%error, "trying again"),
            }
            self.reopen().await;
        }
    }

    async fn reopen(&mut self) {
        loop {
            tokio::time::sleep(RETRY).await;
            match Self::open() {
                Ok(link) => break *self = link,
                Err(error) => tracing::warn!(%error, "cannot open a netlink socket"),
            }
        }
    }
}
