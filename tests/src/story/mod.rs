//! The story: `http://web-server-service.default.svc.cluster.local/`, asked by pods, by nodes, from
//! outside and through an ingress, while the pods behind it come and go.
//!
//! Two nodes with agents, DNS by dnsmasq behind the Service `kube-dns`, an ingress by nginx, requests
//! by curl. [`STEPS`] are played in their order on one [`World`]; the test asserts that no [`Row`]
//! of theirs has a fault, the demo prints them.

mod askers;
mod ingress;
mod names;
mod objects;
mod steps;
mod world;

pub use steps::STEPS;
pub use world::World;

/// A part of the story.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What it shows, in a sentence.
    pub title: &'static str,
    /// How that comes about.
    pub text: &'static str,
    /// Plays it, and tells who asked for what. May be played once in a world.
    pub play: fn(&mut World) -> Vec<Row>,
}

/// Somebody asked something.
#[derive(Clone, Debug)]
pub struct Row {
    /// Who asked.
    pub who: String,
    /// For what.
    pub asks: String,
    /// The address that was dialled.
    pub reaches: String,
    /// What came of it.
    pub answer: String,
    /// More about the answer.
    pub detail: String,
    /// What should have been otherwise.
    pub fault: Option<String>,
}
