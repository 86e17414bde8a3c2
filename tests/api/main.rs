//! The agent against the API server of the lab: what is in the cluster is in the kernel's maps.
//!
//! Needs root, because the maps are real: the agent runs in a node of the lab, loads its programs and
//! pins its maps as on any node. No traffic is sent; the network layer does that.
#![expect(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    reason = "the whole crate is tests"
)]

mod burst;
mod changes;
mod check;
mod deployed;
mod finding;
mod health;
mod kinds;
mod random;
mod refusals;
mod rejections;
mod restarts;
mod server;
mod sockets;
mod trouble;
mod view;
mod watches;
mod world;
