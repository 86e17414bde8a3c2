//! The settings of packets, which the loader writes into the object.

use core::ptr;

use lb_common::abi::settings::{DEFAULT_MASQUERADE_PORTS, echo, packed_ports};

/// The setting: bits of [`masquerade`](lb_common::abi::settings::masquerade). The loader writes it, by
/// this name.
#[unsafe(no_mangle)]
static MASQUERADE: u32 = 0;

/// The setting [`MASQUERADE_PORTS`](lb_common::abi::settings::MASQUERADE_PORTS), likewise.
#[unsafe(no_mangle)]
static MASQUERADE_PORTS: u32 = packed_ports(DEFAULT_MASQUERADE_PORTS);

/// The setting [`VIP_ECHO`](lb_common::abi::settings::VIP_ECHO), likewise.
#[unsafe(no_mangle)]
static VIP_ECHO: u32 = echo::ANSWER;

/// The setting [`TAKEOVER`](lb_common::abi::settings::TAKEOVER), likewise.
#[unsafe(no_mangle)]
static TAKEOVER: u32 = 0;

/// The setting [`TERMINATE_TCP`](lb_common::abi::settings::TERMINATE_TCP), likewise.
#[unsafe(no_mangle)]
static TERMINATE_TCP: u32 = 0;

#[inline(always)]
pub(super) fn masquerade() -> u32 {
    read(&MASQUERADE)
}

#[inline(always)]
pub(super) fn masquerade_ports() -> u32 {
    read(&MASQUERADE_PORTS)
}

#[inline(always)]
pub(super) fn vip_echo() -> u32 {
    read(&VIP_ECHO)
}

#[inline(always)]
pub(super) fn takes_over() -> bool {
    read(&TAKEOVER) != 0
}

#[inline(always)]
pub(super) fn terminates_tcp() -> bool {
    read(&TERMINATE_TCP) != 0
}

#[inline(always)]
fn read(setting: &'static u32) -> u32 {
    // SAFETY: a static that only the loader writes, before the program is. Volatile, or the compiler
    // would take the value that stands here for the one it will have.
    unsafe { ptr::read_volatile(setting) }
}
