//! Waggle's kernel programs: hooks, packet access, map access. They adapt; `lb-common` decides.
//!
//! - [`tc`], [`socket`]: the entry points;
//! - [`frame`]: the packet, the only maker of packet pointers; [`call`]: what a process asks of a socket;
//! - [`maps`]: the maps; [`tables`]: the decisions' view of them.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod call;
mod frame;
#[cfg(feature = "log")]
mod log;
mod maps;
mod socket;
mod tables;
mod tc;

/// Some helpers are refused to programs without a licence that is compatible with the GPL.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing panics here; a branch that could would loop, and the verifier refuses that.
    loop {}
}
