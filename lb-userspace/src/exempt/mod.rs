//! Who is left to their packets where the sockets of pods are translated: the pods that say so
//! (`waggle.dev/socket-lb: "off"`), and the network namespaces that have an interface of a certain
//! name, as those of virtual machines do. A machine's own sockets are not the node's, but beside it
//! may be processes that carry its traffic.
//!
//! A pod is known by its cgroup ([`cgroups`]), a namespace by its cookie ([`namespaces`]). Both may be
//! there a moment after the pod is: a cgroup that is missing is looked for until it is found or the pod
//! goes, less and less often; namespaces are looked at every few seconds.

mod cgroups;
mod namespaces;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use globset::GlobSet;
use lb_common::abi::exempt::namespace;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use self::cgroups::Cgroups;
use crate::maps::kernel::Exempt;

/// The pause before something is looked for again that is missing: less than a container takes to start.
const SHORTEST: Duration = Duration::from_millis(250);
/// The longest such pause.
const LONGEST: Duration = Duration::from_secs(30);
/// How often the interfaces of namespaces are looked at, where names are given.
const INTERFACES: Duration = Duration::from_secs(5);

/// The uids of the pods that are to be exempt; `None` while nobody knows.
pub type Wanted = Option<BTreeSet<Arc<str>>>;

/// Where to look.
#[derive(Debug)]
pub struct Places {
    /// The cgroup that those of pods are below.
    pub root: PathBuf,
    /// The directory of named network namespaces.
    pub netns_dir: PathBuf,
    /// The names of interfaces whose namespaces are exempt.
    pub interfaces: GlobSet,
}

/// Keeps `table` as `wanted` and the names of interfaces say until nobody says any more.
pub async fn run(places: Places, mut table: Exempt, mut wanted: watch::Receiver<Wanted>) {
    let mut cgroups = Cgroups::below(places.root.clone());
    let mut search = Search::default();
    let (mut told, mut namespaces) = (None, BTreeSet::new());
    while wait(&mut wanted, search.pause(&places)).await {
        let Some(uids) = wanted.borrow_and_update().clone() else { continue };
        let (mut keys, missing) = cgroups.of(&uids);
        if !places.interfaces.is_empty() {
            match look(&places).await {
                Ok(found) => namespaces = found,
                Err(error) => search.tell(&error),
            }
            keys.extend(namespaces.iter().copied().map(namespace));
        }
        if told.as_ref() != Some(&keys) {
            let pods = keys.len() - namespaces.len();
            told = write(&mut table, keys);
            tracing::info!(pods, namespaces = namespaces.len(), "to be left to their packets");
        }
        search.looked(missing, told.is_some());
    }
}

/// Returns what the table holds now, if that is known.
fn write(table: &mut Exempt, keys: BTreeSet<u64>) -> Option<BTreeSet<u64>> {
    let written = table.set(&keys);
    if let Err(error) = &written {
        tracing::warn!("not all can be left to their packets, trying again: {error}");
    }
    written.ok().map(|()| keys)
}

/// Waits for news, or for the end of the pause; `false` if there will be no more.
async fn wait(wanted: &mut watch::Receiver<Wanted>, pause: Option<Duration>) -> bool {
    let changed = match pause {
        Some(pause) => timeout(pause, wanted.changed()).await.unwrap_or(Ok(())),
        None => wanted.changed().await,
    };
    changed.is_ok()
}

async fn look(places: &Places) -> io::Result<BTreeSet<u64>> {
    let (directory, names) = (places.netns_dir.clone(), places.interfaces.clone());
    let look = spawn_blocking(move || namespaces::with_interfaces(&directory, &names));
    look.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// When to look again.
#[derive(Debug, Default)]
struct Search {
    missing: BTreeSet<Arc<str>>,
    /// Whether the table has not what it should have.
    is_behind: bool,
    /// How often nothing new was missing, one after the other.
    times: u32,
    /// Whether people know that namespaces cannot be looked at.
    is_told: bool,
}

impl Search {
    /// Notes who was missing, and whether the table was written. Somebody new is looked for soon.
    fn looked(&mut self, missing: BTreeSet<Arc<str>>, is_written: bool) {
        let goes_on = self.is_unfinished() && missing.is_subset(&self.missing);
        self.times = if goes_on { self.times.saturating_add(1) } else { 0 };
        (self.missing, self.is_behind) = (missing, !is_written);
    }

    fn is_unfinished(&self) -> bool {
        self.is_behind || !self.missing.is_empty()
    }

    /// How long to wait for news; `None`: as long as there are none.
    fn pause(&self, places: &Places) -> Option<Duration> {
        let growing = SHORTEST.saturating_mul(2_u32.saturating_pow(self.times));
        let unfinished = self.is_unfinished().then(|| growing.min(LONGEST));
        let interfaces = (!places.interfaces.is_empty()).then_some(INTERFACES);
        unfinished.into_iter().chain(interfaces).min()
    }

    fn tell(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.is_told, true) {
            tracing::warn!(
                "sockets are translated in namespaces with the interfaces of \
                 --socket-lb-skip-interfaces too, for nobody can look there: {error}; give the agent \
                 CAP_SYS_ADMIN"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use globset::Glob;

    use super::*;

    fn places(interfaces: &[&str]) -> Places {
        let globs = interfaces.iter().map(|name| Glob::new(name).unwrap());
        let interfaces = GlobSet::new(globs.collect::<Vec<_>>()).unwrap();
        Places { root: PathBuf::new(), netns_dir: PathBuf::new(), interfaces }
    }

    fn uids(uids: &[&str]) -> BTreeSet<Arc<str>> {
        uids.iter().map(|&uid| uid.into()).collect()
    }

    #[test]
    fn the_same_that_are_missing_are_looked_for_less_and_less_often() {
        let (mut search, places) = (Search::default(), places(&[]));
        assert_eq!(search.pause(&places), None);
        let pauses = [(); 10].map(|()| {
            search.looked(uids(&["a", "b"]), true);
            search.pause(&places).unwrap().as_millis()
        });
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
        search.looked(uids(&["b"]), true);
        assert_eq!(search.pause(&places), Some(LONGEST), "one was found");
        search.looked(uids(&["b", "c"]), true);
        assert_eq!(search.pause(&places), Some(SHORTEST), "another came");
        search.looked(uids(&[]), true);
        assert_eq!(search.pause(&places), None, "the pods are gone");
    }

    #[test]
    fn a_table_that_could_not_be_written_is_written_soon_and_then_less_often() {
        let (mut search, places) = (Search::default(), places(&[]));
        let pauses = [(); 3].map(|()| {
            search.looked(uids(&[]), false);
            search.pause(&places).unwrap().as_millis()
        });
        assert_eq!(pauses, [250, 500, 1000]);
        search.looked(uids(&[]), true);
        assert_eq!(search.pause(&places), None);
    }

    #[test]
    fn nobody_waits_longer_for_what_is_missing_for_ever() {
        let missing = uids(&["a"]);
        let mut search = Search { missing: missing.clone(), times: u32::MAX, ..Search::default() };
        search.looked(missing, true);
        assert_eq!(search.pause(&places(&[])), Some(LONGEST));
    }

    #[test]
    fn interfaces_are_looked_at_all_the_time_where_names_are_given() {
        let (mut search, places) = (Search::default(), places(&["tap*"]));
        assert_eq!(search.pause(&places), Some(INTERFACES));
        search.looked(uids(&["a"]), true);
        assert_eq!(search.pause(&places), Some(SHORTEST));
        search.times = 30;
        assert_eq!(search.pause(&places), Some(INTERFACES));
    }
}
