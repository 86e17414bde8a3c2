//! What a process asks of a socket, as the kernel shows it to programs at a cgroup: the only reader and
//! writer of that context, and the only caller of the helpers that know sockets.

use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{bpf_sock, bpf_sock_addr};
use aya_ebpf::helpers::generated::{
    bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_set_retval, bpf_skc_to_mptcp_sock,
};
use aya_ebpf::programs::{SockAddrContext, SockContext};
use lb_common::decide::socket::{self, Caller, Peer};
use lb_common::net::{Addr4, Addr6, Address, Port};

use crate::tables;

/// The setting [`SOCKET_LB`](lb_common::abi::settings::SOCKET_LB). The loader writes it, by this name.
#[unsafe(no_mangle)]
static SOCKET_LB: u32 = 0;

/// The setting [`HOST_NETNS`](lb_common::abi::settings::HOST_NETNS), likewise.
#[unsafe(no_mangle)]
static HOST_NETNS: u64 = 0;

/// The setting [`MPTCP`](lb_common::abi::settings::MPTCP), likewise.
#[unsafe(no_mangle)]
static MPTCP: u32 = 0;

/// `AF_INET6`.
const IPV6: u32 = 10;
/// The third word of an IPv4-mapped IPv6 address, whose first two are zero (RFC 4291 §2.5.5.2).
const MAPPED: u32 = 0xffff_u32.to_be();

/// A call of a process that names, or asks for, an address.
pub(crate) struct Call {
    words: Words,
    netns: u64,
}

impl Call {
    /// The call, if sockets like this are ours: TCP or UDP, in a namespace that the setting includes.
    ///
    /// An MPTCP socket names no address here: the TCP socket does that carries it. A pod's is left to
    /// its packets. The node's own would get nowhere then, so it is translated, see
    /// [`Self::note_carrier`].
    #[inline(always)]
    pub(crate) fn new(ctx: &SockAddrContext) -> Option<Self> {
        let call = Self::of(ctx);
        let (kind, protocol) = call.sort();
        let included = || is_for_all() && call.carried().is_none();
        socket::is_ours(kind, protocol, call.is_host(), included).then_some(call)
    }

    /// The same of a socket that is asked for its peer, and the cookie of the one that has dialled:
    /// itself, or the carrier of an MPTCP socket.
    #[inline(always)]
    pub(crate) fn naming(ctx: &SockAddrContext) -> Option<(Self, u64)> {
        if let Some(told) = Self::told(ctx) {
            return Some(told);
        }
        let call = Self::of(ctx);
        let (kind, protocol) = call.sort();
        if !(knows_mptcp() && socket::is_mptcp(kind, protocol)) {
            return None;
        }
        let carrier = tables::carrier(call.words.sk().0.cast())?;
        Some((call, carrier))
    }

    /// The same of a socket that is told an address, with its own cookie.
    #[inline(always)]
    pub(crate) fn told(ctx: &SockAddrContext) -> Option<(Self, u64)> {
        let call = Self::new(ctx)?;
        let socket = call.socket();
        Some((call, socket))
    }

    #[inline(always)]
    fn of(ctx: &SockAddrContext) -> Self {
        // SAFETY: the context that this program was called with.
        let netns = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
        Self { words: Words(ctx.sock_addr.cast()), netns }
    }

    /// Notes with the MPTCP socket that this one carries, if it does, who has dialled for it: so it can
    /// be told what was dialled. Sockets that join later lead to the same peer and change nothing.
    #[inline(always)]
    pub(crate) fn note_carrier(&self) {
        if let Some(carried) = self.carried() {
            tables::keep_carrier(carried, self.socket());
        }
    }

    /// The socket's cookie.
    #[inline(always)]
    pub(crate) fn socket(&self) -> u64 {
        self.words.cookie()
    }

    /// Who calls, by a socket that is bound to `bound` if that is an address.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the numbers that count fit")]
    pub(crate) fn caller<A: Address>(&self, bound: A) -> Caller<A> {
        let words = bound.words();
        let is_bound = words[0] | words[1] | words[2] | words[3] != 0;
        Caller {
            socket: self.socket(),
            netns: self.netns,
            is_host: self.is_host(),
            bound: is_bound.then_some(bound),
            protocol: self.words.read(offset_of!(bpf_sock_addr, protocol)) as u8,
        }
    }

    /// The IPv4 address that is named.
    #[inline(always)]
    pub(crate) fn peer4(&self) -> Peer<Addr4> {
        Peer { addr: self.words.v4(offset_of!(bpf_sock_addr, user_ip4)), port: self.port() }
    }

    /// The IPv6 address that is named; if it is an IPv4 address in disguise, that one.
    #[inline(always)]
    pub(crate) fn peer6(&self) -> Result<Peer<Addr6>, Peer<Addr4>> {
        let addr = self.words.v6(offset_of!(bpf_sock_addr, user_ip6));
        let [first, second, third, last] = addr.words();
        if first | second == 0 && third == MAPPED {
            return Err(Peer { addr: Addr4::from_octets(last.to_ne_bytes()), port: self.port() });
        }
        Ok(Peer { addr, port: self.port() })
    }

    /// Names another IPv4 address.
    #[inline(always)]
    pub(crate) fn set_peer4(&self, peer: Peer<Addr4>) {
        self.words.write(offset_of!(bpf_sock_addr, user_ip4), peer.addr.words()[0]);
        self.set_port(peer.port);
    }

    /// Names another IPv4 address, in disguise as before.
    #[inline(always)]
    pub(crate) fn set_mapped(&self, peer: Peer<Addr4>) {
        self.words.write(offset_of!(bpf_sock_addr, user_ip6) + 12, peer.addr.words()[0]);
        self.set_port(peer.port);
    }

    /// Names another IPv6 address.
    #[inline(always)]
    pub(crate) fn set_peer6(&self, peer: Peer<Addr6>) {
        let (at, [first, second, third, last]) =
            (offset_of!(bpf_sock_addr, user_ip6), peer.addr.words());
        self.words.write(at, first);
        self.words.write(at + 4, second);
        self.words.write(at + 8, third);
        self.words.write(at + 12, last);
        self.set_port(peer.port);
    }

    /// The IPv4 address that the socket is bound to, or zero.
    #[inline(always)]
    pub(crate) fn bound4(&self) -> Addr4 {
        self.words.sk().v4(offset_of!(bpf_sock, src_ip4))
    }

    /// The IPv6 address that the socket is bound to, or zero.
    #[inline(always)]
    pub(crate) fn bound6(&self) -> Addr6 {
        self.words.sk().v6(offset_of!(bpf_sock, src_ip6))
    }

    /// The MPTCP socket that this one carries, if it does. Not looked for where the kernel cannot tell.
    #[inline(always)]
    fn carried(&self) -> Option<*mut c_void> {
        if !knows_mptcp() {
            return None;
        }
        // SAFETY: the socket of this call; the helper looks at it and keeps nothing.
        let carried = unsafe { bpf_skc_to_mptcp_sock(self.words.sk().0.cast()) };
        (!carried.is_null()).then_some(carried.cast())
    }

    /// Its type and its IP protocol number.
    #[inline(always)]
    fn sort(&self) -> (u32, u32) {
        let kind = self.words.read(offset_of!(bpf_sock_addr, type_));
        (kind, self.words.read(offset_of!(bpf_sock_addr, protocol)))
    }

    #[inline(always)]
    fn is_host(&self) -> bool {
        // SAFETY: a static that only the loader writes, before the program is. Volatile, or the
        // compiler would take the value that stands here for the one it will have.
        self.netns == unsafe { ptr::read_volatile(&raw const HOST_NETNS) }
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the field is wider than a port")]
    fn port(&self) -> Port {
        let word = self.words.read(offset_of!(bpf_sock_addr, user_port));
        Port::from_bytes((word as u16).to_ne_bytes())
    }

    #[inline(always)]
    fn set_port(&self, port: Port) {
        self.words.write(offset_of!(bpf_sock_addr, user_port), u32::from(port.word()));
    }
}

/// A socket that is closed.
pub(crate) struct Closing(Words);

impl Closing {
    #[inline(always)]
    pub(crate) fn new(ctx: &SockContext) -> Self {
        Self(Words(ctx.sock.cast()))
    }

    /// The cookie of the socket that has dialled: its own, or that of its carrier if it is an MPTCP
    /// socket.
    #[inline(always)]
    pub(crate) fn socket(&self) -> u64 {
        let kind = self.0.read(offset_of!(bpf_sock, type_));
        let protocol = self.0.read(offset_of!(bpf_sock, protocol));
        let is_carried = knows_mptcp() && socket::is_mptcp(kind, protocol);
        let carrier = if is_carried { tables::carrier(self.0.0.cast()) } else { None };
        carrier.unwrap_or_else(|| self.0.cookie())
    }

    /// Whether it can have had an IPv6 peer.
    #[inline(always)]
    pub(crate) fn is_ipv6(&self) -> bool {
        self.0.read(offset_of!(bpf_sock, family)) == IPV6
    }

    /// Its IP protocol number; of an MPTCP socket that of its carrier, which is its lower half.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the numbers that count fit")]
    pub(crate) fn protocol(&self) -> u8 {
        self.0.read(offset_of!(bpf_sock, protocol)) as u8
    }
}

/// Makes the call of the process fail with an error number, once the program has said no.
#[inline(always)]
pub(crate) fn fail(errno: i32) {
    // SAFETY: the helper takes a number (kernel 5.18).
    unsafe { bpf_set_retval(-errno) };
}

#[inline(always)]
fn knows_mptcp() -> bool {
    // SAFETY: as for `HOST_NETNS`.
    unsafe { ptr::read_volatile(&raw const MPTCP) != 0 }
}

#[inline(always)]
fn is_for_all() -> bool {
    // SAFETY: as for `HOST_NETNS`.
    unsafe { ptr::read_volatile(&raw const SOCKET_LB) != 0 }
}

/// A structure that the kernel has handed over, which takes one word at a time: volatile, or the
/// compiler would join them. Offsets are in bytes; those of fields that the kernel does not know, or
/// not here, make the verifier refuse the program.
#[derive(Clone, Copy)]
struct Words(*mut u32);

impl Words {
    #[inline(always)]
    fn read(self, offset: usize) -> u32 {
        // SAFETY: a field of the structure, which lives as long as the program runs.
        unsafe { ptr::read_volatile(self.0.wrapping_byte_add(offset)) }
    }

    #[inline(always)]
    fn write(self, offset: usize, word: u32) {
        // SAFETY: as in `read`; nobody else looks at it meanwhile.
        unsafe { ptr::write_volatile(self.0.wrapping_byte_add(offset), word) }
    }

    #[inline(always)]
    fn v4(self, offset: usize) -> Addr4 {
        Addr4::from_octets(self.read(offset).to_ne_bytes())
    }

    #[inline(always)]
    fn v6(self, offset: usize) -> Addr6 {
        let [first, second] = [self.read(offset), self.read(offset + 4)];
        Addr6::from_words([first, second, self.read(offset + 8), self.read(offset + 12)])
    }

    /// The socket of a call, which is never absent.
    #[inline(always)]
    fn sk(self) -> Self {
        let field = self.0.wrapping_byte_add(offset_of!(bpf_sock_addr, __bindgen_anon_1));
        // SAFETY: as in `read`; the only field that is a pointer.
        Self(unsafe { ptr::read_volatile(field.cast()) })
    }

    #[inline(always)]
    fn cookie(self) -> u64 {
        // SAFETY: the context that this program was called with.
        unsafe { bpf_get_socket_cookie(self.0.cast::<c_void>()) }
    }
}
