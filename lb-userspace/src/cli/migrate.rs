//! `waggle migrate`: removes what kube-proxy has left on this node.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::output::{self, Format};
use super::{Global, runtime};
use crate::kube_proxy::{self, Leftovers};

pub(super) const HELP: &str = "\
Without --yes it only tells what it would remove. Stop kube-proxy first: one that runs writes again.
What `kube-proxy --cleanup` removes goes, and nothing else: its chains and jumps of iptables over
nf_tables, its nftables tables, its IP sets and the interface kube-ipvs0. Connections that its rules have
translated may end. Rules of iptables-legacy and virtual servers of IPVS need a program of the host:
`kube-proxy --cleanup` removes them, `ipvsadm --clear` the latter.";

/// Flags of `waggle migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// Remove kube-proxy's rules of all its modes
    #[arg(long, required = true)]
    cleanup_kube_proxy: bool,
    /// Do it, instead of telling what would be done
    #[arg(long, alias = "apply", requires = "cleanup_kube_proxy")]
    yes: bool,
}

/// What was found, and what became of it.
#[derive(Debug, Serialize)]
struct Report {
    removed: bool,
    /// Whether iptables-legacy has rules as well, whosever they are.
    legacy: bool,
    #[serde(flatten)]
    found: Leftovers,
}

pub(super) fn run(global: &Global, args: &MigrateArgs) -> anyhow::Result<ExitCode> {
    let found = Leftovers::find()?;
    if args.yes {
        runtime()?.block_on(found.remove())?;
    }
    let report = Report { removed: args.yes, legacy: kube_proxy::has_legacy_rules(), found };
    match global.output {
        Format::Json => output::json(&report)?,
        Format::Table => output::text(&report.text())?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Report {
    fn text(&self) -> String {
        let verb = if self.removed { "removed" } else { "would remove" };
        let mut lines: Vec<_> =
            self.found.lines().iter().map(|line| format!("{verb} {line}")).collect();
        if lines.is_empty() {
            lines.push("nothing of kube-proxy was found".to_owned());
        } else if !self.removed {
            lines.push("nothing was removed; add --yes to do it".to_owned());
        }
        if self.found.interface {
            lines.push("virtual servers of IPVS stay: remove them with ipvsadm --clear".to_owned());
        }
        if self.legacy {
            lines.push(
                "iptables-legacy has a table nat, which cannot be read here: if kube-proxy used it, \
                 run kube-proxy --cleanup"
                    .to_owned(),
            );
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(report: &Report, expected: &[&str]) {
        assert_eq!(report.text().lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_would_be_done_is_told_and_then_what_was() {
        let nothing = Report { removed: false, legacy: false, found: Leftovers::default() };
        check(&nothing, &["nothing of kube-proxy was found"]);
        let found = Leftovers { sets: vec!["KUBE-CLUSTER-IP".to_owned()], ..Leftovers::default() };
        let told = Report { found: found.clone(), ..nothing };
        check(
            &told,
            &["would remove IP set KUBE-CLUSTER-IP", "nothing was removed; add --yes to do it"],
        );
        check(&Report { removed: true, ..told }, &["removed IP set KUBE-CLUSTER-IP"]);
    }

    #[test]
    fn what_cannot_be_removed_is_told() {
        let found = Leftovers { interface: true, ..Leftovers::default() };
        let report = Report { removed: true, legacy: true, found };
        check(
            &report,
            &[
                "removed interface kube-ipvs0",
                "virtual servers of IPVS stay: remove them with ipvsadm --clear",
                "iptables-legacy has a table nat, which cannot be read here: if kube-proxy used it, \
                 run kube-proxy --cleanup",
            ],
        );
    }
}
