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

/// The network now, and from now on: the receiver changes whenever the kernel says that something
/// has changed, also when it looks as before: an interface may have been replaced by its like.
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
            sender.send_replace(Arc::new(self.dump_at_last().await));
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

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::{Child, Command, Stdio};

    use super::super::namespace::{block_on, command, in_namespace};
    use super::super::{Interface, LinkHeader, Scope};
    use super::*;

    /// Waits until the network is as `wanted`; the patience only keeps a failure from hanging.
    async fn until(
        network: &mut watch::Receiver<Arc<Network>>,
        what: &str,
        wanted: impl Fn(&Network) -> bool,
    ) -> Network {
        let found = tokio::time::timeout(Duration::from_secs(20), network.wait_for(|n| wanted(n)));
        (**found.await.expect(what).unwrap()).clone()
    }

    fn named<'a>(network: &'a Network, name: &str) -> Option<&'a Interface> {
        network.interfaces.values().find(|interface| interface.name == name)
    }

    fn addresses(network: &Network, name: &str) -> Vec<(String, Scope)> {
        let index = named(network, name).map(|interface| interface.index);
        let of = network.addresses.iter().filter(|address| Some(address.interface) == index);
        of.map(|address| (address.ip.to_string(), address.scope)).collect()
    }

    /// A process in a network namespace of its own, which lasts as long as its input.
    fn far_namespace() -> Child {
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // The line says that it is there.
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        child
    }

    #[test]
    fn what_is_there_is_listed_with_kind_header_and_master() {
        in_namespace(|| {
            command("ip link add br0 type bridge");
            command("ip link add v0 type veth peer name v1");
            command("ip link set v0 master br0 up");
            command("ip tuntap add tun0 mode tun");
            block_on(async {
                let network = follow(CancellationToken::new()).await.unwrap();
                let network = network.borrow().clone();
                let named = |name| named(&network, name).unwrap();
                assert_eq!(named("lo").header, LinkHeader::Loopback);
                assert_eq!((named("tun0").header, named("tun0").up), (LinkHeader::None, false));
                assert_eq!(named("v0").header, LinkHeader::Ethernet);
                assert_eq!((named("v0").kind.as_str(), named("v0").up), ("veth", true));
                assert_eq!(named("v0").master, Some(named("br0").index));
                assert_eq!((named("br0").kind.as_str(), named("br0").master), ("bridge", None));
            });
        });
    }

    #[test]
    fn interfaces_and_addresses_are_followed_as_they_come_and_go() {
        in_namespace(|| {
            block_on(async {
                let mut network = follow(CancellationToken::new()).await.unwrap();
                command("ip link add v0 type veth peer name v1");
                until(&mut network, "v0", |n| named(n, "v0").is_some()).await;
                command("ip addr add 10.0.0.1/24 dev v0");
                command("ip addr add fd00::1/64 dev v0 nodad");
                let both = until(&mut network, "addresses", |n| addresses(n, "v0").len() == 2);
                let expected = ["10.0.0.1", "fd00::1"].map(|ip| (ip.to_owned(), Scope::Global));
                assert_eq!(addresses(&both.await, "v0"), expected);
                command("ip link del v0");
                until(&mut network, "no v0", |n| {
                    named(n, "v0").is_none() && addresses(n, "v0").is_empty()
                })
                .await;
            });
        });
    }

    #[test]
    fn the_own_end_of_a_point_to_point_link_counts() {
        in_namespace(|| {
            command("ip link add v0 type veth peer name v1");
            command("ip addr add 10.0.0.1 peer 10.0.0.2 dev v0");
            block_on(async {
                let network = follow(CancellationToken::new()).await.unwrap();
                let network = network.borrow().clone();
                assert_eq!(addresses(&network, "v0"), [("10.0.0.1".to_owned(), Scope::Global)]);
                let lengths: Vec<_> = network.addresses.iter().map(|a| a.prefix_len).collect();
                assert_eq!(lengths, [32]);
            });
        });
    }

    #[test]
    fn addresses_have_the_kernels_order_and_say_whether_new_flows_have_them() {
        in_namespace(|| {
            command("ip link add v0 type bridge");
            for address in ["10.9.0.1/24", "10.1.0.1/24", "10.9.0.2/24", "fd00::1/64 nodad"] {
                command(&format!("ip addr add {address} dev v0"));
            }
            command("ip addr add fd00::2/64 dev v0 nodad preferred_lft 0");
            block_on(async {
                let network = follow(CancellationToken::new()).await.unwrap();
                let network = network.borrow().clone();
                let found = network.addresses.iter();
                let found = found.map(|address| (address.ip.to_string(), address.preferred));
                let found: Vec<_> = found.filter(|(ip, _)| !ip.ends_with("::1")).collect();
                let expected = [("10.9.0.1", true), ("10.1.0.1", true), ("10.9.0.2", false)];
                let expected = expected.iter().chain(&[("fd00::2", false)]);
                let expected: Vec<_> = expected.map(|(ip, is)| ((*ip).to_owned(), *is)).collect();
                assert_eq!(found, expected);
            });
        });
    }

    #[test]
    fn a_pair_shows_whether_its_other_end_is_in_another_namespace() {
        in_namespace(|| {
            command("ip link add v0 type veth peer name v1");
            let far = far_namespace();
            block_on(async {
                let mut network = follow(CancellationToken::new()).await.unwrap();
                let is_elsewhere = |network: &Network| {
                    named(network, "v0").is_some_and(|interface| interface.peer_elsewhere)
                };
                assert!(!is_elsewhere(&network.borrow()));
                command(&format!("ip link set v1 netns {}", far.id()));
                until(&mut network, "elsewhere", is_elsewhere).await;
            });
            // Without its input it ends.
            far.wait_with_output().unwrap();
        });
    }

    #[test]
    fn a_tentative_address_counts_when_it_is_no_longer_tentative() {
        in_namespace(|| {
            command("ip link add v0 type veth peer name v1");
            command("ip link set v0 up");
            // No carrier: duplicate address detection cannot end before the other side is up.
            command("ip addr add fd00::1/64 dev v0");
            block_on(async {
                let mut network = follow(CancellationToken::new()).await.unwrap();
                assert!(addresses(&network.borrow(), "v0").is_empty());
                command("ip link set v1 up");
                until(&mut network, "fd00::1", |n| {
                    addresses(n, "v0").contains(&("fd00::1".to_owned(), Scope::Global))
                })
                .await;
            });
        });
    }

    #[test]
    fn a_burst_beyond_the_socket_buffer_loses_nothing() {
        in_namespace(|| {
            block_on(async {
                let mut network = follow(CancellationToken::new()).await.unwrap();
                // The runtime has one thread, so nobody reads notifications meanwhile.
                let batch = (0..300).map(|n| format!("link add d{n} type bridge"));
                let file = tempfile::NamedTempFile::new().unwrap();
                std::fs::write(file.path(), batch.collect::<Vec<_>>().join("\n")).unwrap();
                command(&format!("ip -batch {}", file.path().display()));
                until(&mut network, "all", |n| n.interfaces.len() == 301).await;
            });
        });
    }

    #[test]
    fn an_interface_that_is_replaced_by_its_like_is_told() {
        in_namespace(|| {
            command("ip link add v0 index 50 type veth peer name v1 index 51");
            block_on(async {
                let mut network = follow(CancellationToken::new()).await.unwrap();
                let before = network.borrow_and_update().clone();
                // The runtime has one thread, so both are over before anything is dumped.
                command("ip link del v0");
                command("ip link add v0 index 50 type veth peer name v1 index 51");
                let told = tokio::time::timeout(Duration::from_secs(20), network.changed()).await;
                told.expect("it is told").unwrap();
                assert_eq!(*network.borrow(), before);
            });
        });
    }

    #[test]
    fn it_ends_when_it_is_told_to() {
        in_namespace(|| {
            block_on(async {
                let stop = CancellationToken::new();
                let mut network = follow(stop.clone()).await.unwrap();
                stop.cancel();
                assert!(network.changed().await.is_err());
            });
        });
    }
}
