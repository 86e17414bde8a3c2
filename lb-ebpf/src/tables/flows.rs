//! Values of flow entries in place, hints, and the turns of probation.

use core::arch::asm;

use lb_common::abi::flow::Flow;
use lb_common::clock::Ticks;
use lb_common::tables::FlowEntry;

use crate::maps;

/// A value of `FLOWS_*` in place.
///
/// Another CPU may write the same entry at the same time. Every field is an aligned integer that
/// is read or written whole, so the worst that can happen is a lost count.
pub(crate) struct Entry<A>(pub(super) *mut Flow<A>);

impl<A: Copy> FlowEntry<A> for Entry<A> {
    #[inline(always)]
    fn load(&self) -> Flow<A> {
        // SAFETY: the pointer comes from a successful lookup in this run of the program, and the
        // kernel keeps the memory of map values until the program has returned.
        unsafe { *self.0 }
    }

    #[inline(always)]
    fn record(&self, bytes: u32, now: Ticks) {
        // SAFETY: as in `load`; the kernel and we are the only users of this memory, and it is
        // only ever touched as plain integers.
        let flow = unsafe { &mut *self.0 };
        flow.packets += 1;
        flow.bytes += u64::from(bytes);
        if flow.seen != now {
            flow.seen = now;
        }
    }

    #[inline(always)]
    fn set_state(&self, state: u8) {
        // SAFETY: as in `record`.
        let flow = unsafe { &mut *self.0 };
        flow.state = state;
    }

    #[inline(always)]
    fn take_counts(&self) -> (u64, u64) {
        // SAFETY: as in `record`.
        let flow = unsafe { &mut *self.0 };
        (core::mem::take(&mut flow.packets), core::mem::take(&mut flow.bytes))
    }
}

/// The byte at a place of `HINTS`.
#[inline(always)]
pub(super) fn hint(place: u16) -> Option<*mut u8> {
    let hints = maps::HINTS.get_ptr_mut(0)?;
    Some(hints.cast::<u8>().wrapping_add(usize::from(place)))
}

/// Takes the next number of `turn`, which is a value of `PROBATION_TURN`.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "it goes no further than the ring")]
pub(super) fn take(turn: *mut u64) -> u32 {
    let mut number = 1u64;
    // SAFETY: the pointer comes from a successful lookup in this run of the program; the verifier
    // proves it once more. The instruction is atomic (kernel 5.12), and Rust has it for no BPF target.
    unsafe {
        asm!(
            "{number} = atomic_fetch_add((u64 *)({turn} + 0), {number})",
            number = inout(reg) number,
            turn = in(reg) turn,
            options(nostack),
        );
    }
    number as u32
}
