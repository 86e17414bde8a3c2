//! What is asked for calls of processes: the entries of their sockets, and who they are.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::bindings::{BPF_ANY, BPF_SK_STORAGE_GET_F_CREATE};
use aya_ebpf::helpers::generated::{
    bpf_get_current_ancestor_cgroup_id, bpf_get_prandom_u32, bpf_sk_storage_get,
};
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid};
use lb_common::abi::bind::RefusedBind;
use lb_common::abi::socket::{Socket, SocketKey};
use lb_common::net::Port;
use lb_common::tables::{InsertError, Processes, Sockets};

use super::{KernelTables, Origin};
use crate::maps::{self, Twins};

impl<A: Twins, O: Origin> Sockets<A> for KernelTables<O> {
    #[inline(always)]
    fn socket(&self, key: &SocketKey<A>) -> Option<Socket<A>> {
        let value = A::sockets().get_ptr(key)?;
        // SAFETY: as in `Entry::load`.
        Some(unsafe { *value })
    }

    #[inline(always)]
    fn keep_socket(&self, key: &SocketKey<A>, socket: &Socket<A>) -> Result<(), InsertError> {
        let kept = A::sockets().insert(key, socket, u64::from(BPF_ANY));
        kept.map_err(|_| InsertError::Refused)
    }

    #[inline(always)]
    fn forget_socket(&self, key: &SocketKey<A>) {
        // An entry that is not there is what was wanted.
        A::sockets().remove(key).ok();
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a part is as random")]
    fn random(&self) -> u16 {
        // SAFETY: the helper takes nothing and returns a number.
        unsafe { bpf_get_prandom_u32() as u16 }
    }
}

impl<O: Origin> Processes for KernelTables<O> {
    #[inline(always)]
    fn exempts(&self, key: u64) -> bool {
        maps::EXEMPT.get_ptr(key).is_some()
    }

    #[inline(always)]
    fn ancestor_cgroup(&self, level: i32) -> u64 {
        // SAFETY: the helper takes a number and returns one (kernel 5.7).
        unsafe { bpf_get_current_ancestor_cgroup_id(level) }
    }

    /// Tells nothing if there is no room.
    #[inline(always)]
    fn tell_bind(&self, service: u32, port: Port, protocol: u8) {
        tell_bind(service, port, protocol);
    }
}

/// A call of its own, for both families.
#[inline(never)]
fn tell_bind(service: u32, port: Port, protocol: u8) {
    let Some(mut record) = maps::BINDS.reserve_untyped::<RefusedBind>(0) else { return };
    let name = bpf_get_current_comm().unwrap_or_default();
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    record.write(RefusedBind { pid, service, name, port, protocol, pad: 0 });
    record.submit(0);
}

/// The cookie of the socket that dialled for the MPTCP socket `carried`, a pointer of the kernel, if one
/// was noted.
#[inline(always)]
pub(crate) fn carrier(carried: *mut c_void) -> Option<u64> {
    // SAFETY: the caller hands over a socket, which the verifier proves; without a value and the flag
    // nothing is written.
    let value = unsafe { bpf_sk_storage_get(CARRIERS, carried, ptr::null_mut(), 0) }.cast::<u64>();
    // SAFETY: what the helper returns is null or a value of the map, there until the program has
    // returned.
    unsafe { value.as_ref() }.copied()
}

/// Notes it, unless one was noted before. Without room it is not noted.
#[inline(always)]
pub(crate) fn keep_carrier(carried: *mut c_void, mut cookie: u64) {
    let cookie = (&raw mut cookie).cast();
    // SAFETY: as in `carrier`; the helper copies the value.
    unsafe { bpf_sk_storage_get(CARRIERS, carried, cookie, BPF_SK_STORAGE_GET_F_CREATE.into()) };
}

const CARRIERS: *mut c_void = (&raw const maps::CARRIERS).cast_mut().cast();
