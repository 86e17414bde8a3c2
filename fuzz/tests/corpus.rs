//! Replays the corpus, without a fuzzing engine: whatever was found once stays right.

use std::fs;
use std::path::Path;

#[track_caller]
fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let inputs = fs::read_dir(&folder).expect("the corpus is in the tree");
    let mut count = 0;
    for input in inputs {
        let path = input.expect("the corpus can be listed").path();
        println!("{}", path.display());
        run(&fs::read(&path).expect("an input can be read"));
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}

#[test]
fn every_packet_of_the_corpus_is_treated_rightly() {
    replay("packet", lb_fuzz::packet::run);
}

#[test]
fn every_story_of_the_corpus_ends_well() {
    replay("sequence", lb_fuzz::sequence::run);
}
