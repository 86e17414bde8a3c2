//! `manifests`: the plain manifests below deploy/manifests, rendered from the chart by Helm.
//!
//! Helm itself renders them (its Go library, in a Python package that `setup` installs), so that what
//! is here is what `helm install` applies. It also holds the values against the chart's schema.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::needs::{Group, HELM};
use crate::progress::Progress;
use crate::setup;
use crate::workspace::Workspace;

/// Render the chart into deploy/manifests.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail if a file is not what the chart renders.
    #[arg(long)]
    pub(crate) check: bool,
}

/// The files: name, values of the chart.
const FILES: [(&str, &str); 3] = [
    ("waggle.yaml", "{}"),
    ("waggle-all-sockets.yaml", r#"{"config": {"socket-lb": "all"}}"#),
    (
        "waggle-with-monitoring.yaml",
        r#"{"metrics": {"expose": true, "serviceMonitor": {"enabled": true},
            "prometheusRule": {"enabled": true}, "dashboard": {"enabled": true}}}"#,
    ),
];

/// Templates in the order in which they are applied.
const TEMPLATES: [&str; 5] = ["serviceaccount", "rbac", "configmap", "daemonset", "metrics"];

/// Prints what the templates render to, as JSON. It is given the chart and the values.
const RENDER: &str = "\
import helm_python, json, sys
chart = helm_python.Chart.load(sys.argv[1])
faults = helm_python.lint(sys.argv[1])['errors']
if faults:
    sys.exit('the chart has faults: ' + str(faults))
print(json.dumps(chart.render(json.loads(sys.argv[2]), name='waggle', namespace='kube-system')))
";

const HEAD: &str = "\
# Rendered from deploy/chart by `cargo xtask manifests`. Change the chart instead.
";

/// Runs the command.
pub(crate) fn run(args: &Args, workspace: &Workspace, progress: Progress) -> Result<()> {
    setup::need(&[Group::Helm], progress)?;
    let mut differing = Vec::new();
    for (name, values) in FILES {
        let path = workspace.root.join("deploy/manifests").join(name);
        let text = render(workspace, values).with_context(|| format!("render {name}"))?;
        if fs::read_to_string(&path).is_ok_and(|found| found == text) {
            continue;
        }
        differing.push(name);
        if !args.check {
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
    }
    match (args.check, differing.is_empty()) {
        (true, false) => {
            bail!("{} not as rendered; run `cargo xtask manifests`", differing.join(", "))
        }
        (false, false) => eprintln!("wrote {}", differing.join(", ")),
        (_, true) => eprintln!("deploy/manifests: as rendered"),
    }
    Ok(())
}

fn render(workspace: &Workspace, values: &str) -> Result<String> {
    let mut python = Command::new("python3");
    python.args(["-c", RENDER, "deploy/chart", values]).current_dir(&workspace.root);
    let output = python.env("PYTHONPATH", HELM).output().context("start python3")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let rendered: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    join(|template| rendered[format!("waggle/templates/{template}.yaml")].as_str())
}

/// One file of all templates that render to something.
fn join<'a>(text: impl Fn(&str) -> Option<&'a str>) -> Result<String> {
    let mut joined = HEAD.to_owned();
    for template in TEMPLATES {
        let text = text(template).with_context(|| format!("the chart has no {template}.yaml"))?;
        let text = text.trim().trim_start_matches("---\n");
        if !text.is_empty() {
            joined.push_str("---\n");
            joined.push_str(text);
            joined.push('\n');
        }
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_parted_and_templates_that_render_to_nothing_left_out() {
        let text = |template: &str| match template {
            "rbac" => Some("\n---\na: 1\n---\nb: 2\n"),
            "daemonset" => Some("c: 3"),
            _ => Some("\n\n"),
        };
        assert_eq!(join(text).unwrap(), format!("{HEAD}---\na: 1\n---\nb: 2\n---\nc: 3\n"));
        let error = join(|name| (name != "rbac").then_some("")).unwrap_err().to_string();
        assert!(error.contains("no rbac.yaml"), "{error}");
    }
}
