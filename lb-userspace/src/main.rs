//! The `waggle` command.

fn main() {}
