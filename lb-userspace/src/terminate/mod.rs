//! Ends sockets that hold a backend which is gone, so that nobody talks to it for ever.
//!
//! A connected UDP socket ends when its backend serves no more. A TCP connection lives on, as with
//! kube-proxy, unless [`TerminateTcp::Removed`] is asked for. A socket that names an address with
//! each datagram needs no end: its next datagram goes to another backend.
//!
//! A thread of its own compares what sockets hold (`SOCKETS_*`) with what the maps say of backends
//! now. It is woken when a backend has stopped serving; other changes cost nothing, however many
//! sockets there are. It looks again soon after, for a call that was on its way may not have been in
//! the map yet, and every few minutes, for what could not be done. Thus it also ends what went stale
//! while no agent ran. Every few minutes it removes the entries of sockets that are closed, too.

mod closed;
pub(crate) mod namespaces;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use aya::Pod;
use lb_common::abi::backend::Backend;
use lb_common::abi::socket::{Socket, SocketKey};
use lb_common::net::{Addr4, Addr6, Address, protocol};

use crate::maps::MapError;
use crate::maps::kernel::{Holder, KernelSockets};
use crate::netlink::sock_diag::{Domain, SockDiag};

/// The shortest time between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
/// How soon the second look is, after one that was asked for.
const SETTLE: Duration = Duration::from_millis(250);

/// What becomes of sockets whose backend is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which TCP connections end.
    pub tcp: TerminateTcp,
    /// The directory of named network namespaces.
    pub netns_dir: PathBuf,
    /// How long it is to the next look if nobody asks, and between two looks for closed sockets.
    pub interval: Duration,
}

/// Which TCP connections end with their endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TerminateTcp {
    /// None, as with kube-proxy.
    Never,
    /// Those whose endpoint has left the `EndpointSlices`; never those of a terminating one.
    Removed,
}

/// Ends sockets whose backend is gone.
#[derive(Debug)]
pub struct Terminator {
    v4: KernelSockets<Addr4>,
    v6: KernelSockets<Addr6>,
    own_netns: u64,
    settings: Settings,
    /// Sockets that were not there at the last look for closed ones.
    missed: closed::Missed,
    /// What people were told already.
    told: HashSet<String>,
}

/// Asks a [`Terminator`] to look; it ends when this is dropped.
#[derive(Debug)]
pub struct Wake(SyncSender<()>);

impl Wake {
    /// A backend has stopped serving. Never waits.
    pub fn wake(&self) {
        // It is full of a request that has not been taken yet: one is enough.
        self.0.try_send(()).ok();
    }
}

/// A connected socket whose backend is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stale {
    netns: u64,
    cookie: u64,
    protocol: u8,
    backend: SocketAddr,
}

impl Terminator {
    /// Of the sockets whose maps are pinned in `directory`, for an agent in the network namespace
    /// with the cookie `own_netns`.
    pub fn from_pins(
        directory: &Path,
        own_netns: u64,
        settings: Settings,
    ) -> Result<Self, MapError> {
        let v4 = KernelSockets::from_pins(directory)?;
        let v6 = KernelSockets::from_pins(directory)?;
        let (missed, told) = (closed::Missed::default(), HashSet::new());
        Ok(Self { v4, v6, own_netns, settings, missed, told })
    }

    /// Looks once, and then whenever it is woken; tells `show` the protocol of each socket that was
    /// destroyed.
    pub fn start(
        mut self,
        show: impl Fn(&'static str) + Send + Sync + 'static,
    ) -> io::Result<Wake> {
        let (sender, woken) = mpsc::sync_channel(1);
        let work = move || self.work(&woken, &show);
        thread::Builder::new().name("sockets".to_owned()).spawn(work)?;
        Ok(Wake(sender))
    }

    fn work(&mut self, woken: &Receiver<()>, show: &(impl Fn(&'static str) + Sync)) {
        let (mut pause, mut forgotten) = (SETTLE, Instant::now());
        loop {
            if let Err(error) = self.look(show) {
                self.tell(format!("sockets that hold dead backends cannot be found: {error}"));
            }
            if forgotten.elapsed() >= self.settings.interval {
                if let Err(error) = self.forget_closed() {
                    self.tell(format!("sockets that are closed cannot be found: {error}"));
                }
                forgotten = Instant::now();
            }
            thread::sleep(BETWEEN_LOOKS);
            pause = match woken.recv_timeout(pause) {
                Ok(()) => SETTLE,
                Err(RecvTimeoutError::Timeout) => self.settings.interval,
                Err(RecvTimeoutError::Disconnected) => return,
            };
        }
    }

    fn look(&mut self, show: &(impl Fn(&'static str) + Sync)) -> Result<(), MapError> {
        let tcp = self.settings.tcp;
        let mut all = stale(&mut self.v4, tcp)?;
        all.extend(stale(&mut self.v6, tcp)?);
        let mut by_netns = BTreeMap::<_, Vec<_>>::new();
        for socket in all {
            by_netns.entry(socket.netns).or_default().push(socket);
        }
        let work = |sockets: Vec<_>| destroy_all(&sockets, show);
        self.visit("hold dead backends and live on", by_netns, work);
        Ok(())
    }

    /// Removes the entries of sockets that were missed for the second time.
    fn forget_closed(&mut self) -> Result<(), MapError> {
        let mut held = BTreeMap::<_, HashSet<_>>::new();
        let mut meet = |cookie, netns| {
            held.entry(netns).or_default().insert(cookie);
        };
        self.v4.each(&mut meet)?;
        self.v6.each(&mut meet)?;
        let missing = Mutex::new(HashSet::new());
        self.visit("may be closed and keep their entries", held, |cookies| {
            let closed = closed::missing(cookies)?;
            missing.lock().unwrap_or_else(PoisonError::into_inner).extend(closed);
            Ok(())
        });
        let closed =
            self.missed.again(missing.into_inner().unwrap_or_else(PoisonError::into_inner));
        if !closed.is_empty() {
            let entries = self.v4.forget(&closed)? + self.v6.forget(&closed)?;
            tracing::info!(sockets = closed.len(), entries, "forgot sockets that are closed");
        }
        Ok(())
    }

    /// Does `work` in each of these namespaces. What cannot be done is told as what sockets `do_what`;
    /// it stops nothing else.
    fn visit<T: Send>(
        &mut self,
        do_what: &str,
        mut wanted: BTreeMap<u64, T>,
        work: impl Fn(T) -> io::Result<()> + Sync,
    ) {
        let own = wanted.remove(&self.own_netns).map_or(Ok(()), &work);
        let pods = if wanted.is_empty() {
            Ok(())
        } else {
            namespaces::visit(&self.settings.netns_dir, wanted, work)
        };
        for (whose, outcome) in [("this node", own), ("pods", pods)] {
            if let Err(error) = outcome {
                self.tell(format!("sockets of {whose} {do_what}: {}", reason(&error)));
            }
        }
    }

    fn tell(&mut self, text: String) {
        if !self.told.contains(&text) {
            tracing::warn!("{text}");
            self.told.insert(text);
        }
    }
}

/// What went wrong, and what to do about it.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("{error}; give the agent CAP_NET_ADMIN and, for pods, CAP_SYS_ADMIN")
        }
        io::ErrorKind::Unsupported => {
            format!("{error}; the kernel needs CONFIG_INET_DIAG_DESTROY and CONFIG_INET_UDP_DIAG")
        }
        _ => error.to_string(),
    }
}

fn stale<A: Address>(
    sockets: &mut KernelSockets<A>,
    tcp: TerminateTcp,
) -> Result<Vec<Stale>, MapError>
where
    SocketKey<A>: Pod,
    Socket<A>: Pod,
    Backend<A>: Pod,
{
    let holders = sockets.holders(|socket, backend| is_over(socket, backend, tcp))?;
    let connected = holders.iter().filter(|holder| holder.is_connected);
    Ok(connected.map(Stale::from).collect())
}

/// Whether a socket must not go on with its backend, of which the maps say `backend` now.
fn is_over<A>(socket: &Socket<A>, backend: &Backend<A>, tcp: TerminateTcp) -> bool {
    match socket.protocol {
        protocol::UDP => !backend.serves(socket.generation),
        protocol::TCP => tcp == TerminateTcp::Removed && !backend.exists(socket.generation),
        _ => false,
    }
}

impl<A: Address> From<&Holder<A>> for Stale {
    fn from(holder: &Holder<A>) -> Self {
        let Holder { cookie, netns, socket, .. } = holder;
        let backend = SocketAddr::new(socket.addr.to_ip(), socket.port.to_host());
        Self { netns: *netns, cookie: *cookie, protocol: socket.protocol, backend }
    }
}

/// What one dump may find: the sort of the sockets, their protocol and their peer's port.
type Dump = (Domain, u8, u16);

/// Who is to be found by which dump: cookies, with the backend's address.
fn dumps(sockets: &[Stale]) -> BTreeMap<Dump, HashSet<(u64, IpAddr)>> {
    let mut dumps = BTreeMap::<_, HashSet<_>>::new();
    for Stale { cookie, protocol, backend, .. } in sockets {
        // An IPv6 socket may be connected to an IPv4 address in disguise.
        let domains = if backend.is_ipv4() { &[Domain::V4, Domain::V6][..] } else { &[Domain::V6] };
        for domain in domains {
            let dump = dumps.entry((*domain, *protocol, backend.port())).or_default();
            dump.insert((*cookie, backend.ip()));
        }
    }
    dumps
}

/// Destroys these sockets of the calling thread's namespace. An error does not stop the others; the
/// first is returned.
fn destroy_all(sockets: &[Stale], show: &impl Fn(&'static str)) -> io::Result<()> {
    let diag = SockDiag::open()?;
    let mut outcome = Ok(());
    for (dump, wanted) in dumps(sockets) {
        outcome = outcome.and(destroy(&diag, dump, &wanted, show));
    }
    outcome
}

fn destroy(
    diag: &SockDiag,
    (domain, protocol, port): Dump,
    wanted: &HashSet<(u64, IpAddr)>,
    show: &impl Fn(&'static str),
) -> io::Result<()> {
    let word = if protocol == protocol::UDP { "udp" } else { "tcp" };
    for socket in diag.connected(domain, protocol, port)? {
        let backend = socket.peer();
        if wanted.contains(&(socket.cookie(), backend)) && diag.destroy(&socket)? {
            tracing::debug!(protocol = word, %backend, port, "destroyed a socket: its backend is gone");
            show(word);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use lb_common::abi::backend::flags::{IN_USE, SERVING};

    use super::*;

    #[track_caller]
    fn check(protocol: u8, (generation, flags): (u32, u16), expected: [bool; 2]) {
        let socket = Socket::<Addr4> { protocol, generation: 7, ..Socket::default() };
        let backend = Backend { generation, flags, ..Backend::default() };
        let settings = [TerminateTcp::Never, TerminateTcp::Removed];
        assert_eq!(settings.map(|tcp| is_over(&socket, &backend, tcp)), expected);
    }

    #[test]
    fn udp_ends_with_serving_and_tcp_with_the_endpoint_where_asked_for() {
        let (serves, ends, gone, other) =
            ((7, IN_USE | SERVING), (7, IN_USE), (7, 0), (8, IN_USE | SERVING));
        for (backend, udp, tcp) in [
            (serves, [false; 2], [false; 2]),
            (ends, [true; 2], [false; 2]),
            (gone, [true; 2], [false, true]),
            (other, [true; 2], [false, true]),
        ] {
            check(protocol::UDP, backend, udp);
            check(protocol::TCP, backend, tcp);
            check(protocol::SCTP, backend, [false; 2]);
        }
    }

    #[test]
    fn sockets_with_a_port_in_common_share_a_dump() {
        let stale = |cookie, backend: &str| Stale {
            netns: 1,
            cookie,
            protocol: protocol::UDP,
            backend: backend.parse().unwrap(),
        };
        let found =
            dumps(&[stale(1, "10.0.0.1:53"), stale(2, "10.0.0.2:53"), stale(3, "[fd00::1]:53")]);
        let cookies = |domain| {
            let mut cookies: Vec<_> =
                found[&(domain, protocol::UDP, 53)].iter().map(|it| it.0).collect();
            cookies.sort_unstable();
            cookies
        };
        assert_eq!(found.len(), 2);
        assert_eq!((cookies(Domain::V4), cookies(Domain::V6)), (vec![1, 2], vec![1, 2, 3]));
    }
}
