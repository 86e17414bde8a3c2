//! Finds the network namespaces that have an interface of a certain name.
//!
//! A namespace shows its interfaces to who is inside, so each is entered (`CAP_SYS_ADMIN`), by a thread
//! that does nothing else and ends afterwards. Nothing in it is changed.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::thread;

use globset::GlobSet;

use crate::terminate::namespaces::each;

/// The cookies of the namespaces that have such an interface, the caller's own excepted.
/// `PermissionDenied` without `CAP_SYS_ADMIN`.
pub(super) fn with_interfaces(directory: &Path, names: &GlobSet) -> io::Result<BTreeSet<u64>> {
    let mut found = BTreeSet::new();
    let visit = |cookie| {
        if has(names, &fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default()) {
            found.insert(cookie);
        }
        ControlFlow::Continue(())
    };
    thread::scope(|scope| {
        let tour = scope.spawn(|| each(directory, visit));
        tour.join().unwrap_or_else(|_| Err(io::Error::other("the thread for namespaces panicked")))
    })?;
    Ok(found)
}

/// Whether `table` (`/proc/net/dev`: two lines of titles, then `name: numbers`) has such an interface.
fn has(names: &GlobSet, table: &str) -> bool {
    let interfaces = table.lines().skip(2).filter_map(|line| line.split_once(':'));
    interfaces.map(|(name, _)| name.trim()).any(|name| names.is_match(name))
}

#[cfg(test)]
mod tests {
    use globset::Glob;

    use super::*;

    #[test]
    fn interfaces_are_known_by_their_whole_names() {
        let table =
            "Inter-|   Receive\n face |bytes    packets\n    lo:  84 1 0\nk6t-eth0: 0 0 0\n";
        let found = ["tap*", "k6t-*", "k6t", "eth0", "lo", "face*", "Inter*"]
            .map(|name| has(&GlobSet::new([Glob::new(name).unwrap()]).unwrap(), table));
        assert_eq!(found, [false, true, false, false, true, false, false]);
    }
}
