//! Entries of flows are evicted while connections are busy, and none of them may break.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use aya::Pod;
use lb_common::abi::flow::{Flow, FlowKey};
use lb_common::net::{Addr4, Addr6, Address};
use lb_tests::lab::{Bpffs, Lab, Namespace, Topology, let_pass};
use lb_tests::traffic::Connection;
use lb_userspace::maps::FlowTable as _;
use lb_userspace::maps::kernel::KernelFlows;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{KeepAlive, TcpKeepIdle, TcpKeepInterval};

use crate::cluster::{cluster_ips, flow_metrics};
use crate::lifecycle::StopOnDrop;
use crate::pair::{Pair, node_ports, wait_for_answer, web};

/// Connections of each of four kinds: by ClusterIP and by NodePort, by IPv4 and by IPv6.
const EACH: u64 = 50;
/// How often entries are evicted.
const TIMES: u64 = 3;
/// From one time to the next: a walk of the agent through the flows, and some more.
const BETWEEN: Duration = Duration::from_secs(10);
/// A connection that waits longer is broken.
const PATIENCE: Duration = Duration::from_mins(1);

/// Seconds after which who listens asks whether the server is still there: the usual time of Go.
const SILENCE: u32 = 15;

/// What a connection is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    /// Short requests and answers.
    Asks,
    /// Much from the server.
    Downloads,
    /// Much from the client.
    Uploads,
    /// A little from the server now and then. The client only acknowledges, and makes sure that the
    /// server is still there when it has heard nothing for long, as what listens all day does.
    Listens,
}

const USES: [Use; 5] = [Use::Asks, Use::Asks, Use::Downloads, Use::Uploads, Use::Listens];

impl Use {
    /// Does what the connection is for once more.
    fn go_on(self, connection: &mut Connection) -> io::Result<()> {
        const MUCH: usize = 100_000;
        match self {
            Self::Asks => connection.get("/").map(drop),
            Self::Downloads => connection.get(&format!("/bytes/{MUCH}")).map(drop),
            Self::Uploads => connection.post("/count", &vec![b'w'; MUCH]).map(drop),
            Self::Listens => match connection.socket().read(&mut [0; 1000])? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(()),
            },
        }
    }
}

/// The NodePorts lead to a backend on that node or, masqueraded, to one on another; the ClusterIPs to
/// both, as they are.
#[test]
fn evictions_break_no_connection() {
    let pair = Pair::new(Lab::new(), Topology::Routed);
    pair.write(&web(), &pair.servers);
    // The other node translates nothing.
    let bpffs = &pair.bpffs[0];
    let (pod, client) = (&pair.pods[0].ns, &pair.client.ns);
    let [cluster_v4, cluster_v6] = cluster_ips();
    let [node_v4, node_v6] = node_ports(&pair.nodes[0]);
    let kinds = [(pod, cluster_v4), (pod, cluster_v6), (client, node_v4), (client, node_v6)];
    for (from, dst) in kinds {
        for server in &pair.servers {
            wait_for_answer(from, dst, &server.pod.name);
        }
    }
    let broken = broken_during(&kinds, || {
        for time in 0..TIMES {
            let_pass(BETWEEN);
            evict(bpffs, time);
        }
        let_pass(BETWEEN);
    });
    eprintln!("{}", flow_metrics(&pair.nodes[0]));
    assert!(broken.is_empty(), "broken by evictions: {broken:#?}");
}

/// Does `work` while connections of all kinds are in use; tells which of them broke, and how.
fn broken_during(
    kinds: &[(&Namespace, SocketAddr)],
    work: impl FnOnce(),
) -> BTreeMap<(SocketAddr, Use), Vec<io::ErrorKind>> {
    let is_done = &AtomicBool::new(false);
    let mut broken = BTreeMap::<_, Vec<_>>::new();
    thread::scope(|scope| {
        let stop = StopOnDrop(is_done);
        let start = |(number, what): (_, Use), (from, dst)| {
            let mut connection = open(from, dst, what);
            let ended = scope.spawn(move || until_done(&mut connection, what, number, is_done));
            ((dst, what), ended)
        };
        let uses = (0..EACH).zip(USES.into_iter().cycle());
        let all = uses.flat_map(|it| kinds.iter().map(move |kind| (it, *kind)));
        let connections: Vec<_> = all.map(|(it, kind)| start(it, kind)).collect();
        work();
        drop(stop);
        for (kind, ended) in connections {
            if let Err(error) = ended.join().expect("the thread of a connection") {
                broken.entry(kind).or_default().push(error.kind());
            }
        }
    });
    broken
}

fn open(from: &Namespace, dst: SocketAddr, what: Use) -> Connection {
    let mut connection = Connection::open(from, dst, None, PATIENCE).expect("a connection");
    connection.get("/").expect("an answer");
    if what == Use::Listens {
        keep_alive(connection.socket()).expect("set an option");
        connection.ask("/drip").expect("send a request");
    }
    connection
}

fn keep_alive(socket: &TcpStream) -> nix::Result<()> {
    setsockopt(socket, KeepAlive, &true)?;
    setsockopt(socket, TcpKeepIdle, &SILENCE)?;
    setsockopt(socket, TcpKeepInterval, &SILENCE)
}

/// Uses a connection with pauses of up to a second, and once more when all is done.
fn until_done(
    connection: &mut Connection,
    what: Use,
    number: u64,
    is_done: &AtomicBool,
) -> io::Result<()> {
    for round in 0.. {
        let last = is_done.load(Ordering::Relaxed);
        what.go_on(connection)?;
        if last {
            break;
        }
        let_pass(Duration::from_millis(scattered(&(number, round)) % 1000));
    }
    Ok(())
}

fn scattered(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// Removes a fifth of all entries for flows.
fn evict(bpffs: &Bpffs, time: u64) {
    let v4 = evict_of::<Addr4>(bpffs, |key| scattered(&(time, key)).is_multiple_of(5));
    let v6 = evict_of::<Addr6>(bpffs, |key| scattered(&(time, key)).is_multiple_of(5));
    eprintln!("evicted {} of {} entries", v4.0 + v6.0, v4.1 + v6.1);
}

/// Evicts every entry there is.
pub(crate) fn evict_all(bpffs: &Bpffs) {
    let [v4, v6] = [evict_of::<Addr4>(bpffs, |_| true), evict_of::<Addr6>(bpffs, |_| true)];
    assert!(v4.0 > 0 && v6.0 > 0, "nothing was there: {v4:?}, {v6:?}");
}

/// Removes the entries that `is_chosen`; returns how many were removed, and how many there had been.
fn evict_of<A: Address>(bpffs: &Bpffs, is_chosen: impl Fn(&FlowKey<A>) -> bool) -> (usize, usize)
where
    FlowKey<A>: Pod,
    Flow<A>: Pod,
{
    let maps = bpffs.path().join("waggle/v1/maps");
    let mut flows = KernelFlows::<A>::from_pins(&maps).expect("open the flows");
    let mut keys = Vec::new();
    while let Some(entries) = flows.next_entries().expect("read the flows") {
        keys.extend(entries.into_iter().map(|(key, _)| key));
    }
    let chosen = keys.iter().filter(|key| is_chosen(key));
    let evicted = chosen.filter(|key| flows.take(key).expect("remove an entry").is_some());
    (evicted.count(), keys.len())
}
