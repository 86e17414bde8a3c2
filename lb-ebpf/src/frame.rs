//! The packet: the only place that makes packet pointers and calls the helpers that change bytes.

use core::arch::asm;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR};
use aya_ebpf::helpers::generated::{bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_skb_change_tail};
use aya_ebpf::programs::TcContext;
use lb_common::packet::{Covers, Header, Packet, Refused, TransportFix};

/// How many bytes of headers are made readable at most.
const HEADERS: u32 = 128;
/// Where the longest link header with two VLAN tags and an IPv6 header end.
const NETWORK_END: u32 = 14 + 2 * 4 + 40;

/// "No checksum but this one covers IPv6 addresses": else the kernel would count their change twice
/// in packets whose sum the device has computed (Linux 6.16 and stable kernels of that time).
const BPF_F_IPV6: u64 = 1 << 7;
/// `EINVAL`, as kernels without [`BPF_F_IPV6`] answer it.
const EINVAL: i64 = -22;

/// An skb at TC.
pub(crate) struct Frame {
    ctx: TcContext,
}

impl Frame {
    /// Makes link and network header of the packet readable in place.
    #[inline(always)]
    pub(crate) fn new(ctx: &TcContext) -> Self {
        let frame = Self { ctx: again(ctx) };
        frame.reach(NETWORK_END);
        frame
    }
}

/// The same context by value: one pointer less on the stack and on every way to the packet.
#[inline(always)]
pub(crate) fn again(ctx: &TcContext) -> TcContext {
    TcContext::new(ctx.skb.skb)
}

/// Ifindex of the interface that the packet came by, or is to leave by.
#[inline(always)]
pub(crate) fn interface(ctx: &TcContext) -> u32 {
    // SAFETY: the context is the skb that this program was called with.
    unsafe { (*ctx.skb.skb).ifindex }
}

/// Ifindex of the interface that a packet came by which leaves now; 0 if the node has sent it.
#[inline(always)]
pub(crate) fn came_by(ctx: &TcContext) -> u32 {
    // SAFETY: the context is the skb that this program was called with.
    unsafe { (*ctx.skb.skb).ingress_ifindex }
}

/// A pointer to packet bytes that were checked to be there.
#[derive(Clone, Copy)]
pub(crate) struct Checked(*const u8);

impl Packet for Frame {
    type Header = Checked;

    #[inline(always)]
    fn len(&self) -> u32 {
        self.ctx.len()
    }

    /// Through the skb's control block, which programs at TC may use as they like.
    #[inline(always)]
    fn blurred(&mut self, offset: u32) -> u32 {
        // SAFETY: the context is the skb this program was called with.
        let place = unsafe { &raw mut (*self.ctx.skb.skb).cb[4] };
        // SAFETY: an aligned word of the context; the verifier proves it once more.
        unsafe { place.write_volatile(offset) };
        // SAFETY: as above.
        let read = unsafe { place.read_volatile() };
        read & 0x1f
    }

    /// Headers nearly always lie in place. No byte more is asked for: to pull in the payload of a local
    /// TCP socket, which still holds it, costs a copy of the packet's head.
    #[inline(always)]
    fn reach(&self, end: u32) {
        let end = core::cmp::min(end, self.ctx.len());
        if self.ctx.data() + end as usize > self.ctx.data_end() {
            // What cannot be pulled in is not read either: the bounds checks see to that.
            self.ctx.pull_data(core::cmp::min(self.ctx.len(), HEADERS)).ok();
        }
    }

    #[inline(always)]
    fn header<const LEN: usize>(&self, offset: u32) -> Option<Checked> {
        let start = self.ctx.data() + offset as usize;
        if start + LEN > self.ctx.data_end() {
            return None;
        }
        Some(Checked(start as *const u8))
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Result<[u32; N], Refused> {
        self.ctx.load(offset as usize).map_err(|_| Refused)
    }

    /// A checksum of the whole packet that the device has computed is forgotten by the kernel when
    /// the length changes, so it is made to change.
    #[inline(always)]
    fn resize(&mut self, len: u32) -> Result<(), Refused> {
        if len == self.ctx.len() {
            self.change_tail(len + 1)?;
        }
        self.change_tail(len)
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, offset: u32, words: [u32; N]) -> Result<(), Refused> {
        self.ctx.store(offset as usize, &words, 0).map_err(|_| Refused)
    }

    #[inline(always)]
    fn fix_header_checksum(&mut self, offset: u32, diff: u32) -> Result<(), Refused> {
        // SAFETY: the context is the skb this program was called with.
        let code =
            unsafe { bpf_l3_csum_replace(self.ctx.as_ptr().cast(), offset, 0, u64::from(diff), 0) };
        if code == 0 { Ok(()) } else { Err(Refused) }
    }

    #[inline(always)]
    fn fix_transport_checksum(
        &mut self,
        offset: u32,
        diff: u32,
        fix: TransportFix,
    ) -> Result<(), Refused> {
        let zero = if fix.zero_is_none { u64::from(BPF_F_MARK_MANGLED_0) } else { 0 };
        let pseudo = u64::from(BPF_F_PSEUDO_HDR);
        let code = match fix.covers {
            Covers::Transport => self.l4_csum_replace(offset, diff, zero),
            Covers::PseudoHeaderV4 => self.l4_csum_replace(offset, diff, zero | pseudo),
            Covers::PseudoHeaderV6 => {
                match self.l4_csum_replace(offset, diff, zero | pseudo | BPF_F_IPV6) {
                    EINVAL => self.l4_csum_replace(offset, diff, zero | pseudo),
                    code => code,
                }
            }
        };
        if code == 0 { Ok(()) } else { Err(Refused) }
    }
}

impl Frame {
    #[inline(always)]
    fn change_tail(&self, len: u32) -> Result<(), Refused> {
        // SAFETY: the context is the skb this program was called with.
        let code = unsafe { bpf_skb_change_tail(self.ctx.as_ptr().cast(), len, 0) };
        if code == 0 { Ok(()) } else { Err(Refused) }
    }

    #[inline(always)]
    fn l4_csum_replace(&self, offset: u32, diff: u32, flags: u64) -> i64 {
        // SAFETY: the context is the skb this program was called with.
        unsafe { bpf_l4_csum_replace(self.ctx.as_ptr().cast(), offset, 0, u64::from(diff), flags) }
    }
}

/// Loads a packet field whole, whatever its alignment: the kernel allows that on packet memory on
/// every architecture we run on, but Rust has no type for it that compiles to one load.
macro_rules! load {
    ($bits:literal, $pointer:expr, $at:expr) => {{
        let value: u64;
        // SAFETY: the bytes are inside the packet, which the verifier proves once more; nothing is
        // written.
        unsafe {
            asm!(
                concat!("{value} = *(u", $bits, " *)({pointer} + {at})"),
                value = lateout(reg) value,
                pointer = in(reg) $pointer,
                at = const $at,
                options(pure, readonly, nostack),
            );
        }
        value
    }};
}

impl Header for Checked {
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "an 8-bit load fills 8 bits")]
    fn u8<const AT: usize>(&self) -> u8 {
        load!("8", self.0, AT) as u8
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a 16-bit load fills 16 bits")]
    fn u16<const AT: usize>(&self) -> u16 {
        load!("16", self.0, AT) as u16
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a 32-bit load fills 32 bits")]
    fn u32<const AT: usize>(&self) -> u32 {
        load!("32", self.0, AT) as u32
    }
}
