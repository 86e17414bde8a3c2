//! The steps of the story.

use std::net::{IpAddr, SocketAddr};

use super::askers::{Asker, while_asking};
use super::ingress::HOST;
use super::names::Lookup;
use super::objects::PodStatus;
use super::world::{BALANCER, CLUSTER_IPS, INGRESS_PORT, WEB_PORT, Web, World};
use super::{Row, Step};
use crate::lab::{Namespace, Pod, ROUTER_V4};

/// All of them, in their order.
pub const STEPS: [Step; 7] = [
    Step {
        title: "A pod finds the Service by its name",
        text: "The name goes to the ClusterIP of kube-dns, by UDP or TCP, and from there to dnsmasq in a pod; the\n\
               page comes from the web pod, which sees the asking pod itself.",
        play: ask_from_pods,
    },
    Step {
        title: "So does a process of a node",
        text: "Its lookups and its connection are translated when the socket is made, not packet by packet.",
        play: ask_from_nodes,
    },
    Step {
        title: "From outside: a port of every node, and the address of a load balancer",
        text: "The web pod is on node1. What comes to node2 is passed on under node2's own address, so that the\n\
               answers come back that way; all others are seen as they are.",
        play: ask_from_outside,
    },
    Step {
        title: "Through an ingress",
        text: "The NodePort of one Service leads to nginx in a pod of node2, and nginx goes to the web pod directly.",
        play: ask_through_the_ingress,
    },
    Step {
        title: "Headless and ExternalName Services are names only",
        text: "The DNS knows them, the datapath does not: whoever asks dials the pod or the outside host itself,\n\
               and `waggle services` does not list them.",
        play: ask_by_names_only,
    },
    Step {
        title: "One pod, two pods, one pod, while everybody asks all the time",
        text: "The second pod is announced when it serves; it is told to end, leaves the slices, and is gone when\n\
               nobody asks it any more. No request fails.",
        play: scale_while_asked,
    },
    Step {
        title: "The DNS loses one of its two pods",
        text: "It is gone at once, with whatever it was asked; everybody's lookups go on with the other.",
        play: lose_a_name_server,
    },
];

/// The name that the story is about.
const URL: &str = "http://web-server-service.default.svc.cluster.local/";
/// curl's arguments for a family, IPv4 first.
const FAMILIES: [&str; 2] = ["--ipv4", "--ipv6"];

fn ask_from_pods(world: &mut World) -> Vec<Row> {
    let short = "http://web-server-service/";
    let rows = shells(world).into_iter().flat_map(|(who, shell)| {
        let ask = Ask::new(who, &shell.ns, URL)
            .answered("web1")
            .seeing(&[shell.v4.into(), shell.v6.into()]);
        let [v4, v6] =
            [0, 1].map(|family| ask.clone().by(FAMILIES[family]).dials(CLUSTER_IPS[family]));
        [v4.clone(), v6, v4.clone().url(short), v4.by_tcp()]
    });
    rows.map(|ask| ask.row(world)).collect()
}

fn ask_from_nodes(world: &mut World) -> Vec<Row> {
    let rows = world.nodes.iter().flat_map(|node| {
        let ask = Ask::new(node.name.clone(), &node.ns, URL).answered("web1");
        let [v4, v6] =
            [0, 1].map(|family| ask.clone().by(FAMILIES[family]).dials(CLUSTER_IPS[family]));
        [v4.clone(), v6, v4.by_tcp()]
    });
    rows.map(|ask| ask.row(world)).collect()
}

fn ask_from_outside(world: &mut World) -> Vec<Row> {
    let ports = node_addresses(world).map(|ip| SocketAddr::new(ip, WEB_PORT));
    let balancer = BALANCER.map(|ip| SocketAddr::new(ip.parse().expect("an address"), 80));
    let rows = ports.into_iter().chain(balancer).map(|dst| {
        let ask = Ask::new("client".to_owned(), &world.client.ns, &format!("http://{dst}/"));
        ask.dials(&dst.ip().to_string()).answered("web1").row(world)
    });
    rows.collect()
}

fn ask_through_the_ingress(world: &mut World) -> Vec<Row> {
    let nginx = [world.ingress_pod.v4.into(), world.ingress_pod.v6.into()];
    let rows = node_addresses(world).map(|ip| {
        let connect = format!("{HOST}:80:{}", SocketAddr::new(ip, INGRESS_PORT));
        let ask = Ask::new("client".to_owned(), &world.client.ns, &format!("http://{HOST}/"));
        let ask = ask.by("--connect-to").by(&connect).dials(&ip.to_string());
        ask.answered("web1").seeing(&nginx).row(world)
    });
    rows.into()
}

fn ask_by_names_only(world: &mut World) -> Vec<Row> {
    let [(who, shell), _] = shells(world);
    let web = world.web.status();
    let pods =
        Ask::new(who.clone(), &shell.ns, "http://web-server-pods.default.svc.cluster.local:8080/");
    let database = Ask::new(who, &shell.ns, "http://database.default.svc.cluster.local/");
    let known = world.waggle_services();
    let mut rows = vec![
        pods.clone().by("--ipv4").dials(&web.v4.to_string()).answered("web1").row(world),
        pods.by("--ipv6").dials(&web.v6.to_string()).answered("web1").row(world),
        database.by("--ipv4").dials(&ROUTER_V4.to_string()).answered("database").row(world),
    ];
    rows.extend(["web-server-pods", "database"].map(|name| not_among(&known, name)));
    rows
}

fn not_among(known: &str, name: &str) -> Row {
    let is_known = known.contains(name) || !known.contains("web-server-service");
    Row {
        who: "waggle".to_owned(),
        asks: format!("services: {name}?"),
        reaches: "-".to_owned(),
        answer: if is_known { "known" } else { "unknown" }.to_owned(),
        detail: String::new(),
        fault: is_known.then(|| format!("{name} should be no Service of the datapath:\n{known}")),
    }
}

fn scale_while_asked(world: &mut World) -> Vec<Row> {
    let first = world.web.status();
    while_asking(&askers(world), |asking| {
        asking.settle(&["web1"]);
        let second = Web::start(&world.nodes[1], "web2");
        let status = second.status();
        world.publish(&[first.clone(), status.clone()]);
        asking.settle(&["web1", "web2"]);
        world.publish(&[first.clone(), PodStatus { is_terminating: true, ..status }]);
        asking.settle(&["web1"]);
        world.publish(&[first]);
        asking.settle(&["web1"]);
        drop(second);
        asking.settle(&["web1"]);
    })
}

/// Everybody who asks while pods come and go.
fn askers(world: &World) -> Vec<Asker<'_>> {
    let [cluster_v4, cluster_v6] = CLUSTER_IPS.map(|ip| socket(ip, 80));
    let balancer = socket(BALANCER[0], 80);
    let [(shell, first), (other, second)] = shells(world);
    let [one, two] = [&world.nodes[0], &world.nodes[1]];
    let outside = &world.client.ns;
    let asker = |who: &str, asks: &str, from, dst| {
        let (who, asks, path) = (who.to_owned(), asks.to_owned(), "/".to_owned());
        Asker { who, asks, from, dst, path, is_kept: false }
    };
    let node_port = |ip: IpAddr| SocketAddr::new(ip, WEB_PORT);
    let mut askers = vec![
        asker(&shell, "ClusterIP", &first.ns, cluster_v4),
        asker(&other, "ClusterIP", &second.ns, cluster_v6),
        asker(&one.name, "ClusterIP", &one.ns, cluster_v4),
        asker("client", "NodePort of node1", outside, node_port(one.v4.into())),
        asker("client", "NodePort of node2", outside, node_port(two.v6.into())),
        asker("client", "load balancer", outside, balancer),
    ];
    let ingress = SocketAddr::new(one.v4.into(), INGRESS_PORT);
    let path = format!("http://{HOST}/");
    askers.push(Asker { path, ..asker("client", "ingress", outside, ingress) });
    let kept = asker(&shell, "ClusterIP, one connection", &first.ns, cluster_v4);
    askers.push(Asker { is_kept: true, ..kept });
    askers
}

fn lose_a_name_server(world: &mut World) -> Vec<Row> {
    let lost = world.dns.pop();
    drop(lost.expect("there are two name servers"));
    world.publish(&[world.web.status()]);
    let pods = shells(world).map(|(who, shell)| (who, &shell.ns));
    let nodes = [0, 1].map(|number| &world.nodes[number]).map(|it| (it.name.clone(), &it.ns));
    let asks = pods.into_iter().chain(nodes).flat_map(|(who, from)| {
        let ask = Ask::new(who, from, URL).by("--ipv4").dials(CLUSTER_IPS[0]).answered("web1");
        [ask.clone(), ask.clone(), ask.by_tcp()]
    });
    asks.map(|ask| ask.row(world)).collect()
}

/// The pods that ask, with their names for people.
fn shells(world: &World) -> [(String, &Pod); 2] {
    [0, 1].map(|number| (format!("pod of {}", world.nodes[number].name), &world.shells[number]))
}

fn node_addresses(world: &World) -> [IpAddr; 4] {
    let [one, two] = &world.nodes;
    [one.v4.into(), one.v6.into(), two.v4.into(), two.v6.into()]
}

fn socket(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), port)
}

/// A request by curl, and what has to come of it.
#[derive(Clone, Debug)]
struct Ask<'a> {
    who: String,
    from: &'a Namespace,
    url: String,
    lookup: Lookup,
    arguments: Vec<String>,
    dials: String,
    answered: &'static str,
    seeing: Vec<IpAddr>,
}

impl<'a> Ask<'a> {
    fn new(who: String, from: &'a Namespace, url: &str) -> Self {
        Self {
            who,
            from,
            url: url.to_owned(),
            lookup: Lookup::Udp,
            arguments: Vec::new(),
            dials: String::new(),
            answered: "",
            seeing: Vec::new(),
        }
    }

    fn url(self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self }
    }

    fn by_tcp(self) -> Self {
        Self { lookup: Lookup::Tcp, ..self }
    }

    /// With one more argument.
    fn by(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// It must dial this address.
    fn dials(self, ip: &str) -> Self {
        Self { dials: ip.to_owned(), ..self }
    }

    /// This server must answer.
    fn answered(self, answered: &'static str) -> Self {
        Self { answered, ..self }
    }

    /// The server must see one of these.
    fn seeing(self, ips: &[IpAddr]) -> Self {
        Self { seeing: ips.to_vec(), ..self }
    }

    fn row(self, world: &World) -> Row {
        let arguments: Vec<_> = self.arguments.iter().map(String::as_str).collect();
        let page = world.names.curl(self.from, self.lookup, &self.url, &arguments);
        let note = if matches!(self.lookup, Lookup::Tcp) { ", name by TCP" } else { "" };
        let (reaches, answer, detail, is_right) = match page {
            Ok(page) => {
                let is_seen = self.seeing.is_empty() || self.seeing.contains(&page.seen);
                let dialled = page.dialled.to_string();
                let is_right = is_seen && dialled == self.dials && page.name == self.answered;
                (dialled, page.name, format!("sees {}", page.seen), is_right)
            }
            Err(error) => ("-".to_owned(), "none".to_owned(), error, false),
        };
        let Self { who, url, dials, answered, seeing, .. } = self;
        let asks = format!("{url}{note}");
        let fault = (!is_right).then(|| {
            format!(
                "{who} asks {asks}: {reaches} was dialled, {answer} answered and {detail}; it should \
                 have been {dials}, {answered} and one of {seeing:?}"
            )
        });
        Row { who, asks, reaches, answer, detail, fault }
    }
}
