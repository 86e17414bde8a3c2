//! System calls that neither aya 0.14 nor nix 0.31 offers.
#![expect(unsafe_code, reason = "the kernel reads and writes through addresses")]

use std::ffi::CString;
use std::io;
use std::mem::size_of_val;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr::{from_mut, from_ref};

use nix::libc;

/// `BPF_OBJ_GET`, since Linux 4.4.
const OBJECT_GET: libc::c_long = 7;
/// `BPF_LINK_UPDATE`, since Linux 5.7.
const LINK_UPDATE: libc::c_long = 29;
/// `SO_NETNS_COOKIE`, since Linux 5.14.
const NETNS_COOKIE: libc::c_int = 71;

/// `union bpf_attr`, the member of commands on pinned objects.
#[repr(C)]
struct ObjectCommand {
    path: u64,
    fd: u32,
    flags: u32,
}

/// `union bpf_attr`, the member `link_update`.
#[repr(C)]
struct UpdateCommand {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

/// Makes `program` the one behind the link pinned at `pin`, in one step.
pub(super) fn update_link(pin: &Path, program: BorrowedFd<'_>) -> io::Result<()> {
    let link = pinned(pin)?;
    let number = |fd: i32| fd.cast_unsigned();
    let command = UpdateCommand {
        link: number(link.as_raw_fd()),
        program: number(program.as_raw_fd()),
        flags: 0,
        old_program: 0,
    };
    // SAFETY: a command without addresses.
    unsafe { bpf(LINK_UPDATE, &command) }.map(drop)
}

/// The cookie of the network namespace of the calling thread: a number that no other namespace gets
/// until the machine boots again.
pub(super) fn netns_cookie() -> io::Result<u64> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of_val(&cookie)).unwrap_or_default();
    let value = from_mut(&mut cookie).cast();
    let fd = socket.as_raw_fd();
    // SAFETY: the kernel writes at most `length` bytes, which is how long the value is.
    let result =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, NETNS_COOKIE, value, &raw mut length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(cookie) }
}

fn pinned(pin: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let command = ObjectCommand { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: the kernel reads the path, which ends with a zero.
    let fd = unsafe { bpf(OBJECT_GET, &command) }?;
    // SAFETY: a descriptor that the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
///
/// `command` is a `union bpf_attr` for `number`, and what its addresses point to may be read and
/// written as that command does.
unsafe fn bpf<C>(number: libc::c_long, command: &C) -> io::Result<i32> {
    let address = from_ref(command);
    // SAFETY: as promised by the caller.
    let result = unsafe { libc::syscall(libc::SYS_bpf, number, address, size_of_val(command)) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}
