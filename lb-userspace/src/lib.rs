//! Waggle's agent, as a library: the binary `waggle` and the tests are its users.
//!
//! Data flows one way (design §2):
//!
//! ```text
//! sources ─► store ─► plan (pure) ─► tables ─► Maps trait ─► kernel maps
//! netlink ─► node ────┘
//! ```
//!
//! Nothing reads upstream: `sources` know nothing of maps, `tables` nothing of Kubernetes, `plan`
//! nothing of either; `agent` alone knows everybody.
#![deny(unsafe_code)]

pub mod agent;
pub mod cli;
pub mod config;
pub mod datapath;
pub mod exempt;
pub mod explain;
pub mod flows;
pub mod guard;
pub mod kube_proxy;
pub mod maps;
pub mod model;
pub mod netlink;
pub mod plan;
pub mod reconcile;
pub mod rehearsal;
pub mod serve;
pub mod sources;
pub mod store;
pub mod tables;
pub mod terminate;
