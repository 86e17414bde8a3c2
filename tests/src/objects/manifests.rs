//! A folder of YAML files, for the agent's file source.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};

use crate::lab::temporary_directory;

/// A temporary folder of manifests; removed when dropped.
#[derive(Debug)]
pub struct Manifests {
    folder: TempDir,
    /// Where files are written before they are moved in: on the same file system, and not watched.
    staging: TempDir,
}

impl Manifests {
    /// An empty one.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "making a folder is not a default")]
    pub fn new() -> Self {
        Self { folder: temporary_directory("manifests"), staging: temporary_directory("staging") }
    }

    /// The folder to give to the agent.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes or replaces a file of several objects, in one step: whoever watches the folder sees the
    /// old file or the new one, whole.
    pub fn write(&self, file: &str, objects: &[Value]) {
        let documents = objects.iter().map(|object| {
            serde_saphyr::to_string(object).expect("an object can be written as YAML")
        });
        self.write_text(file, &documents.collect::<Vec<_>>().join("---\n"));
    }

    /// Writes or replaces a file of any content, such as broken YAML, in one step.
    pub fn write_text(&self, file: &str, text: &str) {
        let staged = NamedTempFile::new_in(self.staging.path()).expect("make a file");
        fs::write(staged.path(), text).expect("write a manifest");
        staged.persist(self.path().join(file)).expect("move a manifest to its place");
    }

    /// Removes a file.
    pub fn remove(&self, file: &str) {
        fs::remove_file(self.path().join(file))
            .unwrap_or_else(|error| panic!("remove {file}: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Protocol, node, service, service_cidr, slice};
    use super::*;

    #[test]
    fn what_is_written_reads_back_as_the_same_objects() {
        let web = service("default/web").cluster_ip("10.96.0.10").cluster_ip("fd00::a");
        let web =
            web.port("1", 80, Protocol::Tcp).node_port(30080).affinity(10).annotation("a", "no");
        let endpoints = slice("default/web-1").service("web").port("", 8080, Protocol::Udp);
        let endpoints =
            endpoints.endpoint("fd00:10:1::2").on("true").endpoint("::1").terminating(true);
        let objects = [
            web.object(),
            endpoints.object(),
            node("0x1").address("1.2").zone("~").object(),
            service_cidr("a").cidr("10.96.0.0/16").object(),
        ];
        let manifests = Manifests::new();
        manifests.write("all.yaml", &objects);
        manifests.write("all.yaml", &objects);
        let text = fs::read_to_string(manifests.path().join("all.yaml")).unwrap();
        let read: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        assert_eq!(read, objects, "{text}");
        assert_eq!(
            fs::read_dir(manifests.path()).unwrap().count(),
            1,
            "nothing else is in the folder"
        );
    }
}
