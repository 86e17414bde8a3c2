//! The fuzz target `packet`: see [`lb_fuzz::packet`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lb_fuzz::packet::run(input));
