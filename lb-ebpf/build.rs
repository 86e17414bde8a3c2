//! Makes cargo link the kernel programs again when bpf-linker changes: cargo knows nothing of it.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PATH");
    let path = env::var_os("PATH").unwrap_or_default();
    let linker = env::split_paths(&path).map(|dir| dir.join("bpf-linker")).find(|it| it.is_file());
    if let Some(linker) = linker {
        println!("cargo::rerun-if-changed={}", linker.display());
    }
}
