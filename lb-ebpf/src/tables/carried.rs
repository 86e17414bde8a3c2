//! Values of `SVC_CARRIED` in place, to which others add at the same time.

use core::arch::asm;

use lb_common::abi::carried::Carried;

/// Adds `more` to `sum`, which is a value of `SVC_CARRIED`. What begins and what ends are known to be
/// zero where they are: nothing is left of those additions.
#[inline(always)]
pub(super) fn add(sum: *mut Carried, more: &Carried) {
    // SAFETY: the pointer comes from a successful lookup in this run of the program; fields are only
    // pointed at.
    let (flows, sockets, packets, bytes) = unsafe {
        (
            &raw mut (*sum).flows,
            &raw mut (*sum).sockets,
            &raw mut (*sum).packets,
            &raw mut (*sum).bytes,
        )
    };
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
    // SAFETY: as in `add`; the verifier proves it once more. The instruction is atomic, and Rust has it
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
