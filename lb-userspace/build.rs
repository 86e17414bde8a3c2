//! Puts the kernel object into `OUT_DIR/waggle.o`, from where the agent embeds it.
//!
//! It compiles nothing: `cargo xtask build` makes the object, with flags and a target of its own.
//! `WAGGLE_DATAPATH_OBJECT` names another object, relative to the workspace.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let object = object();
    println!("cargo::rerun-if-env-changed=WAGGLE_DATAPATH_OBJECT");
    println!("cargo::rerun-if-env-changed=CARGO_TARGET_DIR");
    println!("cargo::rerun-if-changed={}", object.display());
    let embedded = Path::new(&variable("OUT_DIR", "")).join("waggle.o");
    match fs::copy(&object, embedded) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            let object = object.display();
            println!(
                "cargo::error=no kernel object at {object} ({error}); run `cargo xtask build`"
            );
            ExitCode::FAILURE
        }
    }
}

/// Where `cargo xtask build` puts the object of the chosen features.
fn object() -> PathBuf {
    let manifest = variable("CARGO_MANIFEST_DIR", "");
    let workspace = Path::new(&manifest).parent().unwrap_or(Path::new(""));
    let logs = env::var_os("CARGO_FEATURE_DATAPATH_LOG").is_some();
    let name = if logs { "waggle-log.o" } else { "waggle.o" };
    let usual = Path::new(&variable("CARGO_TARGET_DIR", "target")).join("datapath").join(name);
    workspace.join(variable("WAGGLE_DATAPATH_OBJECT", usual))
}

fn variable(name: &str, default: impl Into<OsString>) -> OsString {
    env::var_os(name).unwrap_or_else(|| default.into())
}
