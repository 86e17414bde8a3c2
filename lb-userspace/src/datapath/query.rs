//! Which programs run at a tcx hook of an interface, by their ids.
//!
//! aya's own query looks every program up by its id as well, for which the kernel wants
//! `CAP_SYS_ADMIN`. The ids alone need `CAP_NET_ADMIN`, which the agent has anyway.
#![expect(unsafe_code, reason = "the kernel writes through an address in the command")]

use std::io;
use std::mem::size_of;
use std::ptr::from_mut;

use lb_common::abi::flow::Hook;
use nix::libc;

/// `BPF_PROG_QUERY`; of tcx since Linux 6.6.
const PROG_QUERY: libc::c_long = 16;
/// `BPF_TCX_INGRESS` and `BPF_TCX_EGRESS`.
const TCX: [u32; 2] = [46, 47];

/// How many programs the kernel allows at a hook.
const MOST: usize = 64;

/// `union bpf_attr`, the member `query`.
#[repr(C)]
#[derive(Default)]
struct Command {
    target_ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    count: u32,
    pad: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// The ids of the programs at a hook of an interface, in their order. `EINVAL` if the kernel has no
/// tcx.
pub(super) fn programs(ifindex: u32, hook: Hook) -> io::Result<Vec<u32>> {
    let mut ids = [0_u32; MOST];
    let [ingress, egress] = TCX;
    let mut command = Command {
        target_ifindex: ifindex,
        attach_type: if hook == Hook::Ingress { ingress } else { egress },
        prog_ids: ids.as_mut_ptr() as u64,
        count: u32::try_from(MOST).unwrap_or(0),
        ..Command::default()
    };
    // SAFETY: the kernel reads the command and writes into it, and at most `count` ids into `ids`.
    let done = unsafe {
        libc::syscall(libc::SYS_bpf, PROG_QUERY, from_mut(&mut command), size_of::<Command>())
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(ids.into_iter().take(command.count as usize).collect())
}
