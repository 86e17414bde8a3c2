//! The fuzz target `sequence`: see [`lb_fuzz::sequence`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lb_fuzz::sequence::run(input));
