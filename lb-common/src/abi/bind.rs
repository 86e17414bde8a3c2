//! `BINDS`: what the programs tell the agent of processes that the port guard has refused.
//!
//! A ring buffer with one reader, the agent. Where it has no room nothing is told: the process has
//! its error number, and the counter `reject_bind` its count.

use super::assert_layout;
use crate::net::Port;

/// A record: a process of the node that wanted to bind a node port.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefusedBind {
    /// The process, in the initial pid namespace.
    pub pid: u32,
    /// The id of the service whose port it is.
    pub service: u32,
    /// The name of the thread (`comm` in `proc(5)`), filled up with zeros.
    pub name: [u8; 16],
    /// The port, network order.
    pub port: Port,
    /// IP protocol number.
    pub protocol: u8,
    /// Always zero.
    pub pad: u8,
}

assert_layout!(RefusedBind, 28, u32, u32, [u8; 16], Port, u8, u8);
