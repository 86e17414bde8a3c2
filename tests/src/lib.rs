//! Waggle's lab: what the layers of tests, the demo and the benchmarks are built from.
#![expect(clippy::missing_panics_doc, reason = "what a test needs and cannot have ends the test")]

pub mod datapath;
