//! From Kubernetes objects to what becomes of a packet, end to end and twice.
//!
//! [`World`] runs the agent's control plane (conversion, store, plan, reconciliation) over maps in
//! memory and over the maps of the loaded kernel object, from the same objects. [`World::probe`]
//! sends the same packets through the native execution of the datapath and through the kernel's
//! programs. The two must agree on every packet: its bytes, the flow entries and the counters.
//!
//! It knows neither what is right nor where that is written: the rows of `tests/truth` do.

mod fate;
mod lists;
mod memory;
mod probe;
mod world;

pub use fate::{Fate, Fates, dropped, masqueraded, reaches, rejected, unhandled};
pub use memory::tables;
pub use probe::{Probe, destination};
pub use world::{Seen, World};

/// The name of the node that all worlds are seen from.
pub const NODE_NAME: &str = "node";
