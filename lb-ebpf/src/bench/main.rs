//! The benchmark's kernel programs, an object of their own that no release contains.
//!
//! `BPF_PROG_TEST_RUN` repeats a program on one skb, so what one run rewrites the next one meets.
//! The wrappers here put the packet back, optionally as that of another flow, and tail-call the
//! program under test; [`nothing`] in its place tells what they cost themselves.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

use core::arch::asm;
use core::mem::offset_of;

use aya_ebpf::bindings::{__sk_buff, TC_ACT_UNSPEC};
use aya_ebpf::btf_maps::{Array, LruHashMap, ProgramArray};
use aya_ebpf::macros::{btf_map, classifier};
use aya_ebpf::programs::TcContext;
use lb_common::bench::{FAILED, HIT, PORT_BITS, Walk};
use lb_common::net::{Addr4, Addr6, Address, Port};

/// The program under test, in slot 0.
#[btf_map]
static TARGET: ProgramArray<1> = ProgramArray::new();

#[btf_map]
static WALK_V4: Array<Walk<Addr4>, 1> = Array::new();

#[btf_map]
static WALK_V6: Array<Walk<Addr6>, 1> = Array::new();

/// Holds the one key that [`reference`] looks up.
#[btf_map]
static REFERENCE: LruHashMap<[u32; 4], u64, 1024> = LruHashMap::new();

/// Stores a field of the packet or the skb whole and one by one; see the loads in the datapath's
/// `frame`. A loop over the skb would become a `memset`, which the verifier refuses there.
macro_rules! store {
    ($bits:literal, $pointer:expr, $at:expr, $value:expr) => {
        // SAFETY: the caller has checked that the bytes are inside the packet, or names a field of
        // the skb; the verifier proves both once more.
        unsafe {
            asm!(
                concat!("*(u", $bits, " *)({pointer} + {at}) = {value}"),
                pointer = in(reg) $pointer,
                value = in(reg) u64::from($value),
                at = const $at,
                options(nostack),
            );
        }
    };
}

/// An Ethernet frame with a 20-byte IPv4 header and TCP.
#[classifier]
fn walk_v4(ctx: TcContext) -> i32 {
    let Some(fields) = WALK_V4.get_ptr_mut(0).map(next) else { return FAILED };
    let start = ctx.data();
    if start + 54 > ctx.data_end() {
        return FAILED;
    }
    store!("16", start, 24, fields.header_checksum);
    store!("32", start, 26, fields.src[0]);
    store!("32", start, 30, fields.dst[0]);
    store!("16", start, 34, fields.src_port.word());
    store!("16", start, 36, fields.dst_port.word());
    store!("16", start, 50, fields.tcp_checksum);
    run(ctx)
}

/// An Ethernet frame with an IPv6 header and TCP.
#[classifier]
fn walk_v6(ctx: TcContext) -> i32 {
    let Some(fields) = WALK_V6.get_ptr_mut(0).map(next) else { return FAILED };
    let start = ctx.data();
    if start + 74 > ctx.data_end() {
        return FAILED;
    }
    store!("32", start, 22, fields.src[0]);
    store!("32", start, 26, fields.src[1]);
    store!("32", start, 30, fields.src[2]);
    store!("32", start, 34, fields.src[3]);
    store!("32", start, 38, fields.dst[0]);
    store!("32", start, 42, fields.dst[1]);
    store!("32", start, 46, fields.dst[2]);
    store!("32", start, 50, fields.dst[3]);
    store!("16", start, 54, fields.src_port.word());
    store!("16", start, 56, fields.dst_port.word());
    store!("16", start, 70, fields.tcp_checksum);
    run(ctx)
}

/// What is subtracted: a program that does nothing, behind a wrapper.
#[classifier]
fn nothing(_: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

/// What costs are compared with: one hit in an `LRU_HASH`.
#[classifier]
fn reference(_: TcContext) -> i32 {
    match REFERENCE.get_ptr([1, 2, 3, 4]) {
        Some(_) => HIT,
        None => FAILED,
    }
}

/// The fields of one packet.
struct Fields {
    src: [u32; 4],
    dst: [u32; 4],
    src_port: Port,
    dst_port: Port,
    header_checksum: u16,
    tcp_checksum: u16,
}

/// The fields of the next flow's packet.
#[inline(always)]
fn next<A: Address>(walk: *mut Walk<A>) -> Fields {
    // SAFETY: a pointer to a map's value, which only this program and, between runs, the benchmark
    // touches.
    let walk = unsafe { &mut *walk };
    let flow = walk.next;
    let following = flow.wrapping_add(walk.stride);
    walk.next = if following >= walk.flows { following - walk.flows } else { following };

    let mut fields = Fields {
        src: walk.src.words(),
        dst: walk.dst.words(),
        src_port: walk.src_port,
        dst_port: walk.dst_port,
        header_checksum: walk.header_checksum,
        tcp_checksum: walk.tcp_checksum,
    };
    if walk.to_client == 0 {
        fields.src = client_address::<A>(fields.src, flow);
        fields.src_port = client_port(fields.src_port, flow);
    } else {
        fields.dst = client_address::<A>(fields.dst, flow);
        fields.dst_port = client_port(fields.dst_port, flow);
    }
    fields
}

#[inline(always)]
fn client_address<A: Address>(mut words: [u32; 4], flow: u32) -> [u32; 4] {
    let last = size_of::<A>() / 4 - 1;
    words[last] = u32::from_be(words[last]).wrapping_add(flow >> PORT_BITS).to_be();
    words
}

#[inline(always)]
fn client_port(port: Port, flow: u32) -> Port {
    let offset = flow & ((1 << PORT_BITS) - 1);
    Port::from_host(port.to_host().wrapping_add(offset as u16))
}

/// Makes the skb look new and runs the program under test on it.
#[inline(always)]
#[expect(clippy::needless_pass_by_value, reason = "the skb is given away")]
fn run(ctx: TcContext) -> i32 {
    let skb: u64 = ctx.skb.skb as usize as u64;
    store!("32", skb, offset_of!(__sk_buff, mark), 0u32);
    store!("32", skb, offset_of!(__sk_buff, cb), 0u32);
    store!("32", skb, offset_of!(__sk_buff, cb) + 4, 0u32);
    store!("32", skb, offset_of!(__sk_buff, cb) + 8, 0u32);
    store!("32", skb, offset_of!(__sk_buff, cb) + 12, 0u32);
    store!("32", skb, offset_of!(__sk_buff, cb) + 16, 0u32);
    // SAFETY: nothing here needs dropping. The index is a constant, so that the kernel makes a
    // plain jump of the call.
    unsafe { TARGET.tail_call(&ctx, 0) };
    FAILED
}

/// `bpf_tail_call` is refused to programs without a licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
