//! The agent against the API server of the lab; needs nothing.
#![expect(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    reason = "the whole crate is tests"
)]

mod server;
