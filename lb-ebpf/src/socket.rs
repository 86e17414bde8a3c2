//! The entry points at cgroups, where processes connect, send, receive and ask for names.
//!
//! Where nothing is to be done, a program lets the call go on as it came, and whatever else is attached
//! to the cgroup runs as well (I2).
#![expect(clippy::needless_pass_by_value, reason = "the macros hand the context over")]

use aya_ebpf::macros::{cgroup_sock, cgroup_sock_addr};
use aya_ebpf::programs::{SockAddrContext, SockContext};
use lb_common::decide::socket::{self, Answer, Peer};
use lb_common::net::{Addr4, Addr6};

use crate::call::{self, Call, Closing};
use crate::tables::{KernelTables, Process};

/// The call goes on.
const GO_ON: i32 = 1;
/// The call fails.
const STOP: i32 = 0;
/// `ECONNREFUSED`.
const REFUSED: i32 = 111;
/// `EADDRINUSE`.
const TAKEN: i32 = 98;
/// `EHOSTUNREACH`.
const UNREACHABLE: i32 = 113;

/// An entry point for calls that name an IPv4 address, decided by `$decide`; what was translated is
/// noted by `$note`.
macro_rules! on_ipv4 {
    ($hook:ident, $name:ident, $decide:path, $note:expr) => {
        #[cgroup_sock_addr($hook)]
        fn $name(ctx: SockAddrContext) -> i32 {
            let Some(call) = Call::new(&ctx) else { return GO_ON };
            let mut peer = call.peer4();
            let answer = $decide(&TABLES, &call.caller(call.bound4()), &mut peer);
            carry_out(answer, || {
                call.set_peer4(peer);
                $note(&call);
            })
        }
    };
}
on_ipv4!(connect4, lb_connect4, socket::connect, Call::note_carrier);
on_ipv4!(sendmsg4, lb_sendmsg4, socket::send, nothing);

/// An entry point for calls that name an IPv6 address, which may be an IPv4 one in disguise.
macro_rules! on_ipv6 {
    ($hook:ident, $name:ident, $decide:path, $note:expr) => {
        #[cgroup_sock_addr($hook)]
        fn $name(ctx: SockAddrContext) -> i32 {
            let Some(call) = Call::new(&ctx) else { return GO_ON };
            match call.peer6() {
                Ok(mut peer) => {
                    let answer = $decide(&TABLES, &call.caller(call.bound6()), &mut peer);
                    carry_out(answer, || {
                        call.set_peer6(peer);
                        $note(&call);
                    })
                }
                Err(mut peer) => {
                    let answer = $decide(&TABLES, &call.caller(call.bound4()), &mut peer);
                    carry_out(answer, || {
                        call.set_mapped(peer);
                        $note(&call);
                    })
                }
            }
        }
    };
}
on_ipv6!(connect6, lb_connect6, socket::connect, Call::note_carrier);
on_ipv6!(sendmsg6, lb_sendmsg6, socket::send, nothing);

/// An entry point for calls that are told an IPv4 address, told another by `$tell` as `$whose` has
/// dialled.
macro_rules! telling_ipv4 {
    ($hook:ident, $name:ident, $whose:path, $tell:path) => {
        #[cgroup_sock_addr($hook)]
        fn $name(ctx: SockAddrContext) -> i32 {
            let Some((call, socket)) = $whose(&ctx) else { return GO_ON };
            let mut peer = call.peer4();
            if $tell(&TABLES, socket, &mut peer) {
                call.set_peer4(peer);
            }
            GO_ON
        }
    };
}
telling_ipv4!(recvmsg4, lb_recvmsg4, Call::told, socket::received);
telling_ipv4!(getpeername4, lb_getpeername4, Call::naming, socket::named);

/// The same for IPv6 addresses.
macro_rules! telling_ipv6 {
    ($hook:ident, $name:ident, $whose:path, $tell:path) => {
        #[cgroup_sock_addr($hook)]
        fn $name(ctx: SockAddrContext) -> i32 {
            let Some((call, socket)) = $whose(&ctx) else { return GO_ON };
            match call.peer6() {
                Ok(mut peer) => {
                    if $tell(&TABLES, socket, &mut peer) {
                        call.set_peer6(peer);
                    }
                }
                Err(mut peer) => {
                    if $tell(&TABLES, socket, &mut peer) {
                        call.set_mapped(peer);
                    }
                }
            }
            GO_ON
        }
    };
}
telling_ipv6!(recvmsg6, lb_recvmsg6, Call::told, socket::received);
telling_ipv6!(getpeername6, lb_getpeername6, Call::naming, socket::named);

#[cgroup_sock_addr(bind4)]
fn lb_bind4(ctx: SockAddrContext) -> i32 {
    let Some(call) = Call::new(&ctx) else { return GO_ON };
    let address = call.peer4();
    carry_out(socket::bind(&TABLES, &call.caller(address.addr), &address), || {})
}

/// Who binds all IPv6 addresses gets all IPv4 addresses as well, unless he has said otherwise, which
/// nobody can see here.
#[cgroup_sock_addr(bind6)]
fn lb_bind6(ctx: SockAddrContext) -> i32 {
    let Some(call) = Call::new(&ctx) else { return GO_ON };
    let mapped = match call.peer6() {
        Err(mapped) => mapped,
        Ok(address) => {
            let answer = socket::bind(&TABLES, &call.caller(address.addr), &address);
            if answer != Answer::Untouched || address.addr != Addr6::default() {
                return carry_out(answer, || {});
            }
            Peer { addr: Addr4::default(), port: address.port }
        }
    };
    carry_out(socket::bind(&TABLES, &call.caller(mapped.addr), &mapped), || {})
}

#[cgroup_sock(sock_release)]
fn lb_sock_release(ctx: SockContext) -> i32 {
    let closing = Closing::new(&ctx);
    let socket = closing.socket();
    socket::release::<Addr4, _>(&TABLES, socket, closing.protocol());
    if closing.is_ipv6() {
        socket::release::<Addr6, _>(&TABLES, socket, closing.protocol());
    }
    GO_ON
}

const TABLES: KernelTables<Process> = KernelTables::new(Process);

#[inline(always)]
fn carry_out(answer: Answer, translate: impl FnOnce()) -> i32 {
    match answer {
        Answer::Untouched => return GO_ON,
        Answer::Translated => {
            translate();
            return GO_ON;
        }
        Answer::Refused => call::fail(REFUSED),
        Answer::Unreachable => call::fail(UNREACHABLE),
        Answer::Taken => call::fail(TAKEN),
    }
    STOP
}

/// Of a datagram there is nothing to note.
#[inline(always)]
fn nothing(_: &Call) {}
