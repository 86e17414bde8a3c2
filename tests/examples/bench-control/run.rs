//! One size: an agent is started on a node without pins, and again with those of the first.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_tests::apiserver::ApiServer;
use lb_tests::lab::{Agent, Bpffs, Lab, Node, Topology, let_pass};
use lb_tests::traffic::Connection;

use crate::Size;
use crate::cluster;
use crate::process::{Memory, cpu_time};

/// How long a start may take.
const PATIENCE: Duration = Duration::from_mins(5);
/// How long the agent's idling is watched.
const WINDOW: Duration = Duration::from_secs(10);
/// How often it looks at the maps in that time, when it is to.
const LOOKS: u32 = 10;

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) size: Size,
    /// From the start until everything is in the maps.
    pub(crate) cold: Duration,
    /// The same, with maps that are filled.
    pub(crate) warm: Duration,
    /// A while after the first start.
    pub(crate) memory: Memory,
    /// After the second, and some looks.
    pub(crate) later: Memory,
    /// CPU time of one look at everything.
    pub(crate) look: Duration,
}

/// Measures it.
pub(crate) fn run(size: Size) -> Result<Row> {
    let (lab, bpffs) = (Lab::new(), Bpffs::new());
    let node = lab.node(Topology::Routed);
    let server = cluster::serve(&lab, &node, size);
    let start = |interval: &str| {
        let begun = Instant::now();
        let mut agent = start_agent(&node, &server, &bpffs, interval);
        agent.wait_ready("all is written", PATIENCE, || has_written(&node, size));
        (agent, begun.elapsed())
    };
    let (agent, cold) = start("1h");
    let idle = cpu_in_window(&agent)?;
    let memory = Memory::of(agent.pid())?;
    drop(agent);
    let interval = WINDOW / LOOKS;
    let (agent, warm) = start(&format!("{}ms", interval.as_millis()));
    let looking = cpu_in_window(&agent)?;
    let later = Memory::of(agent.pid())?;
    Ok(Row { size, cold, warm, memory, later, look: looking.saturating_sub(idle) / LOOKS })
}

fn start_agent(node: &Node, server: &ApiServer, bpffs: &Bpffs, interval: &str) -> Agent {
    let arguments = [
        "run".as_ref(),
        "--kubeconfig".as_ref(),
        server.kubeconfig().as_os_str(),
        "--node-name".as_ref(),
        node.name.as_ref(),
        "--bpffs".as_ref(),
        bpffs.path().as_os_str(),
        "--drift-interval".as_ref(),
        interval.as_ref(),
    ];
    Agent::start(&node.ns, arguments)
}

fn cpu_in_window(agent: &Agent) -> Result<Duration> {
    let before = cpu_time(agent.pid())?;
    let_pass(WINDOW);
    Ok(cpu_time(agent.pid())?.saturating_sub(before))
}

/// Whether the agent says so in its metrics. Until a first pass is done it shows what it has found.
fn has_written(node: &Node, size: Size) -> Result<()> {
    let address = ([127, 0, 0, 1], 10249).into();
    let mut connection = Connection::open(&node.ns, address, None, PATIENCE)?;
    let text = String::from_utf8(connection.get("/metrics")?.body)?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse::<u32>().ok()).with_context(|| format!("find {name}"))
    };
    let passes = value("waggle_reconcile_passes_total{result=\"done\"}")?;
    let written = value("waggle_services")?;
    ensure!(passes > 0 && written >= size.services, "{written} are written after {passes} passes");
    Ok(())
}
