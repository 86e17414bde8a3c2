//! Real sockets through real namespaces; needs root.
#![expect(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    reason = "the whole crate is tests"
)]

mod beside;
mod bulk;
mod chaos;
mod clashes;
mod cluster;
mod drift;
mod evictions;
mod floods;
mod fragments;
mod growth;
mod hairpin;
mod health;
mod inspect;
mod lab;
mod lifecycle;
mod links;
mod manifests;
mod metrics;
mod overlay;
mod pair;
mod pmtu;
mod policies;
mod privileges;
mod rehearsal;
mod reject;
mod removed;
mod reuse;
mod second;
mod services;
mod sockets;
mod status;
mod story;
mod takeover;
#[cfg(test)]
mod trace;
#[cfg(test)]
mod udp;
