//! Flow entries in memory.

use std::cell::Cell;
use std::rc::Rc;

use crate::abi::flow::Flow;
use crate::clock::Ticks;
use crate::tables::FlowEntry;

/// A flow entry in memory.
#[derive(Clone, Debug)]
pub struct Entry<A: Copy>(pub(super) Rc<Cell<Flow<A>>>);

impl<A: Copy> FlowEntry<A> for Entry<A> {
    fn load(&self) -> Flow<A> {
        self.0.get()
    }

    fn record(&self, bytes: u32, now: Ticks) {
        let flow = self.0.get();
        self.0.set(Flow {
            packets: flow.packets + 1,
            bytes: flow.bytes + u64::from(bytes),
            seen: now,
            ..flow
        });
    }

    fn set_state(&self, state: u8) {
        self.0.set(Flow { state, ..self.0.get() });
    }

    fn take_counts(&self) -> (u64, u64) {
        let flow = self.0.replace(Flow { packets: 0, bytes: 0, ..self.0.get() });
        (flow.packets, flow.bytes)
    }
}
