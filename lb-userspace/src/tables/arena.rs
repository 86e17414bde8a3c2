//! Which slots are taken: ranges of `SLOTS`.
//!
//! Best fit, neighbours coalesce. Nothing here writes a map or reads a clock. A range that is
//! freed rests for [`GRACE`]: a packet may just have read the count that made it visible (I4).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::GRACE;

/// `len` slots from `start` on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    /// The first slot.
    pub(super) start: u32,
    /// How many.
    pub(super) len: u32,
}

/// The allocator of slots. Free ranges never touch each other and never overlap.
#[derive(Clone, Debug)]
pub(super) struct Arena {
    /// How many slots are taken or rest.
    unavailable: u32,
    /// Start → length of every free range.
    by_start: BTreeMap<u32, u32>,
    /// The same as (length, start), to find the smallest that fits.
    by_len: BTreeSet<(u32, u32)>,
    /// Freed and not to be used before the time beside them; ordered by it.
    resting: VecDeque<(Duration, Span)>,
}

impl Arena {
    /// `capacity` free slots.
    #[must_use]
    pub(super) fn new(capacity: u32) -> Self {
        let mut arena = Self {
            unavailable: capacity,
            by_start: BTreeMap::new(),
            by_len: BTreeSet::new(),
            resting: VecDeque::new(),
        };
        arena.insert(Span { start: 0, len: capacity });
        arena
    }

    /// `more` slots that begin at `start`, the end so far.
    pub(super) fn grow(&mut self, start: u32, more: u32) {
        self.unavailable += more;
        self.untake(Span { start, len: more });
    }

    /// How many slots are taken, those that rest not included.
    pub(super) fn taken(&self) -> u32 {
        self.unavailable - self.resting.iter().map(|(_, span)| span.len).sum::<u32>()
    }

    /// `len` slots that are free at `now`; `None` if no free range is long enough.
    pub(super) fn take(&mut self, len: u32, now: Duration) -> Option<Span> {
        while let Some((_, span)) = self.resting.pop_front_if(|(ready, _)| *ready <= now) {
            self.untake(span);
        }
        if len == 0 {
            return Some(Span::default());
        }
        let (room, start) = *self.by_len.range((len, 0)..).next()?;
        self.remove(Span { start, len: room });
        self.insert(Span { start: start + len, len: room - len });
        Some(Span { start, len })
    }

    /// Frees `span`, to be used again after [`GRACE`].
    pub(super) fn give_back(&mut self, span: Span, now: Duration) {
        self.resting.push_back((now + GRACE, span));
    }

    /// Frees `span` at once: no service ever named it.
    pub(super) fn untake(&mut self, span: Span) {
        let mut merged = span;
        if let Some(before) = self.free_range_before(span.start)
            && before.start + before.len == span.start
        {
            self.remove(before);
            merged = Span { start: before.start, len: before.len + merged.len };
        }
        let end = merged.start + merged.len;
        if let Some(&len) = self.by_start.get(&end) {
            self.remove(Span { start: end, len });
            merged.len += len;
        }
        self.insert(merged);
    }

    /// Takes the very `span`; false if not all of it is free.
    pub(super) fn reserve(&mut self, span: Span) -> bool {
        if span.len == 0 {
            return true;
        }
        let around = self.free_range_before(span.start.saturating_add(1));
        let Some((free, end)) = around.zip(span.start.checked_add(span.len)) else { return false };
        let free_end = free.start + free.len;
        if free_end < end {
            return false;
        }
        self.remove(free);
        self.insert(Span { start: free.start, len: span.start - free.start });
        self.insert(Span { start: end, len: free_end - end });
        true
    }

    /// The last free range that starts below `start`.
    fn free_range_before(&self, start: u32) -> Option<Span> {
        self.by_start.range(..start).next_back().map(|(&start, &len)| Span { start, len })
    }

    fn insert(&mut self, span: Span) {
        if span.len > 0 {
            self.by_start.insert(span.start, span.len);
            self.by_len.insert((span.len, span.start));
            self.unavailable -= span.len;
        }
    }

    fn remove(&mut self, span: Span) {
        self.by_start.remove(&span.start);
        self.unavailable += span.len;
        self.by_len.remove(&(span.len, span.start));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Duration = Duration::ZERO;

    fn span(start: u32, len: u32) -> Span {
        Span { start, len }
    }

    #[test]
    fn the_smallest_range_that_fits_is_used() {
        let mut arena = Arena::new(100);
        assert!(arena.reserve(span(10, 5)) && arena.reserve(span(18, 2)));
        assert_eq!(arena.take(3, START), Some(span(15, 3)));
        assert_eq!(arena.take(11, START), Some(span(20, 11)));
        assert_eq!(arena.take(10, START), Some(span(0, 10)));
    }

    #[test]
    fn a_freed_range_rests_and_then_joins_its_neighbours() {
        let mut arena = Arena::new(10);
        let spans = [4, 3, 3].map(|len| arena.take(len, START).unwrap());
        for span in spans {
            arena.give_back(span, START);
        }
        assert_eq!(arena.take(1, START), None);
        assert_eq!(arena.take(10, GRACE), Some(span(0, 10)));
    }

    #[test]
    fn only_a_wholly_free_range_can_be_reserved() {
        let mut arena = Arena::new(10);
        assert!(arena.reserve(span(3, 4)));
        for taken in [span(3, 4), span(0, 4), span(6, 1), span(9, 2), span(u32::MAX, 9)] {
            assert!(!arena.reserve(taken), "{taken:?}");
        }
        assert!(arena.reserve(span(7, 3)) && arena.reserve(span(0, 3)));
        assert_eq!(arena.take(1, START), None);
    }

    #[test]
    fn slots_that_come_join_the_free_ones_at_the_end() {
        let mut arena = Arena::new(10);
        assert!(arena.reserve(span(0, 8)));
        assert_eq!(arena.take(6, START), None);
        arena.grow(10, 4);
        assert_eq!((arena.taken(), arena.take(6, START)), (8, Some(span(8, 6))));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take(u32),
        Free(prop::sample::Index),
        Wait,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0u32..20).prop_map(Step::Take),
            2 => any::<prop::sample::Index>().prop_map(Step::Free),
            1 => Just(Step::Wait),
        ]
    }

    proptest! {
        #[test]
        fn ranges_never_overlap_and_nothing_is_lost(steps in prop::collection::vec(step(), 1..200)) {
            let mut arena = Arena::new(64);
            let (mut now, mut live, mut resting) = (START, Vec::<Span>::new(), Vec::<Span>::new());
            for step in steps {
                match step {
                    Step::Take(len) => live.extend(arena.take(len, now)),
                    Step::Free(_) if live.is_empty() => {}
                    Step::Free(which) => {
                        let span = live.swap_remove(which.index(live.len()));
                        arena.give_back(span, now);
                        resting.push(span);
                    }
                    Step::Wait => {
                        now += GRACE;
                        resting.clear();
                        arena.take(0, now);
                    }
                }
                let free = arena.by_start.iter().map(|(&start, &len)| Span { start, len });
                let mut owners = [0u32; 64];
                for span in live.iter().chain(&resting).copied().chain(free) {
                    for slot in span.start..span.start + span.len {
                        owners[slot as usize] += 1;
                    }
                }
                prop_assert_eq!(owners, [1; 64]);
                let taken: u32 = live.iter().map(|span| span.len).sum();
                prop_assert_eq!(arena.taken(), taken);
                let ends: Vec<_> = arena.by_start.iter().map(|(start, len)| start + len).collect();
                prop_assert!(ends.iter().all(|end| !arena.by_start.contains_key(end)));
                prop_assert_eq!(arena.by_start.len(), arena.by_len.len());
            }
        }
    }
}
