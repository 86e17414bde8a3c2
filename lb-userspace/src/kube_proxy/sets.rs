//! IP sets of kube-proxy's mode `ipvs`: `include/uapi/linux/netfilter/ipset/ip_set.h`.

use std::io;

use netlink_packet_core::DefaultNla;

use super::names;
use super::netlink::{Message, Socket, name, named};

const SUBSYSTEM: u16 = 6 << 8;
const DESTROY: u16 = SUBSYSTEM | 3;
const LIST: u16 = SUBSYSTEM | 7;

const PROTOCOL: u16 = 1;
const NAME: u16 = 2;
const FLAGS: u16 = 8;

/// The version that all kernels still speak.
const VERSION: u8 = 6;
/// Names will do: sets may be long.
const ONLY_NAMES: u32 = 1 << 1;

/// The names of kube-proxy's sets.
pub(super) fn find() -> io::Result<Vec<String>> {
    let only_names = DefaultNla::new(FLAGS, ONLY_NAMES.to_be_bytes().to_vec());
    let listed = Socket::open()?.dump(&message(LIST, only_names))?;
    let names = listed.iter().map(|set| name(&set.attributes, NAME));
    Ok(names.filter(|name| names::is_set(name)).collect())
}

/// Removes a set that no rule uses any more.
pub(super) fn destroy(set: &str) -> io::Result<()> {
    Socket::open()?.tell(&message(DESTROY, named(NAME, set)))
}

fn message(kind: u16, attribute: DefaultNla) -> Message {
    let version = DefaultNla::new(PROTOCOL, vec![VERSION]);
    Message { kind, family: 2, attributes: vec![version, attribute] }
}
