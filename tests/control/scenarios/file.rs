//! A scenario as a file: YAML documents, separated by a line `---`.
//!
//! - A Service, `EndpointSlice`, Node or `ServiceCIDR` is applied: created or replaced. The own Node is `n1`.
//! - `kind: Delete` removes the one that `object` names: `service demo/web`, `node n1`.
//! - `kind: Expect` ends a burst of changes: now the maps are as the text `maps` says, and
//!   `rejections` are what was said about objects since the last time. With `witnessed: true`, only
//!   an agent that saw the changes happen gets there, not one that was down meanwhile.

use std::fs;
use std::path::PathBuf;

use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lb_userspace::model::{NamespacedName, Outcome};
use lb_userspace::sources::convert;
use lb_userspace::store::{Event, Update};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const SEPARATOR: &str = "\n---\n";

/// A scenario.
pub(crate) struct Scenario {
    pub(crate) path: PathBuf,
    pub(crate) stages: Vec<Stage>,
    /// The documents as they are written.
    documents: Vec<String>,
}

/// Changes, and what they lead to.
pub(crate) struct Stage {
    pub(crate) changes: Vec<Event>,
    pub(crate) expect: Expect,
    /// Which document the `Expect` is.
    document: usize,
}

/// What is expected.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expect {
    pub(crate) maps: String,
    #[serde(default)]
    pub(crate) rejections: Vec<String>,
    #[serde(default)]
    pub(crate) witnessed: bool,
}

/// What only scenarios have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delete {
    object: String,
}

impl Scenario {
    /// Reads a file.
    ///
    /// # Panics
    /// With the file's name if it cannot be read or does not end with an `Expect`.
    pub(crate) fn read(path: PathBuf) -> Self {
        let parsed = fs::read_to_string(&path).map_err(|error| error.to_string());
        let parsed = parsed.and_then(|text| {
            let documents: Vec<_> = text.split(SEPARATOR).map(|it| it.trim_end().into()).collect();
            Ok((stages(&documents)?, documents))
        });
        match parsed {
            Ok((stages, documents)) => Self { path, stages, documents },
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }

    /// Writes the `Expect`s as they are now; comments above them stay.
    pub(crate) fn write(&mut self) {
        for stage in &self.stages {
            let document = &mut self.documents[stage.document];
            let comments = document.lines().take_while(|line| line.starts_with('#'));
            *document = comments.fold(String::new(), |all, line| all + line + "\n");
            *document += &stage.expect.text();
        }
        fs::write(&self.path, self.documents.join(SEPARATOR) + "\n").expect("write a scenario");
    }
}

impl Expect {
    fn text(&self) -> String {
        let mut lines = vec!["kind: Expect".to_owned()];
        lines.extend(self.witnessed.then(|| "witnessed: true".to_owned()));
        lines.push(if self.maps.is_empty() { "maps: ''" } else { "maps: |" }.to_owned());
        lines.extend(self.maps.lines().map(|line| format!("  {line}")));
        lines.extend((!self.rejections.is_empty()).then(|| "rejections:".to_owned()));
        lines.extend(self.rejections.iter().map(|text| format!("- {}", Value::from(text.clone()))));
        lines.join("\n")
    }
}

fn stages(documents: &[String]) -> Result<Vec<Stage>, String> {
    let (mut stages, mut changes) = (Vec::new(), Vec::new());
    for (document, text) in documents.iter().enumerate() {
        let about = |error: &dyn std::fmt::Display| format!("document {}: {error}", document + 1);
        let mut value: Value = serde_saphyr::from_str(text).map_err(|error| about(&error))?;
        if value["kind"] == "Expect" {
            let expect = own(&mut value).map_err(|error| about(&error))?;
            stages.push(Stage { changes: std::mem::take(&mut changes), expect, document });
        } else {
            changes.push(event(value).map_err(|error| about(&error))?);
        }
    }
    if stages.is_empty() || !changes.is_empty() {
        return Err("does not end with an Expect".to_owned());
    }
    Ok(stages)
}

fn event(mut value: Value) -> Result<Event, String> {
    let kind = value["kind"].as_str().unwrap_or_default().to_owned();
    match (value["apiVersion"].as_str().unwrap_or_default(), kind.as_str()) {
        ("v1", "Service") => Ok(Event::Services(applied(value, convert::service)?)),
        ("v1", "Node") => Ok(Event::Nodes(applied(value, convert::node)?)),
        ("discovery.k8s.io/v1", "EndpointSlice") => {
            Ok(Event::Slices(applied(value, convert::slice)?))
        }
        ("networking.k8s.io/v1", "ServiceCIDR") => {
            Ok(Event::ServiceCidrs(applied(value, convert::service_cidr)?))
        }
        (_, "Delete") => deleted(&own::<Delete>(&mut value)?.object),
        (version, kind) => Err(format!("{version:?} {kind:?} is no kind that scenarios know")),
    }
}

fn applied<K, T>(value: Value, convert: fn(&K) -> Outcome<T>) -> Result<Update<T>, String>
where
    K: Metadata<Ty = ObjectMeta> + DeserializeOwned,
{
    let object: K = serde_json::from_value(value).map_err(|error| error.to_string())?;
    Ok(Update::Apply(convert::name(object.metadata()), convert(&object)))
}

fn deleted(object: &str) -> Result<Event, String> {
    let (kind, name) = object.split_once(' ').ok_or("object: write a kind and a name")?;
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    let name = NamespacedName::new(namespace, name);
    match kind {
        "service" => Ok(Event::Services(Update::Delete(name))),
        "endpointslice" => Ok(Event::Slices(Update::Delete(name))),
        "node" => Ok(Event::Nodes(Update::Delete(name))),
        "servicecidr" => Ok(Event::ServiceCidrs(Update::Delete(name))),
        other => Err(format!("object: {other} is no kind that scenarios know")),
    }
}

/// A document of ours: all of it but its kind.
fn own<T: DeserializeOwned>(value: &mut Value) -> Result<T, String> {
    if let Some(fields) = value.as_object_mut() {
        fields.remove("kind");
    }
    serde_json::from_value(value.take()).map_err(|error| error.to_string())
}
