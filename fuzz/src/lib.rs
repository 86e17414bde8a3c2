//! Fuzzing of the datapath: parse, decide, rewrite, over tables in memory.
//!
//! An input chooses a small world ([`world`]) and the packets that meet it: any bytes behind a few
//! flows ([`packet`]), or a story of few clients that dial, answer, close and dial again
//! ([`sequence`]). What must be true of every packet stands in [`check`], of every request and its
//! answer in [`journey`], of the flow table in [`flows`]; all of it judged by code of its own
//! ([`view`], [`sums`]).
//!
//! The fuzzing engine is not needed to build this: `cargo test` replays the corpus, and what it
//! found once, without it.

pub mod builders;
pub mod check;
pub mod choices;
pub mod flows;
pub mod journey;
pub mod packet;
pub mod sequence;
pub mod sums;
pub mod view;
pub mod world;
