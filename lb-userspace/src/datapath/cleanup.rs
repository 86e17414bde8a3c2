//! Takes down everything of ours, of every version. What is not there is no error.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::attach::release;
use super::hold::Hold;
use super::pins::{self, Pins};
use super::{reserved, sockets};

/// What a cleanup took down.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Removed {
    /// Interfaces, by ifindex, with the number of links and filters taken from each.
    pub interfaces: Vec<(u32, usize)>,
    /// How many programs were taken from cgroups.
    pub sockets: usize,
    /// Ports that sockets may use again, as the kernel writes lists of them.
    pub ports: String,
    /// Pins and directories.
    pub pins: Vec<PathBuf>,
}

impl Removed {
    /// Whether there was nothing of ours.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.interfaces.is_empty()
            && self.sockets == 0
            && self.ports.is_empty()
            && self.pins.is_empty()
    }
}

/// Takes down everything of ours below the BPF file system at `bpffs`; sysctls are below `sysctls`.
///
/// Refuses while an agent runs, which would attach again.
pub async fn cleanup(bpffs: &Path, sysctls: &Path) -> anyhow::Result<Removed> {
    let mut removed = Removed::default();
    let pins = Pins::new(bpffs);
    if !pins.root().exists() {
        return Ok(removed);
    }
    let _hold = Hold::take(&pins).context("an agent that runs attaches again: stop it first")?;
    for pins in Pins::versions(bpffs).context("read the pin directory")? {
        for ifindex in pins.interfaces().context("read the pins")? {
            let count = release(&pins, ifindex)
                .await
                .with_context(|| format!("let go of the interface with ifindex {ifindex}"))?;
            removed.interfaces.push((ifindex, count));
        }
        removed.sockets += sockets::detach(&pins).context("let go of the sockets")?;
        let ports = reserved::release(&pins, sysctls).context("let go of the reserved ports")?;
        removed.ports = [removed.ports, ports]
            .into_iter()
            .filter(|it| !it.is_empty())
            .collect::<Vec<_>>()
            .join(",");
    }
    let root = pins.root();
    let note = &mut |path: &Path| removed.pins.push(path.to_owned());
    pins::remove_tree(root, note).with_context(|| format!("remove {}", root.display()))?;
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_tree_goes_from_its_leaves_and_a_second_time_there_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("waggle");
        fs::create_dir_all(root.join("v1/maps")).unwrap();
        fs::write(root.join("v1/maps/SLOTS"), "").unwrap();
        let mut removed = Vec::new();
        pins::remove_tree(&root, &mut |path| removed.push(path.to_owned())).unwrap();
        let expected = ["v1/maps/SLOTS", "v1/maps", "v1", ""].map(|path| root.join(path));
        assert_eq!(removed.len(), expected.len());
        assert!(removed.iter().zip(&expected).all(|(a, b)| a.components().eq(b.components())));
        pins::remove_tree(&root, &mut |path| removed.push(path.to_owned())).unwrap();
        assert_eq!(removed.len(), expected.len());
    }
}
