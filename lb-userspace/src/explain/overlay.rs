//! A map of the kernel's that is read there and written here.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use aya::Pod;
use aya::maps::{HashMap, MapData};

/// A hash of the kernel's under what was written since; the kernel's stays as it is.
///
/// An entry is read once: what becomes of it in the kernel afterwards is not seen.
pub(super) struct Overlay<K, V> {
    below: HashMap<MapData, K, V>,
    above: RefCell<BTreeMap<K, Option<Rc<Cell<V>>>>>,
}

impl<K: Pod + Ord, V: Pod> Overlay<K, V> {
    pub(super) const fn new(below: HashMap<MapData, K, V>) -> Self {
        Self { below, above: RefCell::new(BTreeMap::new()) }
    }

    /// The entry at `key`, to be changed in place.
    pub(super) fn get(&self, key: &K) -> Result<Option<Rc<Cell<V>>>, aya::maps::MapError> {
        if let Some(known) = self.above.borrow().get(key) {
            return Ok(known.clone());
        }
        let found = found(self.below.get(key, 0))?.map(|value| Rc::new(Cell::new(value)));
        self.above.borrow_mut().insert(*key, found.clone());
        Ok(found)
    }

    pub(super) fn put(&self, key: &K, value: V) {
        self.above.borrow_mut().insert(*key, Some(Rc::new(Cell::new(value))));
    }

    pub(super) fn remove(&self, key: &K) {
        self.above.borrow_mut().insert(*key, None);
    }

    /// Every entry that was asked for or written, in the order of the keys; `None` if there is none now.
    pub(super) fn touched(&self) -> Vec<(K, Option<V>)> {
        let above = self.above.borrow();
        above.iter().map(|(key, value)| (*key, value.as_ref().map(|it| it.get()))).collect()
    }
}

/// What a look-up found. What no map has room for is not there either, as for the programs.
pub(super) fn found<V>(
    got: Result<V, aya::maps::MapError>,
) -> Result<Option<V>, aya::maps::MapError> {
    use aya::maps::MapError::{ElementNotFound, KeyNotFound, OutOfBounds};
    match got {
        Ok(value) => Ok(Some(value)),
        Err(KeyNotFound | ElementNotFound | OutOfBounds { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
