//! Real sockets through real namespaces; needs root.
#![expect(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    reason = "the whole crate is tests"
)]

mod cluster;
mod fragments;
mod hairpin;
mod inspect;
mod lab;
mod lifecycle;
mod links;
mod manifests;
mod overlay;
mod pair;
mod pmtu;
mod policies;
mod reject;
mod reuse;
mod services;
mod sockets;
