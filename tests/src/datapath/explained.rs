//! What is explained against what the kernel does: first asked, then done.

use std::collections::BTreeMap;

use lb_common::abi::counter::Counter;
use lb_common::abi::flow::{Flow, FlowKey, Hook};
use lb_common::net::Address;
use lb_common::parse::Link;
use lb_userspace::explain::{Live, Origin, Settings, explain};

use super::kernel::{Answer, Kernel};
use super::{action, now, timeless};

/// Explains a packet, then lets the kernel have it.
///
/// # Panics
///
/// If explaining changes a map, or the kernel then does anything else than what was explained: another
/// action, other bytes, counters or flow entries.
#[track_caller]
pub fn run_as_explained(
    kernel: &mut Kernel,
    settings: Settings,
    (hook, link): (Hook, Link),
    packet: &[u8],
) -> Answer {
    let live = Live::from_maps(|name| kernel.map_data(name), settings, now());
    let live = live.expect("the maps of the object");
    // As packets of test runs come.
    live.place(Origin { ifindex: 1, is_own: true });
    let before = Maps::of(kernel);
    let explained = explain(&live, hook, link, packet).expect("the maps can be read");
    assert_eq!(Maps::of(kernel), before, "explaining changes nothing");

    let answer = kernel.run(hook, link, packet);
    assert_eq!(answer.action, action(explained.verdict), "explained as {:?}", explained.verdict);
    assert_eq!(answer.packet, explained.packet, "the explained packet");
    assert_eq!(
        Maps::of(kernel),
        before.after(&live, &explained.counters),
        "{:#?}",
        explained.steps
    );
    answer
}

type Entries<A> = BTreeMap<FlowKey<A>, Flow<A>>;

/// What packets change, without their time.
#[derive(Debug, PartialEq, Eq)]
struct Maps {
    counters: BTreeMap<Counter, u64>,
    v4: Entries<lb_common::net::Addr4>,
    v6: Entries<lb_common::net::Addr6>,
}

impl Maps {
    fn of(kernel: &Kernel) -> Self {
        Self {
            counters: kernel.counters(),
            v4: timeless(kernel.flows_v4()).into_iter().collect(),
            v6: timeless(kernel.flows_v6()).into_iter().collect(),
        }
    }

    /// These, as they would be afterwards.
    fn after(mut self, live: &Live, counters: &[Counter]) -> Self {
        for counter in counters {
            *self.counters.entry(*counter).or_default() += 1;
        }
        write(&mut self.v4, live.touched_v4());
        write(&mut self.v6, live.touched_v6());
        self
    }
}

fn write<A: Address + Ord>(entries: &mut Entries<A>, touched: Vec<(FlowKey<A>, Option<Flow<A>>)>) {
    let (there, gone): (Vec<_>, Vec<_>) = touched.into_iter().partition(|(_, it)| it.is_some());
    let there = there.into_iter().filter_map(|(key, flow)| Some((key, flow?)));
    entries.extend(timeless(there.collect()));
    entries.retain(|key, _| !gone.iter().any(|(it, _)| it == key));
}
