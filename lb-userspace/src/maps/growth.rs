//! How large the maps are to be that the agent fills. Pure.
//!
//! They begin small and double as the cluster does, up to limits that are settings. Those that the
//! programs fill have the size of their setting from the beginning.

use super::Capacities;

/// What a small cluster needs.
const START: Capacities = Capacities {
    frontends: 512,
    services: 512,
    slots: 4096,
    backends: 2048,
    clients: 256,
    source_ranges: 256,
    flows: u32::MAX,
    sockets: u32::MAX,
};

/// The sizes to begin with where nothing is pinned.
#[must_use]
pub fn start(limits: &Capacities) -> Capacities {
    START.with(limits, u32::min)
}

/// The sizes that those there are `now` may grow to.
#[must_use]
pub fn most(now: &Capacities, limits: &Capacities) -> Capacities {
    now.with(limits, u32::max)
}

/// The sizes that `demand` asks for, if some of those there are `now` have less than a fifth left, and
/// the limits allow for more.
#[must_use]
pub fn wanted(demand: &Capacities, now: &Capacities, limits: &Capacities) -> Option<Capacities> {
    let grown = now.with(demand, larger).with(limits, u32::min).with(now, u32::max);
    (grown != *now).then_some(grown)
}

/// `now`, doubled until `demand` is at most four fifths of it.
fn larger(now: u32, demand: u32) -> u32 {
    let is_enough = |size: &u32| u64::from(demand) * 5 <= u64::from(*size) * 4;
    let sizes = std::iter::successors(Some(now.max(1)), |size| size.checked_mul(2));
    sizes.into_iter().find(is_enough).unwrap_or(u32::MAX)
}

impl Capacities {
    /// Nothing.
    pub(crate) const NONE: Self = Self {
        frontends: 0,
        services: 0,
        slots: 0,
        backends: 0,
        flows: 0,
        clients: 0,
        source_ranges: 0,
        sockets: 0,
    };

    /// Each of them made of this one's and `other`'s.
    fn with(self, other: &Self, make: impl Fn(u32, u32) -> u32) -> Self {
        Self {
            frontends: make(self.frontends, other.frontends),
            services: make(self.services, other.services),
            slots: make(self.slots, other.slots),
            backends: make(self.backends, other.backends),
            flows: make(self.flows, other.flows),
            clients: make(self.clients, other.clients),
            source_ranges: make(self.source_ranges, other.source_ranges),
            sockets: make(self.sockets, other.sockets),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Capacities = Capacities {
        frontends: 100_000,
        services: 100_000,
        slots: 100_000,
        backends: 100_000,
        flows: 500,
        clients: 100,
        source_ranges: 100_000,
        sockets: 50,
    };

    #[track_caller]
    fn check(slots: u32, demand: u32, expected: Option<u32>) {
        let now = Capacities { slots, ..start(&LIMITS) };
        let demand = Capacities { slots: demand, ..Capacities::NONE };
        let expected = expected.map(|slots| Capacities { slots, ..now });
        assert_eq!(wanted(&demand, &now, &LIMITS), expected);
    }

    #[test]
    fn a_map_doubles_until_a_fifth_of_it_is_free() {
        check(1000, 0, None);
        check(1000, 800, None);
        check(1000, 801, Some(2000));
        check(1000, 7000, Some(16_000));
    }

    #[test]
    fn a_map_grows_up_to_its_limit_and_no_further() {
        check(60_000, 60_000, Some(100_000));
        check(100_000, 200_000, None);
        check(60_000, u32::MAX, Some(100_000));
        check(200_000, 300_000, None);
    }

    #[test]
    fn a_first_start_is_small_within_the_limits_but_for_what_programs_fill() {
        let expected = Capacities { clients: 100, flows: 500, sockets: 50, ..START };
        assert_eq!(start(&LIMITS), expected);
    }
}
