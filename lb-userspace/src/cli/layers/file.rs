//! The file of `--config`: keys named as the flags, or a `KubeProxyConfiguration`.

use std::fs;
use std::path::Path;

use clap::{Arg, Error};
use serde_json::Value;

use super::{Setting, is_called, kube_proxy, usage_error};

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) settings: Vec<Setting>,
    /// What it sets and we have no use for.
    pub(super) ignored: Vec<String>,
}

/// Reads the file at `path`; its keys set `flags`.
pub(super) fn read(path: &Path, flags: &[Arg]) -> Result<Contents, Error> {
    let text = fs::read_to_string(path);
    let text = text.map_err(|error| usage_error(format!("read {}: {error}", path.display())))?;
    parse(&text, flags).map_err(|fault| usage_error(format!("{}: {fault}", path.display()))).map(
        |mut contents| {
            for setting in &mut contents.settings {
                setting.origin = format!("{}: {}", path.display(), setting.origin);
            }
            contents
        },
    )
}

fn parse(text: &str, flags: &[Arg]) -> Result<Contents, String> {
    let options = serde_saphyr::options! { budget: None, with_snippet: false };
    let value = serde_saphyr::from_str_with_options(text, options);
    match value.map_err(|error| format!("this is no YAML: {error}"))? {
        Value::Null => Ok(Contents::default()),
        Value::Object(keys) if keys.contains_key("kind") => kube_proxy::parse(keys),
        Value::Object(keys) => {
            let settings = keys.into_iter().map(|(key, value)| setting(key, &value, flags));
            let settings = settings.filter_map(Result::transpose).collect::<Result<_, _>>()?;
            Ok(Contents { settings, ignored: Vec::new() })
        }
        _ => Err("write one setting a line, as `masquerade-all: true`".to_owned()),
    }
}

fn setting(key: String, value: &Value, flags: &[Arg]) -> Result<Option<Setting>, String> {
    let named = |flag: &&Arg| is_called(flag, &key) && flag.get_id() != "config";
    if flags.iter().find(named).is_none() {
        return Err(format!(
            "there is no setting {key}; settings are named as the flags of `waggle run`"
        ));
    }
    let value = value_text(&key, value)?;
    Ok(value.map(|value| Setting { origin: key.clone(), flag: key, value: value.into() }))
}

/// A value as one types it; none if the key has none.
pub(super) fn value_text(key: &str, value: &Value) -> Result<Option<String>, String> {
    Ok(Some(match value {
        Value::Null => return Ok(None),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => {
            let items = items.iter().map(|item| value_text(key, item));
            items.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?.join(",")
        }
        Value::Object(_) => return Err(format!("{key} is a value or a list, and has no keys")),
    }))
}
