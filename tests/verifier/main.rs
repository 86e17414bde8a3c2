//! Verifier tests: every program of the object loads, within its instruction budget.

#[cfg(test)]
mod budget;
