//! A node, an API server that it reaches, and a running agent.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use lb_tests::apiserver::{ApiServer, Trouble};
use lb_tests::lab::{
    self, Agent, Bpffs, Lab, Node, ROUTER_V4, Topology, temporary_directory, wait_until,
};
use lb_tests::objects::{self, Protocol::Tcp, Service, Slice, service, slice};
use lb_tests::traffic::Connection;
use lb_userspace::datapath::pins::Pins;
use lb_userspace::maps::ReadBack as _;
use lb_userspace::maps::dump::{Dump, Ids};
use lb_userspace::maps::kernel::KernelMaps;
use serde_json::Value;
use tempfile::TempDir;

use crate::view::{ids, view};

/// How long anything may take before a test gives up: the pause between two tries of a watch grows
/// to half a minute.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Where the API server is by its own Service.
pub(crate) const IN_CLUSTER: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1)), 443);

/// The world that the agent's tests start from. Fields are dropped in their order: the agent goes
/// before the namespaces it is in.
pub(crate) struct World {
    pub(crate) agent: Agent,
    pub(crate) server: Option<ApiServer>,
    pub(crate) node: Node,
    bpffs: Bpffs,
    lab: Lab,
    _files: TempDir,
}

impl World {
    /// The cluster has one node and no service; the agent has just been started.
    pub(crate) fn new() -> Self {
        Self::with_server(|lab| {
            let server = serve(lab);
            Some(server)
        })
    }

    /// As [`Self::new`], with `default/web` served by [`endpoints`] `[2, 3]`, and in the maps.
    pub(crate) fn with_web() -> Self {
        let mut world = Self::new();
        world.server().apply(&web());
        world.server().apply(&endpoints(&[2, 3]));
        world.until_maps_are(&web_served_by(&[2, 3]));
        world
    }

    /// As [`Self::new`], with more flags for the agent.
    pub(crate) fn with_flags(flags: &[&str]) -> Self {
        Self::build(|lab| Some(serve(lab)), flags)
    }

    /// The API server is not up yet.
    pub(crate) fn without_server() -> Self {
        Self::with_server(|_| None)
    }

    /// Another lab with the same node and the same cluster, whose agent starts only now.
    pub(crate) fn beside(other: &Self) -> Self {
        Self::with_server(|lab| Some(other.server().also_in(&lab.router, address())))
    }

    /// As [`Self::new`], with the agent in a Pod, whose environment has the API server at
    /// [`IN_CLUSTER`]; `kubeconfig` in its working directory says where it is.
    pub(crate) fn in_a_pod(flags: &[&str]) -> Self {
        let start = |node: &Node, bpffs: &Bpffs, files: &Path| {
            let script = pod_script(node, bpffs, files, flags);
            Agent::start_program(&node.ns, "unshare", ["--mount", "sh", "-c", &script])
        };
        Self::start(|lab| Some(serve(lab)), start)
    }

    fn with_server(server: impl FnOnce(&Lab) -> Option<ApiServer>) -> Self {
        Self::build(server, &[])
    }

    fn build(server: impl FnOnce(&Lab) -> Option<ApiServer>, flags: &[&str]) -> Self {
        Self::start(server, |node, bpffs, files| {
            let source = ["--kubeconfig".into(), files.join("kubeconfig").into()];
            let flags = source.into_iter().chain(flags.iter().map(OsString::from));
            Agent::start(&node.ns, arguments(flags, node, bpffs))
        })
    }

    fn start(
        server: impl FnOnce(&Lab) -> Option<ApiServer>,
        agent: impl FnOnce(&Node, &Bpffs, &Path) -> Agent,
    ) -> Self {
        let lab = Lab::new();
        let node = lab.node(Topology::Routed);
        let (bpffs, files) = (Bpffs::new(), temporary_directory("agent"));
        let server = server(&lab);
        if let Some(server) = &server {
            server.apply(&objects::Node::from(&node));
        }
        write_kubeconfig(&files.path().join("kubeconfig"));
        let agent = agent(&node, &bpffs, files.path());
        Self { agent, server, node, bpffs, lab, _files: files }
    }

    /// The API server comes up, or comes back without any memory.
    pub(crate) fn start_server(&mut self) {
        let server = serve(&self.lab);
        server.apply(&objects::Node::from(&self.node));
        self.server = Some(server);
    }

    /// As [`Self::start_server`], with one of a time before `ServiceCIDRs`.
    pub(crate) fn start_old_server(&mut self) {
        let server = serve(&self.lab);
        server.lack("servicecidrs");
        server.apply(&objects::Node::from(&self.node));
        self.server = Some(server);
    }

    #[track_caller]
    pub(crate) fn server(&self) -> &ApiServer {
        self.server.as_ref().expect("the API server is up")
    }

    /// Sends an object over HTTP from the node; panics unless the answer is `expected`.
    #[track_caller]
    pub(crate) fn send(&self, method: &str, path: &str, object: &Value, expected: u16) {
        let mut connection =
            Connection::open(&self.node.ns, self.server().address(), None, PATIENCE).unwrap();
        let answer = connection.send_json(method, path, object).unwrap();
        let body = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, expected, "{method} {path}: {body}");
    }

    /// `waggle dump` as JSON; an error until there is something to dump.
    pub(crate) fn dump(&self) -> Result<Value, String> {
        let bpffs = self.bpffs.path().to_str().unwrap();
        let output = lab::waggle(&self.node.ns, &["dump", "-o", "json", "--bpffs", bpffs]);
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
    }

    /// Everything the agent wrote, as text without ids, but for the link-local addresses, which are
    /// others in every lab; an error until there is something.
    pub(crate) fn masked(&self) -> Result<String, String> {
        masked(self.bpffs.path())
    }

    /// Waits until the agent has seen the marker of this number in both watches.
    #[track_caller]
    pub(crate) fn until_marked(&mut self, number: u8) {
        let marks = [format!(" 10.96.255.{number}:9/UDP "), format!(" 10.1.255.{number}:9 ")];
        let bpffs = self.bpffs.path();
        self.agent.wait_ready(&format!("the maps hold {marks:?}"), PATIENCE, || {
            let text = masked(bpffs)?;
            if marks.iter().all(|mark| text.contains(mark)) { Ok(()) } else { Err(text) }
        });
    }

    pub(crate) fn maps(&self) -> String {
        view(&self.dump().unwrap())
    }

    pub(crate) fn ids(&self) -> std::collections::BTreeMap<String, u64> {
        ids(&self.dump().unwrap())
    }

    /// Waits until the maps are as expected, and tells how long that took.
    #[track_caller]
    pub(crate) fn until_maps_are(&mut self, expected: &str) {
        let started = Instant::now();
        let expected = lines(expected);
        let (bpffs, node) = (self.bpffs.path().to_str().unwrap().to_owned(), &self.node.ns);
        self.agent.wait_ready(&format!("the maps are\n{expected}\n"), PATIENCE, || {
            let output = lab::waggle(node, &["dump", "-o", "json", "--bpffs", &bpffs]);
            let dump = serde_json::from_slice(&output.stdout)
                .map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())?;
            let found = view(&dump);
            if found == expected { Ok(()) } else { Err(format!("they are\n{found}")) }
        });
        eprintln!("the maps were right after {} ms", started.elapsed().as_millis());
    }

    #[track_caller]
    pub(crate) fn assert_maps_are(&self, expected: &str) {
        assert_eq!(self.maps(), lines(expected));
    }

    /// Waits until the agent has asked the server `count` more times for a path that contains `what`.
    #[track_caller]
    pub(crate) fn until_asked(&self, what: &str, count: usize) {
        let asked = || self.server().requests().iter().filter(|line| line.contains(what)).count();
        let before = asked();
        wait_until("the agent has asked again", PATIENCE, || asked() >= before + count);
    }

    /// Waits until all watches run: Services, EndpointSlices, Nodes, `ServiceCIDRs`.
    #[track_caller]
    pub(crate) fn until_watching(&self) {
        self.until_watches(4);
    }

    /// Waits until so many watches run.
    #[track_caller]
    pub(crate) fn until_watches(&self, count: usize) {
        wait_until(&format!("{count} watches run"), PATIENCE, || self.server().watches() == count);
    }

    /// Where the agent pins its maps.
    pub(crate) fn pins(&self) -> Pins {
        Pins::new(self.bpffs.path())
    }

    /// The lines of the agent's metrics that begin with `name`.
    #[track_caller]
    pub(crate) fn metrics(&self, name: &str) -> Vec<String> {
        self.try_metrics(name).unwrap()
    }

    /// As [`Self::metrics`]; an error while the agent serves none.
    pub(crate) fn try_metrics(&self, name: &str) -> io::Result<Vec<String>> {
        let address = SocketAddr::from(([127, 0, 0, 1], 10_249));
        let mut connection = Connection::open(&self.node.ns, address, None, PATIENCE)?;
        let answer = connection.get("/metrics")?;
        assert_eq!(answer.status, 200);
        let text = String::from_utf8(answer.body).unwrap();
        Ok(text.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect())
    }

    /// Ends all watches; those that come after them meet the trouble.
    #[track_caller]
    pub(crate) fn disconnect_into(&self, trouble: Trouble) {
        self.until_watching();
        self.server().trouble(trouble);
        self.server().disconnect_watches();
        wait_until("no watch runs", PATIENCE, || self.server().watches() == 0);
    }
}

fn masked(bpffs: &Path) -> Result<String, String> {
    let maps = KernelMaps::from_pins(&Pins::new(bpffs).maps());
    let snapshot = maps.and_then(|maps| maps.snapshot()).map_err(|error| error.to_string())?;
    let text = Dump::new(&snapshot).text(Ids::Masked);
    let lines = text.split_inclusive('\n');
    Ok(lines.filter(|line| !line.starts_with("CLIENTS_V6 fe80:")).collect())
}

/// The service `default/web` without its endpoints.
pub(crate) fn web() -> Service {
    service("default/web").cluster_ip("10.96.0.10").port("http", 80, Tcp)
}

/// Another service, `default/NAME`, at 10.96.1.`number`.
pub(crate) fn other(name: &str, number: u8) -> Service {
    let name = format!("default/{name}");
    service(&name).cluster_ip(&format!("10.96.1.{number}")).port("", 53, Tcp)
}

/// The slice `default/web-1` of `default/web` with the endpoints 10.1.0.*n*:8080.
pub(crate) fn endpoints(numbers: &[u8]) -> Slice {
    let slice = slice("default/web-1").service("web").port("http", 8080, Tcp);
    numbers.iter().fold(slice, |slice, n| slice.endpoint(&format!("10.1.0.{n}")))
}

/// The line of `default/web` with its endpoints 10.1.0.*n*.
pub(crate) fn web_served_by(numbers: &[u8]) -> String {
    let backends: Vec<_> = numbers.iter().map(|n| format!("10.1.0.{n}:8080")).collect();
    format!("10.96.0.10:80/TCP default/web:http/TCP: {}", backends.join(" ")).trim().to_owned()
}

/// Every line trimmed, empty ones left out, sorted.
fn lines(text: &str) -> String {
    let mut lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// Where the API server is.
pub(crate) fn address() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(ROUTER_V4), 6443)
}

fn serve(lab: &Lab) -> ApiServer {
    ApiServer::start_in(&lab.router, address())
}

/// One that is there before the server is.
fn write_kubeconfig(path: &Path) {
    let text = format!(
        "apiVersion: v1
kind: Config
clusters: [{{name: lab, cluster: {{server: 'http://{}'}}}}]
users: [{{name: agent, user: {{}}}}]
contexts: [{{name: lab, context: {{cluster: lab, user: agent}}}}]
current-context: lab
",
        address()
    );
    std::fs::write(path, text).unwrap();
}

/// `run` with these flags and those of every agent here.
fn arguments(
    flags: impl IntoIterator<Item = OsString>,
    node: &Node,
    bpffs: &Bpffs,
) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["run".into()];
    arguments.extend(flags);
    arguments.extend(["--node-name".into(), node.name.clone().into()]);
    arguments.extend(["--bpffs".into(), bpffs.path().as_os_str().to_owned()]);
    // Small maps: they are made, dumped and unmade many times.
    let sizes =
        ["--max-services=256", "--max-slots=1024", "--max-backends=256", "--max-flows=1024"];
    arguments.extend(sizes.map(OsString::from));
    arguments
}

/// A shell's way into a Pod with a service account, where the agent is started in `files`.
fn pod_script(node: &Node, bpffs: &Bpffs, files: &Path, flags: &[&str]) -> String {
    let cgroup = node.ns.cgroup().expect("a node has a cgroup").path().display();
    let flags = flags.iter().map(OsString::from).chain(["--cgroup-root".into()]);
    let arguments = arguments(flags.chain([cgroup.to_string().into()]), node, bpffs);
    let arguments: Vec<_> = arguments.iter().map(|it| it.to_string_lossy()).collect();
    let (agent, account) = (lab::agent_binary(), "/run/secrets/kubernetes.io/serviceaccount");
    let ca = concat!(env!("CARGO_MANIFEST_DIR"), "/api/ca.crt");
    format!(
        "mount -t tmpfs tmpfs /run
         mkdir -p {account}; cd {account}
         printf lab > token; printf default > namespace; cp {ca} ca.crt
         cd {}
         export KUBERNETES_SERVICE_HOST={} KUBERNETES_SERVICE_PORT={} HOME=/nonexistent
         exec {} {}",
        files.display(),
        IN_CLUSTER.ip(),
        IN_CLUSTER.port(),
        agent.display(),
        arguments.join(" "),
    )
}
