//! What a process asks of a socket, as the kernel shows it to programs at a cgroup: the only reader and
//! writer of that context, and the only caller of the helpers that know sockets.
//!
//! Fields are read and written one word at a time, as the kernel demands: volatile, or the compiler
//! would join them.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{bpf_sock, bpf_sock_addr};
use aya_ebpf::helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_set_retval};
use aya_ebpf::programs::{SockAddrContext, SockContext};
use lb_common::decide::socket::{Caller, Peer};
use lb_common::net::{Addr4, Addr6, Address, Port, protocol};

/// The setting [`SOCKET_LB`](lb_common::abi::settings::SOCKET_LB). The loader writes it, by this name.
#[unsafe(no_mangle)]
static SOCKET_LB: u32 = 0;

/// The setting [`HOST_NETNS`](lb_common::abi::settings::HOST_NETNS), likewise.
#[unsafe(no_mangle)]
static HOST_NETNS: u64 = 0;

/// `SOCK_STREAM`.
const STREAM: u32 = 1;
/// `SOCK_DGRAM`.
const DATAGRAM: u32 = 2;
/// `AF_INET6`.
const IPV6: u32 = 10;
/// The third word of an IPv4-mapped IPv6 address, whose first two are zero (RFC 4291 §2.5.5.2).
const MAPPED: u32 = 0xffff_u32.to_be();

/// A call of a process that names, or asks for, an address.
pub(crate) struct Call {
    ctx: *mut bpf_sock_addr,
    netns: u64,
}

impl Call {
    /// The call, if sockets like this are ours: TCP or UDP, in a namespace that the setting includes.
    #[inline(always)]
    pub(crate) fn new(ctx: &SockAddrContext) -> Option<Self> {
        // SAFETY: the context that this program was called with.
        let netns = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
        let call = Self { ctx: ctx.sock_addr, netns };
        (call.is_plain() && (is_for_all() || call.is_host())).then_some(call)
    }

    /// The socket's cookie.
    #[inline(always)]
    pub(crate) fn socket(&self) -> u64 {
        cookie(self.ctx.cast())
    }

    /// Who calls, by a socket that is bound to `bound` if that is an address.
    #[inline(always)]
    pub(crate) fn caller<A: Address>(&self, bound: A) -> Caller<A> {
        let words = bound.words();
        let is_bound = words[0] | words[1] | words[2] | words[3] != 0;
        Caller {
            socket: self.socket(),
            netns: self.netns,
            is_host: self.is_host(),
            bound: is_bound.then_some(bound),
            protocol: self.protocol(),
        }
    }

    /// The IPv4 address that is named.
    #[inline(always)]
    pub(crate) fn peer4(&self) -> Peer<Addr4> {
        // SAFETY: a field of the context.
        let word = unsafe { read(&raw const (*self.ctx).user_ip4) };
        Peer { addr: Addr4::from_octets(word.to_ne_bytes()), port: self.port() }
    }

    /// The IPv6 address that is named; if it is an IPv4 address in disguise, that one.
    #[inline(always)]
    pub(crate) fn peer6(&self) -> Result<Peer<Addr6>, Peer<Addr4>> {
        // SAFETY: a field of the context.
        let field = unsafe { &raw const (*self.ctx).user_ip6 }.cast();
        let words = words(field);
        if words[0] | words[1] == 0 && words[2] == MAPPED {
            return Err(Peer {
                addr: Addr4::from_octets(words[3].to_ne_bytes()),
                port: self.port(),
            });
        }
        Ok(Peer { addr: Addr6::from_words(words), port: self.port() })
    }

    /// Names another IPv4 address.
    #[inline(always)]
    pub(crate) fn set_peer4(&self, peer: Peer<Addr4>) {
        // SAFETY: a field of the context.
        unsafe { write(&raw mut (*self.ctx).user_ip4, peer.addr.words()[0]) };
        self.set_port(peer.port);
    }

    /// Names another IPv4 address, in disguise as before.
    #[inline(always)]
    pub(crate) fn set_mapped(&self, peer: Peer<Addr4>) {
        // SAFETY: a field of the context.
        unsafe { write(&raw mut (*self.ctx).user_ip6[3], peer.addr.words()[0]) };
        self.set_port(peer.port);
    }

    /// Names another IPv6 address.
    #[inline(always)]
    pub(crate) fn set_peer6(&self, peer: Peer<Addr6>) {
        let words = peer.addr.words();
        // SAFETY: fields of the context.
        unsafe { write(&raw mut (*self.ctx).user_ip6[0], words[0]) };
        // SAFETY: as above.
        unsafe { write(&raw mut (*self.ctx).user_ip6[1], words[1]) };
        // SAFETY: as above.
        unsafe { write(&raw mut (*self.ctx).user_ip6[2], words[2]) };
        // SAFETY: as above.
        unsafe { write(&raw mut (*self.ctx).user_ip6[3], words[3]) };
        self.set_port(peer.port);
    }

    /// The IPv4 address that the socket is bound to, or zero.
    #[inline(always)]
    pub(crate) fn bound4(&self) -> Addr4 {
        // SAFETY: a field of the socket, which is never absent here.
        let word = unsafe { read(&raw const (*self.sk()).src_ip4) };
        Addr4::from_octets(word.to_ne_bytes())
    }

    /// The IPv6 address that the socket is bound to, or zero.
    #[inline(always)]
    pub(crate) fn bound6(&self) -> Addr6 {
        // SAFETY: a field of the socket, which is never absent here.
        Addr6::from_words(words(unsafe { &raw const (*self.sk()).src_ip6 }.cast()))
    }

    #[inline(always)]
    fn sk(&self) -> *mut bpf_sock {
        // SAFETY: a field of the context.
        unsafe { ptr::read_volatile(&raw const (*self.ctx).__bindgen_anon_1.sk) }
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the numbers that count fit")]
    fn protocol(&self) -> u8 {
        self.whole_protocol() as u8
    }

    /// More than eight bits: that of MPTCP has nine.
    #[inline(always)]
    fn whole_protocol(&self) -> u32 {
        // SAFETY: a field of the context.
        unsafe { read(&raw const (*self.ctx).protocol) }
    }

    #[inline(always)]
    fn is_plain(&self) -> bool {
        // SAFETY: a field of the context.
        let kind = unsafe { read(&raw const (*self.ctx).type_) };
        let protocol = self.whole_protocol();
        (kind == STREAM && protocol == u32::from(protocol::TCP))
            || (kind == DATAGRAM && protocol == u32::from(protocol::UDP))
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
        // SAFETY: a field of the context.
        let word = unsafe { read(&raw const (*self.ctx).user_port) };
        Port::from_bytes((word as u16).to_ne_bytes())
    }

    #[inline(always)]
    fn set_port(&self, port: Port) {
        // SAFETY: a field of the context.
        unsafe { write(&raw mut (*self.ctx).user_port, u32::from(port.word())) };
    }
}

/// A socket that is closed.
pub(crate) struct Closing {
    sk: *mut bpf_sock,
}

impl Closing {
    #[inline(always)]
    pub(crate) fn new(ctx: &SockContext) -> Self {
        Self { sk: ctx.sock }
    }

    /// Its cookie.
    #[inline(always)]
    pub(crate) fn socket(&self) -> u64 {
        cookie(self.sk.cast())
    }

    /// Whether it can have had an IPv6 peer.
    #[inline(always)]
    pub(crate) fn is_ipv6(&self) -> bool {
        // SAFETY: a field of the context.
        unsafe { read(&raw const (*self.sk).family) == IPV6 }
    }

    /// Its IP protocol number.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the numbers that count fit")]
    pub(crate) fn protocol(&self) -> u8 {
        // SAFETY: a field of the context.
        unsafe { read(&raw const (*self.sk).protocol) as u8 }
    }
}

/// Makes the call of the process fail with an error number, once the program has said no.
#[inline(always)]
pub(crate) fn fail(errno: i32) {
    // SAFETY: the helper takes a number (kernel 5.18).
    unsafe { bpf_set_retval(-errno) };
}

#[inline(always)]
fn is_for_all() -> bool {
    // SAFETY: as for `HOST_NETNS`.
    unsafe { ptr::read_volatile(&raw const SOCKET_LB) != 0 }
}

#[inline(always)]
fn cookie(ctx: *mut c_void) -> u64 {
    // SAFETY: the context that this program was called with.
    unsafe { bpf_get_socket_cookie(ctx) }
}

#[inline(always)]
fn words(field: *const u32) -> [u32; 4] {
    // SAFETY: four words of a structure of the kernel's, one by one.
    let first = unsafe { read(field) };
    // SAFETY: as above.
    let second = unsafe { read(field.add(1)) };
    // SAFETY: as above.
    let third = unsafe { read(field.add(2)) };
    // SAFETY: as above.
    let last = unsafe { read(field.add(3)) };
    [first, second, third, last]
}

/// # Safety
///
/// A word of a structure that the kernel has handed over.
#[inline(always)]
unsafe fn read(field: *const u32) -> u32 {
    // SAFETY: as promised by the caller; the verifier proves it once more.
    unsafe { ptr::read_volatile(field) }
}

/// # Safety
///
/// As for [`read`].
#[inline(always)]
unsafe fn write(field: *mut u32, word: u32) {
    // SAFETY: as promised by the caller; the verifier proves it once more.
    unsafe { ptr::write_volatile(field, word) }
}
