//! How many tests passed and failed, read from what `cargo test` prints.

use std::ops::AddAssign;

/// A count of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Tests that passed.
    pub(super) passed: u32,
    /// Tests that failed.
    pub(super) failed: u32,
}

impl Tally {
    /// What a line of output says; nothing unless it is libtest's summary, such as
    /// `test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; …`.
    pub(super) fn of_line(line: &str) -> Self {
        let Some(counts) = line.strip_prefix("test result: ") else { return Self::default() };
        let count = |word: &str| {
            let mut parts = counts.split(['.', ';']).map(str::trim);
            parts.find_map(|part| part.strip_suffix(word)?.trim().parse().ok()).unwrap_or(0)
        };
        Self { passed: count("passed"), failed: count("failed") }
    }

    /// Whether no test ran.
    pub(super) fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Whether tests ran and all of them passed.
    pub(super) fn is_success(self) -> bool {
        self.passed > 0 && self.failed == 0
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, passed: u32, failed: u32) {
        assert_eq!(Tally::of_line(line), Tally { passed, failed }, "{line}");
    }

    #[test]
    fn only_the_summary_of_a_test_binary_counts() {
        check("test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out", 12, 0);
        check("test result: FAILED. 7 passed; 2 failed; 0 ignored; finished in 0.01s", 7, 2);
        check("test 5 passed; ... ok", 0, 0);
        check("    test result: ok. 12 passed; 0 failed", 0, 0);
        check("", 0, 0);
    }

    #[test]
    fn nothing_run_is_no_success() {
        assert!(!Tally::default().is_success());
        assert!(!Tally { passed: 9, failed: 1 }.is_success());
        assert!(Tally { passed: 1, failed: 0 }.is_success());
    }
}
