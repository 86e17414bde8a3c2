//! From the text of a file to the objects in it. Pure.
//!
//! One bad document or object is one problem and costs nothing else.

use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::debug;

use crate::model::{self, Kind, NamespacedName, Outcome, Slice};
use crate::sources::convert;

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// Its objects that we read, in their order.
    pub(super) manifests: Vec<Manifest>,
    /// What is wrong with it, beyond what is wrong with an object.
    pub(super) problems: Vec<String>,
    /// A document is not YAML, or nothing but a word: the file may be half-written.
    pub(super) is_broken: bool,
}

/// An object in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    /// The line on which its document begins, from 1.
    pub(super) line: usize,
    pub(super) name: NamespacedName,
    pub(super) object: Object,
}

/// An object, converted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Object {
    Service(Outcome<model::Service>),
    Slice(Outcome<Slice>),
    Node(Outcome<model::Node>),
    ServiceCidr(Outcome<model::ServiceCidr>),
    Pod(Outcome<model::Pod>),
}

impl Manifest {
    pub(super) fn kind(&self) -> Kind {
        match self.object {
            Object::Service(_) => Kind::Service,
            Object::Slice(_) => Kind::EndpointSlice,
            Object::Node(_) => Kind::Node,
            Object::ServiceCidr(_) => Kind::ServiceCidr,
            Object::Pod(_) => Kind::Pod,
        }
    }
}

impl Contents {
    /// Reads YAML documents, or JSON. Of the Services, those of `proxy_name` are ours.
    pub(super) fn parse(text: &str, proxy_name: Option<&str>) -> Self {
        let mut contents = Self::default();
        for (line, document) in documents(text.strip_prefix('\u{feff}').unwrap_or(text)) {
            match decode(line, document) {
                Ok(value @ Value::Object(_)) => contents.add(line, value, None, proxy_name),
                Ok(_) => contents.broken(format!("line {line}: is not a Kubernetes object")),
                Err(problem) => contents.broken(problem),
            }
        }
        contents
    }

    fn broken(&mut self, problem: String) {
        self.problems.push(problem);
        self.is_broken = true;
    }

    /// Adds an object, or the items of a list. Items of a typed list need not name their type.
    fn add(
        &mut self,
        line: usize,
        mut value: Value,
        inherited: Option<&Type>,
        proxy_name: Option<&str>,
    ) {
        let Some(of) = Type::of(&value).or_else(|| inherited.cloned()) else {
            self.problems.push(format!("line {line}: an object has no apiVersion and kind"));
            return;
        };
        let item_kind = of.kind.strip_suffix("List").filter(|_| value.get("items").is_some());
        if let Some(item_kind) = item_kind {
            let item = Type { version: of.version.clone(), kind: item_kind.to_owned() };
            let item = Some(&item).filter(|item| !item.kind.is_empty());
            match value["items"].take() {
                Value::Array(items) => {
                    for value in items {
                        self.add(line, value, item, proxy_name);
                    }
                }
                // As Go writes a list of nothing.
                Value::Null => {}
                _ => self
                    .problems
                    .push(format!("line {line}: the items of a {} are no list", of.kind)),
            }
            return;
        }
        match of.read(value, proxy_name) {
            Ok(Some((name, object))) => self.manifests.push(Manifest { line, name, object }),
            Ok(None) => debug!(line, kind = of.kind, version = of.version, "object not read"),
            Err(problem) => self.problems.push(format!("line {line}: {problem}")),
        }
    }
}

/// The documents that hold anything, each with its first line. In YAML `---` at the beginning of a
/// line begins a document and `...` ends one wherever it stands (YAML 1.2 §9.1.2), so that one broken
/// document does not hide the others.
fn documents(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut begins = vec![(1, 0)];
    let mut offset = 0;
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        if is_marker(line, "---") {
            begins.push((number, offset));
        }
        offset += line.len();
        if is_marker(line, "...") {
            begins.push((number + 1, offset));
        }
    }
    let ends = begins.clone().into_iter().skip(1).map(|(_, offset)| offset).chain([text.len()]);
    let all = begins.into_iter().zip(ends).map(|((line, begin), end)| (line, &text[begin..end]));
    all.filter(|(_, document)| !document.lines().all(holds_nothing))
}

fn is_marker(line: &str, marker: &str) -> bool {
    let rest = line.strip_prefix(marker);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

/// A blank line, a comment, a directive or a marker.
fn holds_nothing(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with(['#', '%']) || line == "---" || line == "..."
}

fn decode(line: usize, document: &str) -> Result<Value, String> {
    if document.starts_with('{')
        && let Ok(value) = serde_json::from_str(document)
    {
        return Ok(value);
    }
    yaml(document).map_err(|_| {
        // Once more with the lines before it, so that the message names lines of the file.
        let padded = "\n".repeat(line - 1) + document;
        let error = yaml(&padded).err().map(|error| error.to_string()).unwrap_or_default();
        format!("is not YAML: {}", error.lines().next().unwrap_or_default())
    })
}

/// The operator's own files may be of any size: without limits but those on aliases.
fn yaml(text: &str) -> Result<Value, serde_saphyr::Error> {
    let options = serde_saphyr::options! { budget: None, with_snippet: false };
    serde_saphyr::from_str_with_options(text, options)
}

/// `apiVersion` and `kind`.
#[derive(Clone, Debug)]
struct Type {
    version: String,
    kind: String,
}

type Read = Option<(NamespacedName, Object)>;

impl Type {
    fn of(value: &Value) -> Option<Self> {
        let text = |key| Some(value.get(key)?.as_str()?.to_owned());
        Some(Self { version: text("apiVersion")?, kind: text("kind")? })
    }

    /// The object, if it is one that we read.
    fn read(&self, mut value: Value, proxy_name: Option<&str>) -> Result<Read, String> {
        match (self.version.as_str(), self.kind.as_str()) {
            ("v1", "Service") => {
                let convert = |service: &_| convert::service_of(proxy_name, service);
                read(value, convert, Kind::Service, Object::Service)
            }
            ("v1", "Node") => read(value, convert::node, Kind::Node, Object::Node),
            ("v1", "Pod") => read(value, convert::pod, Kind::Pod, Object::Pod),
            ("discovery.k8s.io/v1", "EndpointSlice") => {
                read(value, convert::slice, Kind::EndpointSlice, Object::Slice)
            }
            ("networking.k8s.io/v1" | "networking.k8s.io/v1beta1", "ServiceCIDR") => {
                // Both versions have the same fields.
                value["apiVersion"] = "networking.k8s.io/v1".into();
                read(value, convert::service_cidr, Kind::ServiceCidr, Object::ServiceCidr)
            }
            ("v1", kind) if IGNORED.contains(&kind) => Ok(None),
            ("v1", "Endpoints") => Err(self.unsupported(&value, "write an EndpointSlice instead")),
            ("v1" | "discovery.k8s.io/v1", _) => {
                Err(self.unsupported(&value, "only Service, EndpointSlice and Node are read"))
            }
            (version, _) if version.starts_with("discovery.k8s.io/") => {
                Err(self.unsupported(&value, "use discovery.k8s.io/v1"))
            }
            _ => Ok(None),
        }
    }

    fn unsupported(&self, value: &Value, advice: &str) -> String {
        let Self { version, kind } = self;
        let name =
            value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("without name");
        format!("{version} {kind} {name} is not supported: {advice}")
    }
}

/// Kinds of `v1` that stand beside Services in ordinary manifests and say nothing to us.
const IGNORED: [&str; 11] = [
    "ConfigMap",
    "Event",
    "LimitRange",
    "Namespace",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "PodTemplate",
    "ReplicationController",
    "ResourceQuota",
    "Secret",
    "ServiceAccount",
];

fn read<K, T>(
    value: Value,
    convert: impl Fn(&K) -> Outcome<T>,
    kind: Kind,
    wrap: fn(Outcome<T>) -> Object,
) -> Result<Read, String>
where
    K: Metadata<Ty = ObjectMeta> + DeserializeOwned,
{
    let name = name_of(kind, &value)?;
    let outcome = match serde_json::from_value::<K>(value) {
        Ok(mut object) => {
            object.metadata_mut().namespace = Some(name.namespace.to_string());
            convert(&object)
        }
        Err(error) => Outcome::Unreadable(format!("cannot be read: {error}")),
    };
    Ok(Some((name, wrap(outcome))))
}

/// Without a namespace an object is in `default`, if its kind has namespaces.
fn name_of(kind: Kind, value: &Value) -> Result<NamespacedName, String> {
    let text = |field| match value.pointer(&format!("/metadata/{field}")) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(other) => {
            Err(format!("the metadata.{field} {other} of a {kind} is not a string; quote it"))
        }
    };
    let namespace = match (kind, text("namespace")?) {
        (Kind::Node | Kind::ServiceCidr, _) => "",
        (_, "") => "default",
        (_, namespace) => namespace,
    };
    let name = NamespacedName::new(namespace, text("name")?);
    if name.name.is_empty() {
        return Err(format!("a {kind} has no metadata.name"));
    }
    let checked = convert::check_name(kind, &name);
    checked.map_err(|problem| format!("a {kind} is left out: {problem}"))?;
    Ok(name)
}
