//! What the kernel programs and the agent agree on, and every decision of the datapath.
//!
//! Nothing here makes a system call, reads a clock or knows Kubernetes. The same functions run in
//! the kernel over BPF maps and natively, over memory, in tests (design §2).
//!
//! - [`net`], [`csum`], [`crc32c`], [`clock`], [`verdict`]: the vocabulary;
//! - [`abi`]: one file per map, the bytes that both sides read and write;
//! - [`tables`], [`packet`]: what a decision may ask of the maps and of a packet;
//! - [`parse`], [`decide`], [`rewrite`], [`reject`], [`icmp`]: the datapath itself.
#![cfg_attr(not(any(test, feature = "native", feature = "user")), no_std)]

pub mod abi;
#[cfg(feature = "bench")]
pub mod bench;
pub mod clock;
pub mod crc32c;
pub mod csum;
pub mod decide;
pub mod icmp;
pub mod mix;
#[cfg(any(test, feature = "native"))]
pub mod native;
pub mod net;
pub mod packet;
pub mod parse;
pub mod reject;
pub mod rewrite;
pub mod tables;
pub mod verdict;
