//! How the values of single flags are read: text in, a value or what to write instead.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use axum::http::Uri;
use jiff::SignedDuration;

/// As the kubelet names a node that nobody named.
pub(super) fn host_name() -> anyhow::Result<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname")
        .context("read the host name; give --node-name instead")?;
    node_name(&name).map_err(|problem| anyhow!("the host name {problem}; give --node-name instead"))
}

/// Kubelet and kube-proxy trim what they are told, and make it lower case.
pub(super) fn node_name(text: &str) -> Result<String, String> {
    let name = text.trim().to_lowercase();
    if name.is_empty() { Err("is empty".to_owned()) } else { Ok(name) }
}

/// Often enough to matter, and seldom enough to leave time for the rest.
pub(super) fn interval(text: &str) -> Result<Duration, &'static str> {
    let duration = text.parse().ok().and_then(|it: SignedDuration| Duration::try_from(it).ok());
    duration
        .filter(|it| (Duration::from_millis(100)..=Duration::from_hours(24)).contains(it))
        .ok_or("give a duration between 100ms and 24h, such as 3m or 90s")
}

/// Where the API server is: scheme and host at least.
pub(super) fn api_server(text: &str) -> Result<Uri, String> {
    let uri = text.parse::<Uri>().ok().filter(|uri| uri.host().is_some() && uri.scheme().is_some());
    uri.ok_or_else(|| "write it as https://10.0.0.1:6443".to_owned())
}

/// A value that a label can have, and not the empty one.
pub(super) fn label_value(text: &str) -> Result<String, String> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let edges = [text.bytes().next(), text.bytes().last()];
    let edges_fit = edges.iter().all(|byte| byte.is_some_and(|b| b.is_ascii_alphanumeric()));
    if !edges_fit || text.len() > 63 || !text.bytes().all(inner) {
        return Err("no label has this value; use up to 63 letters, digits, - _ or .".to_owned());
    }
    Ok(text.to_owned())
}
