//! Resolvers of other makers on a node, which forward to a DNS Service: their clients go on when the
//! Service loses the backend that they hold.
//!
//! Backends answer each question with an address of their own, so that it shows where an answer is
//! from. All questions differ, so that no answer is a remembered one.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use lb_tests::lab::{Namespace, Node, Pod, Program, Topology, wait_for};
use lb_tests::objects::{Protocol, Service, service, slice};
use lb_tests::traffic::{Answer, Connection, UdpClient};

use crate::cluster::{Cluster, PATIENCE};

/// The DNS Service's addresses, IPv4 first.
const DNS: [&str; 2] = ["10.96.0.53", "fd00:96::53"];
/// Where the first resolver listens, on the loopback address; the others at the next ports.
const FIRST_PORT: u16 = 5300;
/// How long a client waits for an answer while backends change.
const SHORT: Duration = Duration::from_secs(1);

/// Who made a resolver, and how it talks to the server that it forwards to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    /// By one connected UDP socket, which it keeps. It forwards requests of HTTP to where names lead.
    Nginx,
    /// By a connected UDP socket for each question.
    Unbound,
    /// By a TCP connection for each question.
    UnboundByTcp,
    /// By UDP sockets that name the server with each question.
    Dnsmasq,
}

impl Maker {
    const ALL: [Self; 4] = [Self::Nginx, Self::Unbound, Self::UnboundByTcp, Self::Dnsmasq];

    /// A resolver that listens at `at` and forwards to port 53 of `dns`.
    fn start(self, ns: &Namespace, at: SocketAddr, dns: &str) -> Program {
        let (program, arguments): (_, &[&str]) = match self {
            Self::Nginx => ("nginx", &["-e", "stderr", "-c"]),
            Self::Unbound | Self::UnboundByTcp => ("unbound", &["-d", "-p", "-c"]),
            Self::Dnsmasq => ("dnsmasq", &["--keep-in-foreground", "--pid-file=", "-C"]),
        };
        Program::start(ns, program, |folder| {
            let config = folder.join("conf");
            fs::write(&config, self.config(folder, at, dns)).expect("write a configuration");
            let config = config.display().to_string();
            arguments.iter().map(|it| (*it).to_owned()).chain([config]).collect()
        })
    }

    fn config(self, folder: &Path, at: SocketAddr, dns: &str) -> String {
        match self {
            Self::Nginx => nginx(folder, at, dns),
            Self::Unbound => unbound(folder, at, dns, "no"),
            Self::UnboundByTcp => unbound(folder, at, dns, "yes"),
            Self::Dnsmasq => dnsmasq(at, dns),
        }
    }
}

/// Nobody listens where it forwards to: whom it has tried is in a header of its answer.
fn nginx(folder: &Path, at: SocketAddr, dns: &str) -> String {
    let dns = if dns.contains(':') { format!("[{dns}]") } else { dns.to_owned() };
    let folder = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {folder}/{name};\n"))
        .concat();
    format!(
        "daemon off;\nuser root;\nworker_processes 1;\npid {folder}/pid;\nevents {{}}\n\
         http {{\naccess_log off;\n{temporary}resolver {dns} ipv6=off;\nresolver_timeout 1s;\n\
         server {{\nlisten {at};\nlocation ~ ^/(?<label>[a-z0-9]+)$ {{\n\
         proxy_pass http://$label.example.org:1;\nadd_header tried $upstream_addr always;\n}}\n}}\n}}\n"
    )
}

fn unbound(folder: &Path, at: SocketAddr, dns: &str, by_tcp: &str) -> String {
    let (ip, port, folder) = (at.ip(), at.port(), folder.display());
    format!(
        "server:\n interface: {ip}@{port}\n directory: {folder}\n chroot: \"\"\n username: \"\"\n\
         \x20use-syslog: no\n num-threads: 1\n module-config: iterator\n\
         remote-control:\n control-enable: no\n\
         forward-zone:\n name: .\n forward-addr: {dns}\n forward-tcp-upstream: {by_tcp}\n"
    )
}

fn dnsmasq(at: SocketAddr, dns: &str) -> String {
    let (ip, port) = (at.ip(), at.port());
    format!(
        "listen-address={ip}\nport={port}\nbind-interfaces\nuser=root\nlog-facility=-\nno-resolv\n\
         no-hosts\ncache-size=0\nserver={dns}\n"
    )
}

/// A running resolver on the node.
struct Resolver {
    maker: Maker,
    dns: &'static str,
    at: SocketAddr,
    _program: Program,
}

impl Resolver {
    /// Asks it for the address of a name that nobody has asked for.
    fn ask(&self, from: &Namespace, timeout: Duration) -> io::Result<Ipv4Addr> {
        static QUESTIONS: AtomicU16 = AtomicU16::new(0);
        let id = QUESTIONS.fetch_add(1, Ordering::Relaxed);
        if self.maker == Maker::Nginx {
            return tried(
                &Connection::open(from, self.at, None, timeout)?.get(&format!("/q{id}"))?,
            );
        }
        resolve(from, self.at, id, timeout)
    }

    #[track_caller]
    fn wait_until_answered(&self, from: &Namespace, server: Ipv4Addr) {
        let what = format!("{:?} has answers of {server} from {}", self.maker, self.dns);
        wait_for(&what, PATIENCE, || match self.ask(from, SHORT) {
            Ok(found) if found == server => Ok(()),
            Ok(found) => Err(format!("{found} has answered")),
            Err(error) => Err(error.to_string()),
        });
    }
}

/// What who listens for datagrams `at` some address answers to the question `id`.
fn resolve(from: &Namespace, at: SocketAddr, id: u16, timeout: Duration) -> io::Result<Ipv4Addr> {
    let client = UdpClient::connect(from, at, None, timeout)?;
    client.send(&question(id))?;
    let mut answer = [0; 512];
    let length = client.socket().recv(&mut answer)?;
    address(id, &answer[..length])
        .ok_or_else(|| io::Error::other(format!("no answer to {id}: {:02x?}", &answer[..length])))
}

/// The address that nginx has tried.
fn tried(answer: &Answer) -> io::Result<Ipv4Addr> {
    let tried = answer.headers.get("tried").and_then(|it| it.parse::<SocketAddrV4>().ok());
    tried.map(|it| *it.ip()).ok_or_else(|| io::Error::other(format!("{:?}", answer.headers)))
}

/// The question for the IPv4 address of a name that no other question has (RFC 1035 §4).
fn question(id: u16) -> Vec<u8> {
    let label = format!("q{id}");
    let length = u8::try_from(label.len()).expect("short");
    let header = [id.to_be_bytes(), [1, 0], [0, 1], [0, 0], [0, 0], [0, 0]].concat();
    let name = [&[length][..], label.as_bytes(), b"\x07example\x03org\0"].concat();
    [header, name, vec![0, 1, 0, 1]].concat()
}

/// The only address in the answer to the question `id`, which has not failed.
fn address(id: u16, answer: &[u8]) -> Option<Ipv4Addr> {
    let question = question(id);
    let (head, rest) = answer.split_at_checked(question.len())?;
    let answers = (head[3] & 0xf, [head[6], head[7]]);
    let is_ours = head[..2] == question[..2] && head[12..] == question[12..];
    // A pointer to the name, type, class, time to live and length.
    let (record, address) = (rest.get(..12)?, rest.get(12..16)?);
    let is_address = record[2..6] == [0, 1, 0, 1] && record[10..] == [0, 4];
    let address: [u8; 4] = address.try_into().ok()?;
    (is_ours && is_address && answers == (0, [0, 1])).then_some(address.into())
}

/// A backend of the DNS Service, which answers every question with `answer`, where nobody listens.
struct Server {
    answer: Ipv4Addr,
    _program: Program,
    pod: Pod,
}

impl Server {
    fn start(node: &Node, name: &str, answer: Ipv4Addr) -> Self {
        let pod = node.pod(name);
        let program = Program::start(&pod.ns, "dnsmasq", |_| {
            let everything = format!("--address=/#/{answer}");
            ["-C", "/dev/null", "-k", "-x", "", "-u", "root", "-8", "-", "-R", "-h", &everything]
                .map(str::to_owned)
                .to_vec()
        });
        program.wait_printed("started", PATIENCE);
        Self { answer, _program: program, pod }
    }
}

/// What becomes of the backend that the resolvers hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// The Service has it no more, but it goes on answering.
    Leaves,
    /// It is gone.
    Dies,
}

/// Makes `server` the only backend of the DNS Service.
fn write(cluster: &Cluster, server: &Server) {
    let dns = DNS.into_iter().fold(service("default/dns"), Service::cluster_ip);
    let dns = dns.port("udp", 53, Protocol::Udp).port("tcp", 53, Protocol::Tcp);
    let ips = [IpAddr::from(server.pod.v4), server.pod.v6.into()];
    let slices = [0, 1].map(|family| {
        let slice = slice(&format!("default/dns-{family}")).service("dns");
        let slice = slice.port("udp", 53, Protocol::Udp).port("tcp", 53, Protocol::Tcp);
        slice.endpoint(&ips[family].to_string()).object()
    });
    let [v4, v6] = slices;
    cluster.manifests.write("dns.yaml", &[dns.object(), v4, v6]);
}

/// Lets clients ask resolvers of all makers, in both families, while `loss` comes.
#[track_caller]
fn check(loss: Loss) {
    let cluster = Cluster::new(Topology::Routed, 1);
    let host = &cluster.node.ns;
    let first = Server::start(&cluster.node, "dns1", Ipv4Addr::new(127, 9, 9, 1));
    let second = Server::start(&cluster.node, "dns2", Ipv4Addr::new(127, 9, 9, 2));
    write(&cluster, &first);
    // Who connects a socket before its Service is there keeps it connected to nobody.
    for dns in DNS {
        let at = SocketAddr::new(dns.parse().unwrap(), 53);
        wait_for(&format!("{at} is served"), PATIENCE, || resolve(host, at, u16::MAX, SHORT));
    }
    let all = Maker::ALL.into_iter().flat_map(|maker| DNS.map(|dns| (maker, dns)));
    let resolvers: Vec<_> = (FIRST_PORT..)
        .zip(all)
        .map(|(port, (maker, dns))| {
            let at = SocketAddr::from(([127, 0, 0, 1], port));
            Resolver { maker, dns, at, _program: maker.start(host, at, dns) }
        })
        .collect();
    for resolver in &resolvers {
        resolver.wait_until_answered(host, first.answer);
    }
    let first = if loss == Loss::Leaves { Some(first) } else { None };
    write(&cluster, &second);
    for resolver in &resolvers {
        resolver.wait_until_answered(host, second.answer);
    }
    for _ in 0..10 {
        for resolver in &resolvers {
            let answer = resolver.ask(host, PATIENCE).unwrap();
            assert_eq!(answer, second.answer, "{:?} from {}", resolver.maker, resolver.dns);
        }
    }
    drop(first);
}

#[test]
fn resolvers_leave_a_server_that_has_left_the_service() {
    check(Loss::Leaves);
}

#[test]
fn resolvers_leave_a_server_that_has_died() {
    check(Loss::Dies);
}
