//! Directories of manifests, and what the store is told.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

use super::{API, WEB};
use crate::sources::files::directory::Directory;
use crate::sources::files::*;
use crate::store::{Store, Update};

/// A directory of manifests and a store that follows it.
struct Followed {
    temporary: TempDir,
    directory: Directory,
    store: Store,
}

impl Followed {
    fn new() -> Self {
        Self::of(None)
    }

    /// Follows the Services of a proxy.
    fn of(proxy_name: Option<&str>) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::new(temporary.path().to_owned(), proxy_name.map(Arc::from));
        Self { temporary, directory, store: Store::new("n1") }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.temporary.path().join(file)
    }

    fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(file), text).unwrap();
    }

    /// Reads the directory; returns the names of the Services there are now.
    fn services(&mut self) -> String {
        for event in self.directory.refresh() {
            self.store.apply(event);
        }
        self.store.service_names().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    /// What is wrong, without the path of the directory.
    fn rejections(&mut self) -> Vec<String> {
        let directory = format!("{}/", self.temporary.path().display());
        let rejections = self.store.take_rejections();
        rejections.iter().map(|r| r.to_string().replace(&directory, "")).collect()
    }
}

#[test]
fn what_kubectl_prints_is_read_as_it_comes() {
    let text = "
apiVersion: v1
kind: Service
metadata:
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: |
      {\"apiVersion\":\"v1\",\"kind\":\"Service\"}
  creationTimestamp: \"2024-01-01T00:00:10Z\"
  managedFields:
  - apiVersion: v1
    fieldsType: FieldsV1
    fieldsV1:
      f:spec:
        f:ports:
          .: {}
          k:{\"port\":80,\"protocol\":\"TCP\"}: {}
    manager: kubectl
    operation: Update
    time: \"2024-01-01T00:00:10Z\"
  name: web
  resourceVersion: \"1234\"
  uid: 2b1b1a7e-0000-0000-0000-000000000000
spec:
  clusterIP: 10.96.0.1
  clusterIPs:
  - 10.96.0.1
  internalTrafficPolicy: Cluster
  ipFamilies: [IPv4]
  ports:
  - port: 80
    protocol: TCP
    targetPort: http
  sessionAffinity: None
  type: ClusterIP
status:
  loadBalancer: {}
";
    let mut followed = Followed::new();
    followed.write("web.yaml", text);
    assert_eq!(followed.services(), "default/web");
    assert!(followed.rejections().is_empty());
}

#[test]
fn an_unreadable_creation_time_costs_its_object_alone() {
    let bad = WEB.replace("name: web", "name: web, creationTimestamp: yesterday");
    let mut followed = Followed::new();
    followed.write("a.yaml", format!("{bad}---\n{API}"));
    assert_eq!(followed.services(), "shop/api");
    let told = followed.rejections();
    assert!(told[0].starts_with("service default/web: cannot be read: "), "{told:?}");
    assert_eq!(told.len(), 1);
}

#[test]
fn an_object_that_cannot_be_read_any_more_stays_until_it_is_gone() {
    let mut followed = Followed::new();
    followed.write("a.yaml", format!("{WEB}---\n{API}"));
    assert_eq!(followed.services(), "default/web shop/api");
    followed.write("a.yaml", WEB.replace("[{port: 80}]", "all"));
    assert_eq!(followed.services(), "default/web");
    assert_eq!(followed.rejections().len(), 1);
    followed.write("a.yaml", "");
    assert_eq!(followed.services(), "");
}

#[test]
fn an_object_of_the_wrong_shape_is_rejected_alone() {
    let mut followed = Followed::new();
    followed.write("a.yaml", format!("{}---{API}", WEB.replace("port: 80", "port: http")));
    assert_eq!(followed.services(), "shop/api");
    let rejections = followed.rejections();
    assert_eq!(rejections.len(), 1);
    assert!(rejections[0].starts_with("service default/web: cannot be read: "), "{rejections:?}");
}

#[test]
fn service_cidrs_are_read_in_both_versions_and_a_bad_cidr_costs_only_itself() {
    let mut followed = Followed::new();
    let object = |version, name, cidrs| {
        format!(
            "apiVersion: networking.k8s.io/{version}\nkind: ServiceCIDR\n\
             metadata: {{name: {name}}}\nspec: {{cidrs: [{cidrs}]}}\n"
        )
    };
    followed.write("a.yaml", object("v1", "kubernetes", "10.96.0.0/16, \"fd00:96::/112\""));
    followed.write("b.yaml", object("v1beta1", "more", "10.97.0.0/16, 10.98.0.0/33"));
    followed.services();
    let known = |store: &Store| {
        store.service_cidrs().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(known(&followed.store), "10.96.0.0/16 fd00:96::/112 10.97.0.0/16");
    let problem = "a CIDR is left out: \"10.98.0.0/33\" is not a CIDR such as 10.0.0.0/8";
    assert_eq!(followed.rejections(), [format!("servicecidr more: {problem}")]);
    fs::remove_file(followed.path("a.yaml")).unwrap();
    followed.services();
    assert_eq!(known(&followed.store), "10.97.0.0/16");
}

#[test]
fn the_services_of_another_proxy_are_read_where_they_are_wanted() {
    let labels = "labels: {service.kubernetes.io/service-proxy-name: bees}";
    let theirs = WEB.replace("name: web", &format!("name: theirs, {labels}"));
    for (proxy_name, expected) in [(None, "default/web"), (Some("bees"), "default/theirs")] {
        let mut followed = Followed::of(proxy_name);
        followed.write("a.yaml", format!("{WEB}---{theirs}"));
        assert_eq!(followed.services(), expected);
    }
}

#[test]
fn of_an_object_in_two_places_the_first_file_wins() {
    let mut followed = Followed::new();
    followed.write("a.yaml", WEB);
    followed.write("b.yaml", format!("{API}---{}", WEB.replace("10.96.0.1", "10.96.0.9")));
    assert_eq!(followed.services(), "default/web shop/api");
    let message =
        "file b.yaml: line 6: service default/web is already in a.yaml line 1, which is used";
    assert_eq!(followed.rejections(), [message]);
    fs::remove_file(followed.path("a.yaml")).unwrap();
    assert_eq!(followed.services(), "default/web shop/api");
    let web = followed.store.service(&crate::model::fixture::name("default/web")).unwrap();
    assert_eq!(web.cluster_ips[0].to_string(), "10.96.0.9");
    assert!(followed.rejections().is_empty());
}

#[test]
fn files_come_and_go_and_are_renamed_over() {
    let mut followed = Followed::new();
    assert_eq!(followed.services(), "");
    assert!(followed.store.is_synced());
    followed.write("a.yaml", WEB);
    followed.write(
        "b.json",
        r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "json"},
        "spec": {"clusterIP": "10.96.0.3", "ports": [{"port": 80}]}}"#,
    );
    followed.write("c.yml", API);
    for ignored in ["notes.txt", ".a.yaml.swp", ".#a.yaml"] {
        followed.write(ignored, "{");
    }
    assert_eq!(followed.services(), "default/json default/web shop/api");
    followed.write("a.tmp", WEB.replace("name: web", "name: new"));
    fs::rename(followed.path("a.tmp"), followed.path("a.yaml")).unwrap();
    assert_eq!(followed.services(), "default/json default/new shop/api");
    fs::remove_file(followed.path("c.yml")).unwrap();
    assert_eq!(followed.services(), "default/json default/new");
    assert!(followed.rejections().is_empty());
}

#[test]
fn a_half_written_file_keeps_the_objects_it_had() {
    let mut followed = Followed::new();
    followed.write("a.yaml", format!("{WEB}---{API}"));
    assert_eq!(followed.services(), "default/web shop/api");
    for broken in [b"metadata: {name: w".as_slice(), b"apiVers", b"\xff\xfe"] {
        followed.write("a.yaml", broken);
        assert_eq!(followed.services(), "default/web shop/api");
        assert_eq!(followed.rejections().len(), 1);
    }
    followed.write("a.yaml", API);
    assert_eq!(followed.services(), "shop/api");
    assert!(followed.rejections().is_empty());
}

#[test]
fn a_directory_that_vanished_keeps_its_objects() {
    let mut followed = Followed::new();
    followed.write("a.yaml", WEB);
    followed.services();
    fs::remove_dir_all(followed.temporary.path()).unwrap();
    assert_eq!(followed.services(), "default/web");
    let rejections = followed.rejections();
    assert!(rejections[0].contains("cannot be read: No such file"), "{rejections:?}");
}

#[test]
fn what_did_not_change_is_not_told_again() {
    let mut followed = Followed::new();
    followed.write("a.yaml", WEB);
    followed.services();
    let news = followed.directory.refresh();
    assert!(news.iter().all(|event| matches!(event, Event::File(..))), "{news:?}");
}

#[test]
fn reading_a_file_is_no_change_of_it() {
    use notify::event::{CreateKind, ModifyKind, RemoveKind};
    for change in [
        EventKind::Any,
        EventKind::Create(CreateKind::File),
        EventKind::Modify(ModifyKind::Any),
        EventKind::Remove(RemoveKind::File),
        EventKind::Access(AccessKind::Close(AccessMode::Write)),
    ] {
        assert!(is_change(change), "{change:?}");
    }
    for reading in [
        EventKind::Access(AccessKind::Open(AccessMode::Any)),
        EventKind::Access(AccessKind::Close(AccessMode::Read)),
    ] {
        assert!(!is_change(reading), "{reading:?}");
    }
}

/// The whole source with a real watch: the next list arrives without anybody asking for it.
#[tokio::test(flavor = "current_thread")]
async fn changes_of_the_directory_are_noticed() {
    let temporary = tempfile::tempdir().unwrap();
    let (sender, mut events) = mpsc::channel(16);
    let source = tokio::spawn(run(temporary.path().to_owned(), None, sender));
    let mut next_services = async || loop {
        let event = events.recv().await.expect("the source runs");
        if let Event::Services(Update::Replace(services)) = event {
            break services.len();
        }
    };
    assert_eq!(next_services().await, 0);
    fs::write(temporary.path().join("a.yaml"), WEB).unwrap();
    while next_services().await != 1 {}
    fs::remove_file(temporary.path().join("a.yaml")).unwrap();
    while next_services().await != 0 {}
    drop(events);
    source.await.unwrap().unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn a_directory_that_does_not_exist_is_an_error_that_says_what_to_do() {
    let temporary = tempfile::tempdir().unwrap();
    let (sender, _events) = mpsc::channel(1);
    let error = run(temporary.path().join("none"), None, sender).await.unwrap_err().to_string();
    assert!(error.ends_with("none; create it or name another"), "{error}");
}
