//! Values of `SVC_CARRIED` in place, to which others add at the same time.

use core::arch::asm;

use lb_common::abi::carried::Carried;

/// Adds `more` to `sum`, which is a value of `SVC_CARRIED`. What begins and what ends are known to be
/// zero where they are: nothing is left of those additions.
#[inline(always)]
pub(super) fn add(sum: *mut Carried, more: &Carried) {
    // Its fields, in their order: `assert_layout` has four words without gaps.
    let word = |number| sum.cast::<u64>().wrapping_add(number);
    let (flows, sockets, packets, bytes) = (word(0), word(1), word(2), word(3));
    if more.flows != 0 {
        add_word(flows, more.flows);
    }
    if more.sockets != 0 {
        add_word(sockets, more.sockets);
    }
    if more.packets != 0 {
        add_word(packets, more.packets);
        add_word(bytes, more.bytes);
    }
}

#[inline(always)]
fn add_word(place: *mut u64, more: u64) {
    // SAFETY: the pointer comes from a successful lookup in this run of the program; the verifier proves
    // it once more. The instruction is atomic, and Rust has it
    // for no BPF target.
    unsafe {
        asm!(
            "lock *(u64 *)({place} + 0) += {more}",
            place = in(reg) place,
            more = in(reg) more,
            options(nostack),
        );
    }
}
