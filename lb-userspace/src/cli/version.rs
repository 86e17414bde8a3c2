//! `waggle version`.

use std::process::ExitCode;

use serde::Serialize;

use super::Global;
use super::output::{self, Format};
use crate::datapath::object::OBJECT;

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "it is the name in the JSON document")]
struct Version {
    version: &'static str,
    /// Of the maps' layouts: agents with the same number take over each other's maps.
    abi: u32,
    object_bytes: usize,
}

pub(super) fn run(global: &Global) -> anyhow::Result<ExitCode> {
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        abi: lb_common::abi::VERSION,
        object_bytes: OBJECT.len(),
    };
    match global.output {
        Format::Json => output::json(&version)?,
        Format::Table => {
            let Version { version, abi, object_bytes } = version;
            output::text(&format!(
                "waggle {version}\nmap layout v{abi}\nkernel object {object_bytes} bytes"
            ))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
