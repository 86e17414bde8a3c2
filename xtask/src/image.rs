//! `image`: the agent alone in a container image, as an OCI archive. No container engine is needed.
//!
//! The binary is linked statically, so the image has nothing else in it. The same binaries make the
//! same archive, byte for byte.

mod oci;

use std::env::consts;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use self::oci::Platform;
use crate::build;
use crate::needs::{Group, is_root};
use crate::progress::Progress;
use crate::setup;
use crate::workspace::{Object, Workspace};

/// What an archive may have, in bytes.
const LIMIT: u64 = 15 << 20;

/// Make the container image, target/image/waggle.tar, for amd64 and arm64.
///
/// It is an OCI archive: `podman load`, `ctr images import`, `skopeo copy oci-archive:…` and
/// `kind load image-archive` read it. The binaries lie beside it, for deploy/Dockerfile.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The processors to build for
    #[arg(long, value_name = "ARCH,…", value_delimiter = ',', default_value = "amd64,arm64")]
    arch: Vec<Arch>,
    /// What the image is called
    #[arg(long, default_value = concat!("docker.io/library/waggle:", env!("CARGO_PKG_VERSION")))]
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    const fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// As Rust and the GNU tools call it.
    const fn processor(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    fn is_own(self) -> bool {
        self.processor() == consts::ARCH
    }

    fn target(self) -> String {
        format!("{}-unknown-linux-musl", self.processor())
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args, workspace: &Workspace, progress: Progress) -> Result<()> {
    let is_foreign = args.arch.iter().any(|arch| !arch.is_own());
    let groups = [Group::Build, Group::Static].into_iter();
    setup::need(&groups.chain(is_foreign.then_some(Group::Cross)).collect::<Vec<_>>(), progress)?;
    build::kernel_object(workspace, progress, Object::Datapath)?;
    let folder = workspace.target.join("image");
    let mut platforms = Vec::new();
    for &arch in &args.arch {
        progress.step(&format!("build the agent for {}", arch.name()), command(arch, workspace))?;
        let agent = put_beside(arch, workspace, &folder)?;
        platforms.push(Platform { architecture: arch.name(), agent });
    }
    let archive = oci::archive(&platforms, &args.name).context("make the archive")?;
    check(&archive, progress)?;
    let path = folder.join("waggle.tar");
    fs::write(&path, &archive).with_context(|| format!("write {}", path.display()))?;
    let shown = path.strip_prefix(&workspace.root).unwrap_or(&path).display();
    eprintln!("{shown} ({} KiB), {}", archive.len() / 1024, args.name);
    for Platform { architecture, agent } in &platforms {
        eprintln!("  {architecture}: {} KiB unpacked", agent.len() / 1024);
    }
    Ok(())
}

/// All crates are those of `build --release --static`; only the last step leaves symbols out.
fn command(arch: Arch, workspace: &Workspace) -> Command {
    let target = arch.target();
    let mut command = workspace.cargo("rustc");
    command
        .args(["--package", "lb-userspace", "--bin", "waggle", "--release", "--target", &target])
        .args(["--", "-C", "strip=symbols"]);
    if !arch.is_own() {
        let variable = target.replace('-', "_");
        command
            .env(format!("CC_{variable}"), format!("{}-linux-gnu-gcc", arch.processor()))
            .env(format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()), "rust-lld");
    }
    command
}

/// Puts the agent where deploy/Dockerfile expects it, and returns it.
fn put_beside(arch: Arch, workspace: &Workspace, folder: &Path) -> Result<Vec<u8>> {
    let built: PathBuf = [arch.target().as_str(), "release", "waggle"].iter().collect();
    let built = workspace.target.join(built);
    let folder = folder.join(arch.name());
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    fs::copy(&built, folder.join("waggle")).with_context(|| format!("copy {}", built.display()))?;
    fs::read(&built).with_context(|| format!("read {}", built.display()))
}

/// The archive is small enough, and what is in it runs with nothing around it.
fn check(archive: &[u8], progress: Progress) -> Result<()> {
    if archive.len() as u64 > LIMIT {
        bail!("the archive has {} KiB, more than {}", archive.len() / 1024, LIMIT / 1024);
    }
    let own = [Arch::Amd64, Arch::Arm64].into_iter().find(|arch| arch.is_own());
    let Some(own) = own else { bail!("no image is for this machine's processor") };
    if !is_root() {
        eprintln!("the image was not tried out: that needs root");
        return Ok(());
    }
    let Some(layer) = oci::layer_of(archive, own.name())? else { return Ok(()) };
    let root = tempfile::tempdir().context("make a root directory")?;
    tar::Archive::new(&*layer).unpack(root.path()).context("unpack the image")?;
    let mut chroot = Command::new("chroot");
    chroot.arg(root.path()).args(["/waggle", "version"]);
    progress.step("run `waggle version` from the image's root directory", chroot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_processor_needs_another_compiler_and_linker() {
        let workspace = Workspace { root: "/w".into(), target: "/w/target".into() };
        let env = |arch| {
            let command = command(arch, &workspace);
            let set = command.get_envs().filter(|(_, value)| value.is_some());
            set.map(|(name, _)| name.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        for arch in [Arch::Amd64, Arch::Arm64] {
            assert_eq!(env(arch).iter().any(|name| name.starts_with("CC_")), !arch.is_own());
            assert_eq!(env(arch).iter().any(|name| name.ends_with("_LINKER")), !arch.is_own());
        }
    }
}
