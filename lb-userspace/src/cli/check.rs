//! `waggle check`: is this node ready for the agent?
//!
//! Each question is judged by a pure function of what was found; only [`run`] looks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use tokio::time::timeout;

use super::output::{self, Format};
use super::{Global, runtime};
use crate::datapath::attach::supports_tcx;
use crate::datapath::{bpffs, cgroup};
use crate::kube_proxy::{self, Leftovers, daemon_set};
use crate::sources::kube::client;
use crate::sources::watches::Watches;

pub(super) const HELP: &str = "\
Exits with 1 if a row says `fail`. A `warn` leaves something out, or asks for a decision.";

/// Flags of `waggle check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Also look for kube-proxy's `DaemonSet` in the cluster that this file names
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// How long the API server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The oldest kernel on which the programs are known to load.
const OLDEST_KERNEL: (u32, u32) = (5, 15);
/// The oldest that lets programs at sockets say why a call fails (`bpf_set_retval`).
const OLDEST_FOR_SOCKETS: (u32, u32) = (5, 18);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warn,
    Fail,
}

/// The answer to one question.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    check: &'static str,
    status: Status,
    found: String,
    /// What to do about it; empty if nothing.
    advice: String,
}

impl Row {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, status: Status::Ok, found: found.into(), advice: String::new() }
    }

    fn warn(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, status: Status::Warn, found: found.into(), advice: advice.into() }
    }

    fn fail(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, status: Status::Fail, found: found.into(), advice: advice.into() }
    }
}

pub(super) fn run(global: &Global, args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut rows = vec![
        kernel(read("/proc/sys/kernel/osrelease").trim()),
        btf(Path::new("/sys/kernel/btf/vmlinux").exists()),
        capabilities(&read("/proc/self/status")),
        bpf_file_system(&global.bpffs, bpffs::is_bpffs(&global.bpffs).unwrap_or(false)),
        sockets(cgroup::root(), read("/proc/sys/kernel/osrelease").trim()),
        tcx(supports_tcx()),
        process(&running("kube-proxy")),
        leftovers(Leftovers::find(), kube_proxy::has_legacy_rules()),
    ];
    if let Some(kubeconfig) = &args.kubeconfig {
        rows.push(wanted(runtime()?.block_on(nodes(kubeconfig))));
    }
    match global.output {
        Format::Json => output::json(&rows)?,
        Format::Table => output::text(&table(&rows))?,
    }
    let failed = rows.iter().any(|row| row.status == Status::Fail);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn table(rows: &[Row]) -> String {
    let cells = |row: &Row| {
        let status = match row.status {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "fail",
        };
        [row.check.to_owned(), status.to_owned(), row.found.clone(), row.advice.clone()]
    };
    output::table(["CHECK", "STATUS", "FOUND", "WHAT TO DO"], rows.iter().map(cells).collect())
}

fn kernel(release: &str) -> Row {
    match version(release) {
        None => Row::warn("kernel", release, "cannot read its version; 5.15 or later is needed"),
        Some(version) if version < OLDEST_KERNEL => {
            Row::fail("kernel", release, "upgrade to 5.15 or later")
        }
        Some(_) => Row::ok("kernel", release),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn btf(present: bool) -> Row {
    if present {
        Row::ok("btf", "/sys/kernel/btf/vmlinux")
    } else {
        Row::fail("btf", "none", "use a kernel with CONFIG_DEBUG_INFO_BTF=y")
    }
}

/// Numbers of `capabilities(7)`.
const CAPABILITIES: [(&str, u32); 4] =
    [("CAP_NET_ADMIN", 12), ("CAP_SYS_ADMIN", 21), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];

fn capabilities(status: &str) -> Row {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    let held: Vec<&str> = CAPABILITIES
        .iter()
        .filter(|(_, bit)| effective & (1 << bit) != 0)
        .map(|(name, _)| *name)
        .collect();
    let has = |name| held.contains(&name);
    let enough =
        has("CAP_NET_ADMIN") && (has("CAP_SYS_ADMIN") || has("CAP_BPF") && has("CAP_PERFMON"));
    let found = if held.is_empty() { "none".to_owned() } else { held.join(", ") };
    if enough {
        Row::ok("capabilities", found)
    } else {
        let advice = "run as root, or add CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON";
        Row::fail("capabilities", found, advice)
    }
}

fn bpf_file_system(dir: &Path, mounted: bool) -> Row {
    if mounted {
        return Row::ok("bpffs", dir.display().to_string());
    }
    let advice = format!(
        "the agent mounts it if it may; in a pod mount the host's {} with mountPropagation, or \
         its pins end with the pod",
        dir.display()
    );
    Row::warn("bpffs", "not mounted", advice)
}

/// Whether processes of the node reach Services: the root of the cgroups is there, and the kernel can.
fn sockets(root: anyhow::Result<PathBuf>, release: &str) -> Row {
    const WITHOUT: &str = "else processes of this node do not reach Services";
    match root {
        Err(error) => Row::warn("sockets", "no root of cgroups", format!("{error:#}; {WITHOUT}")),
        Ok(_) if version(release).is_some_and(|version| version < OLDEST_FOR_SOCKETS) => {
            let advice = format!("upgrade to 5.18 or later; {WITHOUT}");
            Row::warn("sockets", format!("kernel {release}"), advice)
        }
        Ok(root) => Row::ok("sockets", root.display().to_string()),
    }
}

fn tcx(supported: anyhow::Result<bool>) -> Row {
    match supported {
        Ok(true) => Row::ok("tcx", "supported"),
        Ok(false) => Row::warn("tcx", "not supported", "clsact is used instead; 6.6 brings tcx"),
        Err(error) => Row::warn("tcx", format!("unknown: {error:#}"), "run the check as root"),
    }
}

fn process(pids: &[u32]) -> Row {
    if pids.is_empty() {
        return Row::ok("kube-proxy", "not running");
    }
    let pids = pids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let advice = "stop it when the agent runs, then remove its rules: \
                  waggle migrate --cleanup-kube-proxy";
    Row::warn("kube-proxy", format!("running: pid {pids}"), advice)
}

/// What kube-proxy has written, whether or not it can be seen to run: in a pod only the pod's processes
/// can.
fn leftovers(found: anyhow::Result<Leftovers>, legacy: bool) -> Row {
    const CHECK: &str = "kube-proxy rules";
    match found {
        Err(error) => Row::warn(CHECK, format!("unknown: {error:#}"), "run the check as root"),
        Ok(found) if !found.is_empty() => {
            let advice = "the agent leaves connections to them that are there already; when \
                          kube-proxy is stopped, remove them: waggle migrate --cleanup-kube-proxy";
            Row::warn(CHECK, summary(&found), advice)
        }
        Ok(_) if legacy => {
            let advice = "its rules cannot be read here: if kube-proxy used it, run the agent with \
                          --takeover=on, then kube-proxy --cleanup";
            Row::warn(CHECK, "iptables-legacy has a table nat", advice)
        }
        Ok(_) => Row::ok(CHECK, "none"),
    }
}

fn summary(found: &Leftovers) -> String {
    let Leftovers { tables, chains, jumps, sets, interface } = found;
    let counts = [
        (jumps.len() + chains.len(), "rules and chains of iptables"),
        (tables.len(), "tables of nftables"),
        (sets.len(), "IP sets"),
        (usize::from(*interface), "interface kube-ipvs0"),
    ];
    let there = counts.iter().filter(|(count, _)| *count > 0);
    there.map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}

/// On how many nodes the cluster wants kube-proxy.
async fn nodes(kubeconfig: &Path) -> anyhow::Result<Option<i32>> {
    let client = client(Some(kubeconfig), None, None, Arc::new(drop), &Watches::default()).await?;
    let asked = timeout(PATIENCE, daemon_set::nodes(client)).await;
    asked.context("the API server does not answer")?
}

/// Whether the cluster brings kube-proxy back to this node and others.
fn wanted(nodes: anyhow::Result<Option<i32>>) -> Row {
    const CHECK: &str = "kube-proxy DaemonSet";
    match nodes {
        Err(error) => {
            let advice = "give --kubeconfig a file that may read DaemonSets in kube-system";
            Row::warn(CHECK, format!("unknown: {error:#}"), advice)
        }
        Ok(None) => Row::ok(CHECK, "none"),
        Ok(Some(0)) => Row::ok(CHECK, "nodes: 0"),
        Ok(Some(nodes)) => {
            let advice = "when the agent runs there, take it from the nodes by a nodeSelector; \
                          at last: kubectl -n kube-system delete daemonset kube-proxy";
            Row::warn(CHECK, format!("nodes: {nodes}"), advice)
        }
    }
}

fn running(name: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(row: &Row, status: Status, found: &str) {
        assert_eq!((row.status, row.found.as_str()), (status, found));
        assert_eq!(row.advice.is_empty(), status == Status::Ok, "{row:?}");
    }

    #[test]
    fn kernels_from_5_15_on_are_fine() {
        check(&kernel("6.18.0-generic"), Status::Ok, "6.18.0-generic");
        check(&kernel("5.15.0"), Status::Ok, "5.15.0");
        check(&kernel("5.14.21+rpi"), Status::Fail, "5.14.21+rpi");
        check(&kernel("4.19.0"), Status::Fail, "4.19.0");
        check(&kernel("10.0-rc1"), Status::Ok, "10.0-rc1");
        check(&kernel("unknown"), Status::Warn, "unknown");
    }

    #[test]
    fn capabilities_are_enough_with_sys_admin_or_with_bpf_and_perfmon() {
        let held = |mask: u64| capabilities(&format!("Name:\tx\nCapEff:\t{mask:016x}\n"));
        let (net, sys, perf, bpf) = (1 << 12, 1 << 21, 1 << 38, 1 << 39);
        check(&held(net | sys), Status::Ok, "CAP_NET_ADMIN, CAP_SYS_ADMIN");
        check(&held(net | bpf | perf), Status::Ok, "CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF");
        check(&held(net | bpf), Status::Fail, "CAP_NET_ADMIN, CAP_BPF");
        check(&held(sys), Status::Fail, "CAP_SYS_ADMIN");
        check(&capabilities(""), Status::Fail, "none");
    }

    #[test]
    fn sockets_need_the_root_of_the_cgroups_and_a_kernel_that_says_why_calls_fail() {
        let root = || Ok(PathBuf::from("/sys/fs/cgroup"));
        check(&sockets(root(), "6.1.0"), Status::Ok, "/sys/fs/cgroup");
        check(&sockets(root(), "5.18.0"), Status::Ok, "/sys/fs/cgroup");
        check(&sockets(root(), "5.17.9"), Status::Warn, "kernel 5.17.9");
        let nothing = anyhow::anyhow!("no cgroup2 is mounted");
        check(&sockets(Err(nothing), "6.1.0"), Status::Warn, "no root of cgroups");
    }

    #[test]
    fn what_is_missing_but_not_fatal_is_a_warning() {
        check(&tcx(Ok(true)), Status::Ok, "supported");
        check(&tcx(Ok(false)), Status::Warn, "not supported");
        check(&tcx(Err(anyhow::anyhow!("denied"))), Status::Warn, "unknown: denied");
        check(&bpf_file_system(Path::new("/bpf"), false), Status::Warn, "not mounted");
        check(&process(&[7, 8]), Status::Warn, "running: pid 7, 8");
        check(&process(&[]), Status::Ok, "not running");
        check(&btf(false), Status::Fail, "none");
    }

    #[test]
    fn rules_of_kube_proxy_are_counted_and_those_that_cannot_be_read_are_told() {
        let found = |sets: &[&str], interface| {
            let sets = sets.iter().map(|set| (*set).to_owned()).collect();
            Ok(Leftovers { sets, interface, ..Leftovers::default() })
        };
        check(&leftovers(found(&[], false), false), Status::Ok, "none");
        check(&leftovers(found(&[], false), true), Status::Warn, "iptables-legacy has a table nat");
        let all = "2 IP sets, 1 interface kube-ipvs0";
        check(&leftovers(found(&["a", "b"], true), true), Status::Warn, all);
        check(&leftovers(Err(anyhow::anyhow!("no")), false), Status::Warn, "unknown: no");
    }

    #[test]
    fn kube_proxy_is_wanted_where_its_daemon_set_has_nodes() {
        check(&wanted(Ok(None)), Status::Ok, "none");
        check(&wanted(Ok(Some(0))), Status::Ok, "nodes: 0");
        check(&wanted(Ok(Some(3))), Status::Warn, "nodes: 3");
        check(&wanted(Err(anyhow::anyhow!("no"))), Status::Warn, "unknown: no");
    }

    #[test]
    fn the_json_form_names_its_fields() {
        let row = serde_json::to_value(btf(true)).unwrap();
        assert_eq!(row["status"], "ok");
        assert_eq!(row["check"], "btf");
    }
}
