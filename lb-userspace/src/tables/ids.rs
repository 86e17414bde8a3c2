//! Which ids are taken: of services, and of backends with their generations.
//!
//! Nothing here writes a map or reads a clock. An id that is given back rests for [`GRACE`] before
//! it is handed out again, so that a packet that is on its way meets nobody else behind it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::GRACE;

/// Ids from 1 up to a capacity, the lowest free one first.
#[derive(Clone, Debug)]
pub(super) struct Ids {
    capacity: u32,
    /// Every id from here on was never taken.
    fresh: u32,
    free: BTreeSet<u32>,
    /// Given back and not to be used before the time beside them; ordered by it.
    resting: VecDeque<(Duration, u32)>,
}

impl Ids {
    /// All ids of an array of `capacity` entries: 1 to `capacity - 1`.
    #[must_use]
    pub(super) fn new(capacity: u32) -> Self {
        Self { capacity, fresh: 1, free: BTreeSet::new(), resting: VecDeque::new() }
    }

    /// There are as many now, no fewer than before.
    pub(super) fn grow(&mut self, capacity: u32) {
        self.capacity = self.capacity.max(capacity);
    }

    /// How many can be taken at `now`.
    pub(super) fn available(&mut self, now: Duration) -> usize {
        self.wake(now);
        self.free.len() + self.capacity.saturating_sub(self.fresh) as usize
    }

    /// How many are taken, those that rest not included.
    pub(super) fn taken(&self) -> usize {
        self.fresh as usize - 1 - self.free.len() - self.resting.len()
    }

    /// The lowest id that is free at `now`; `None` if there is none.
    pub(super) fn take(&mut self, now: Duration) -> Option<u32> {
        self.wake(now);
        self.free.pop_first().or_else(|| {
            let id = self.fresh;
            (id < self.capacity).then(|| self.fresh += 1)?;
            Some(id)
        })
    }

    /// Frees `id`, to be used again after [`GRACE`].
    pub(super) fn give_back(&mut self, id: u32, now: Duration) {
        self.resting.push_back((now + GRACE, id));
    }

    /// Frees `id` at once: no map ever held it.
    pub(super) fn untake(&mut self, id: u32) {
        self.free.insert(id);
    }

    /// Takes the very `id`; false if that is not possible.
    pub(super) fn reserve(&mut self, id: u32) -> bool {
        if id == 0 || id >= self.capacity {
            return false;
        }
        if id < self.fresh {
            return self.free.remove(&id);
        }
        self.free.extend(self.fresh..id);
        self.fresh = id + 1;
        true
    }

    fn wake(&mut self, now: Duration) {
        while let Some((_, id)) = self.resting.pop_front_if(|(ready, _)| *ready <= now) {
            self.free.insert(id);
        }
    }
}

/// Ids of backends; each time one is taken, its generation grows.
#[derive(Clone, Debug)]
pub(super) struct BackendIds {
    ids: Ids,
    /// By id: the generation of its last user; 0 = never used.
    generations: Vec<u32>,
}

impl BackendIds {
    /// All ids of an array of `capacity` entries.
    #[must_use]
    pub(super) fn new(capacity: u32) -> Self {
        Self { ids: Ids::new(capacity), generations: Vec::new() }
    }

    /// There are as many now, no fewer than before.
    pub(super) fn grow(&mut self, capacity: u32) {
        self.ids.grow(capacity);
    }

    /// How many can be taken at `now`.
    pub(super) fn available(&mut self, now: Duration) -> usize {
        self.ids.available(now)
    }

    /// The lowest free id and its next generation; `None` if there is none.
    pub(super) fn take(&mut self, now: Duration) -> Option<(u32, u32)> {
        let id = self.ids.take(now)?;
        let generation = self.generation(id);
        *generation = generation.wrapping_add(1);
        Some((id, *generation))
    }

    /// Frees `id`, to be used again after [`GRACE`].
    pub(super) fn give_back(&mut self, id: u32, now: Duration) {
        self.ids.give_back(id, now);
    }

    /// How many are taken, those that rest not included.
    pub(super) fn taken(&self) -> usize {
        self.ids.taken()
    }

    /// Frees `id` at once: no map ever held it with its present generation.
    pub(super) fn untake(&mut self, id: u32) {
        let generation = self.generation(id);
        *generation = generation.wrapping_sub(1);
        self.ids.untake(id);
    }

    /// Takes the very `id` at `generation`; false if that is not possible.
    pub(super) fn reserve(&mut self, id: u32, generation: u32) -> bool {
        let reserved = self.ids.reserve(id);
        if reserved {
            *self.generation(id) = generation;
        }
        reserved
    }

    /// Takes the very `id`, which somebody else has put to use at `generation`; false if that is not
    /// possible. Its next generation is neither theirs nor one of before.
    pub(super) fn reserve_again(&mut self, id: u32, generation: u32) -> bool {
        let generation = generation.max(*self.generation(id));
        self.reserve(id, generation)
    }

    /// Notes that the free `id` was used up to `generation`.
    pub(super) fn remember(&mut self, id: u32, generation: u32) {
        *self.generation(id) = generation;
    }

    fn generation(&mut self, id: u32) -> &mut u32 {
        let index = id as usize;
        if self.generations.len() <= index {
            self.generations.resize(index + 1, 0);
        }
        &mut self.generations[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::ZERO;

    #[test]
    fn the_lowest_free_id_comes_first_and_0_never() {
        let mut ids = Ids::new(4);
        assert_eq!(
            [ids.take(START), ids.take(START), ids.take(START)],
            [Some(1), Some(2), Some(3)]
        );
        assert_eq!(ids.take(START), None);
        ids.give_back(3, START);
        ids.give_back(2, START);
        assert_eq!([ids.take(GRACE), ids.take(GRACE), ids.take(GRACE)], [Some(2), Some(3), None]);
    }

    #[test]
    fn an_id_rests_before_it_is_used_again() {
        let mut ids = Ids::new(2);
        assert_eq!(ids.take(START), Some(1));
        assert_eq!(ids.taken(), 1);
        ids.give_back(1, START);
        assert_eq!((ids.available(START), ids.take(START)), (0, None));
        assert_eq!(ids.taken(), 0);
        assert_eq!((ids.available(GRACE), ids.take(GRACE)), (1, Some(1)));
    }

    #[test]
    fn a_reserved_id_is_taken_and_those_below_stay_free() {
        let mut ids = Ids::new(5);
        assert!(ids.reserve(3));
        assert!(!ids.reserve(3), "taken");
        assert!(!ids.reserve(0) && !ids.reserve(5), "out of range");
        assert_eq!(
            [ids.take(START), ids.take(START), ids.take(START)],
            [Some(1), Some(2), Some(4)]
        );
    }

    #[test]
    fn ids_that_come_are_taken_after_the_free_ones() {
        let mut ids = Ids::new(2);
        assert_eq!([ids.take(START), ids.take(START)], [Some(1), None]);
        ids.grow(3);
        assert_eq!([ids.take(START), ids.take(START)], [Some(2), None]);
    }

    #[test]
    fn each_user_of_a_backend_id_has_the_next_generation() {
        let mut ids = BackendIds::new(3);
        ids.remember(2, 7);
        assert_eq!([ids.take(START), ids.take(START)], [Some((1, 1)), Some((2, 8))]);
        ids.give_back(1, START);
        assert_eq!(ids.take(GRACE), Some((1, 2)));
        ids.untake(1);
        assert_eq!(ids.take(GRACE), Some((1, 2)));
    }
}
