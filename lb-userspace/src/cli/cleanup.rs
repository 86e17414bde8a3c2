//! `waggle cleanup`.

use std::process::ExitCode;

use super::output::{self, Format};
use super::{Global, runtime};
use crate::datapath::cleanup::{Removed, cleanup};

pub(super) const HELP: &str = "\
Stop the agent first: while one runs, nothing is taken down.
Connections through Services end, unless kube-proxy or another agent takes over.
Running it twice does no harm.";

pub(super) fn run(global: &Global) -> anyhow::Result<ExitCode> {
    let removed = runtime()?.block_on(cleanup(&global.bpffs, &global.sysctls))?;
    match global.output {
        Format::Json => output::json(&removed)?,
        Format::Table => output::text(&describe(&removed))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(removed: &Removed) -> String {
    if removed.is_empty() {
        return "nothing of ours was there".to_owned();
    }
    let interfaces = removed.interfaces.iter().map(|(ifindex, count)| {
        format!("removed {count} programs from the interface with ifindex {ifindex}")
    });
    let pins = removed.pins.iter().map(|pin| format!("removed {}", pin.display()));
    let ports = Some(&removed.ports).filter(|ports| !ports.is_empty());
    let ports = ports.map(|ports| format!("ports {ports} are no longer reserved"));
    let sockets = (removed.sockets > 0)
        .then(|| format!("removed {} programs from the cgroups of sockets", removed.sockets));
    interfaces.chain(sockets).chain(ports).chain(pins).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_was_removed_is_named() {
        assert_eq!(describe(&Removed::default()), "nothing of ours was there");
        let removed = Removed {
            interfaces: vec![(3, 2)],
            sockets: 9,
            ports: "50000-60999".into(),
            pins: vec!["/bpf/waggle".into()],
        };
        assert_eq!(
            describe(&removed),
            "removed 2 programs from the interface with ifindex 3\n\
             removed 9 programs from the cgroups of sockets\n\
             ports 50000-60999 are no longer reserved\nremoved /bpf/waggle"
        );
    }
}
