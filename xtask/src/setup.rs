//! `setup`: makes a fresh Debian 12 able to build and test.
//!
//! Looks first, installs only what is missing, and says what and why. Where there is no `apt-get`
//! it installs nothing and says what to install.

use anyhow::{Result, bail};

use crate::needs::{Check, Group, Host, Install, Machine, Need, missing};
use crate::progress::Progress;
use crate::workspace::Workspace;

/// Install what building, testing and linting need.
///
/// Needs root, git and rustup on Debian 12. Everything that is there already is left alone; every
/// other command runs this by itself for the things it needs.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also what `build --static` needs.
    #[arg(long = "static")]
    with_static: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args, _workspace: &Workspace, progress: Progress) -> Result<()> {
    let mut groups = vec![Group::Build, Group::Lint, Group::Test];
    groups.extend(args.with_static.then_some(Group::Static));
    ensure(&Machine::new(progress), &groups)?;
    eprintln!("setup: everything is there");
    Ok(())
}

/// Makes sure of what `groups` need; silent when all of it is there.
pub(crate) fn need(groups: &[Group], progress: Progress) -> Result<()> {
    ensure(&Machine::new(progress), groups)
}

fn ensure(host: &impl Host, groups: &[Group]) -> Result<()> {
    let needs = missing(host, groups);
    if needs.is_empty() {
        return Ok(());
    }
    for need in &needs {
        eprintln!("missing: {} ({})", need.name, need.why);
    }
    let packages = packages(&needs);
    if !packages.is_empty() {
        may_install(host, &needs)?;
        install_packages(host, &packages)?;
    }
    for (need, install) in needs.iter().filter_map(|need| Some((need, need.install.as_ref()?))) {
        host.install(&format!("install {}", need.name), install.env, install.command)?;
    }
    confirm(host, groups)
}

fn packages(needs: &[&Need]) -> Vec<&'static str> {
    needs.iter().flat_map(|need| need.packages).copied().collect()
}

/// Debian packages need `apt-get` and root.
fn may_install(host: &impl Host, needs: &[&Need]) -> Result<()> {
    if !host.has(&Check::Program("apt-get")) {
        bail!("no apt-get here; nothing was installed. Install by hand:\n{}", by_hand(needs));
    }
    if !host.is_root() {
        bail!("only root may install packages; run this as root, or:\n{}", by_hand(needs));
    }
    Ok(())
}

/// What to type, one line a need.
fn by_hand(needs: &[&Need]) -> String {
    let lines = needs.iter().map(|need| {
        let packages = (!need.packages.is_empty())
            .then(|| format!("Debian's {} or your system's equivalent", need.packages.join(" ")));
        let command = need.install.as_ref().map(command_line);
        let how: Vec<_> = packages.into_iter().chain(command).collect();
        format!("  {}: {}", need.name, how.join(", then "))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn command_line(install: &Install) -> String {
    let env = install.env.iter().map(|(name, value)| format!("{name}={value} "));
    format!("`{}{}`", env.collect::<String>(), install.command.join(" "))
}

fn install_packages(host: &impl Host, packages: &[&str]) -> Result<()> {
    let env = [("DEBIAN_FRONTEND", "noninteractive")];
    host.install("fetch the lists of packages", &env, &["apt-get", "update"])?;
    let mut command = vec!["apt-get", "install", "--yes", "--no-install-recommends"];
    command.extend(packages);
    host.install(&format!("install {}", packages.join(" ")), &env, &command)
}

/// Looks again: an installation that succeeded without effect is an error.
fn confirm(host: &impl Host, groups: &[Group]) -> Result<()> {
    let names: Vec<_> = missing(host, groups).iter().map(|need| need.name).collect();
    if !names.is_empty() {
        bail!("still missing after installing: {}; is it in PATH?", names.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
