//! Random packets, random damage and random stories. Every run is the same unless `WAGGLE_SEED`, a
//! number, says otherwise; what fails tells its own.

mod packets;
mod play;
mod story;
mod world;

use std::cell::RefCell;
use std::env;
use std::fmt::Debug;

use lb_tests::datapath::Datapath;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use play::{Play, Seen};
use story::stories;

/// The seed of every run.
const SEED: u64 = 4;

/// Lets `test` panic at one of so many values; then tells the seed and the least value that it panics
/// at.
fn check<S: Strategy<Value: Debug>>(cases: u32, values: &S, test: impl Fn(S::Value)) {
    let seed = env::var("WAGGLE_SEED").map_or(SEED, |it| it.parse().expect("a number"));
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let test = |value| {
        test(value);
        Ok(())
    };
    if let Err(error) = TestRunner::new_with_rng(config, rng).run(values, test) {
        panic!("WAGGLE_SEED={seed}: {error}");
    }
}

/// A datapath that is used again as long as nothing went wrong in it: to load one takes longer than
/// most stories.
#[derive(Default)]
struct Used(RefCell<Option<Datapath>>);

impl Used {
    /// Lets `test` use the datapath, without any flow; one is made by `new` if there is none.
    fn lend(&self, new: impl FnOnce() -> Datapath, test: impl FnOnce(&mut Datapath)) {
        let mut datapath = self.0.take().unwrap_or_else(new);
        test(&mut datapath);
        datapath.evict(|_, _| true);
        self.0.replace(Some(datapath));
    }
}

#[test]
fn every_answer_comes_from_what_was_dialled_whatever_else_is_going_on() {
    let datapaths: [Used; 4] = Default::default();
    let seen = RefCell::new(Seen::new());
    check(600, &stories(), |story| {
        datapaths[story.setting as usize].lend(
            || world::datapath(story.setting),
            |datapath| Play::new(datapath, &story, &mut seen.borrow_mut()).run(),
        );
    });
    let seen = seen.into_inner();
    let times = |name| seen.get(name).copied().unwrap_or(0);
    assert!(times("dropped") * 20 < times("opened"), "{seen:?}");
    for name in play::WORTH_SEEING {
        assert!(times(name) >= 10, "{name}: {seen:?}");
    }
}
