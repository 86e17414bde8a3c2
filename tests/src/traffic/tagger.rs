//! A wire that puts VLAN tags on the frames of one side.
//!
//! Made in userspace, as not every kernel has VLAN devices: two macvtaps hand frames over as they are,
//! with what the kernel still owes them (a checksum, segmenting) in front.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::libc::O_NONBLOCK;
use tokio::net::unix::pipe::{Receiver, Sender};

use super::Daemon;
use crate::lab::Namespace;

/// Connects two interfaces of a namespace while it lives.
#[derive(Debug)]
pub struct Tagger {
    _daemon: Daemon,
}

impl Tagger {
    /// Frames from `near` leave `far` with so many tags more, for the VLAN 0: a priority only, so
    /// that every kernel takes them (IEEE 802.1Q §6.9.1). Frames from `far` leave `near` as they are.
    #[must_use]
    pub fn start(ns: &Namespace, near: &str, far: &str, tags: usize) -> Self {
        let [near, far] = [near, far].map(|interface| open(ns, interface));
        Self { _daemon: Daemon::start(move || forward_both(near, far, tags)) }
    }
}

/// Opens a macvtap that takes every frame of `interface`.
fn open(ns: &Namespace, interface: &str) -> File {
    /// The device's file is named by its number, for all namespaces in one directory.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let index = process::id() * 64 + NEXT.fetch_add(1, Ordering::Relaxed) % 64;
    ns.ip(&format!(
        "link add link {interface} name tap-{interface} index {index} type macvtap mode passthru
         link set tap-{interface} allmulticast on up"
    ));
    let path = format!("/dev/tap{index}");
    let file = File::options().read(true).write(true).custom_flags(O_NONBLOCK).open(&path);
    file.unwrap_or_else(|error| panic!("open {path}, the frames of {interface}: {error}"))
}

async fn forward_both(near: File, far: File, tags: usize) {
    // Tokio's pipes do for every file that can be polled.
    let [(near_in, near_out), (far_in, far_out)] = [near, far].map(|file| {
        let copy = file.try_clone().expect("copy a descriptor");
        let receiver = Receiver::from_file_unchecked(file).expect("watch a macvtap");
        (receiver, Sender::from_file_unchecked(copy).expect("watch a macvtap"))
    });
    let forwarded =
        tokio::try_join!(forward(&near_in, &far_out, tags), forward(&far_in, &near_out, 0));
    forwarded.expect("forward frames");
}

async fn forward(from: &Receiver, to: &Sender, tags: usize) -> io::Result<()> {
    let mut buffer = vec![0; LARGEST];
    loop {
        from.readable().await?;
        match from.try_read(&mut buffer) {
            // What the other side does not take is lost, as on every wire.
            Ok(length) => drop(to.try_write(&tagged(&buffer[..length], tags))),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// A frame of 64 KiB with everything that can stand before its payload.
const LARGEST: usize = (64 << 10) + 256;

/// `struct virtio_net_hdr` of the kernel's `linux/virtio_net.h`, which stands before every frame.
mod offload {
    /// Length of it all.
    pub(super) const LENGTH: usize = 10;
    /// The first byte: whether a checksum is to be completed.
    pub(super) const NEEDS_CHECKSUM: u8 = 1;
    /// Offset of the length of all headers of a packet that is to be segmented.
    pub(super) const HEADERS: usize = 2;
    /// Offset of where the checksum begins to count.
    pub(super) const CHECKSUM_START: usize = 6;
}

/// Length of both MAC addresses.
const ADDRESSES: usize = 12;
/// 802.1Q, VLAN 0, priority 5.
const TAG: [u8; 4] = [0x81, 0x00, 0xa0, 0x00];

/// The frame, which has its offload header in front, with more tags.
fn tagged(frame: &[u8], tags: usize) -> Vec<u8> {
    let at = offload::LENGTH + ADDRESSES;
    let mut frame = [&frame[..at], &TAG.repeat(tags), &frame[at..]].concat();
    let longer = u16::try_from(tags * TAG.len()).expect("a few tags");
    if frame[0] & offload::NEEDS_CHECKSUM != 0 {
        for offset in [offload::HEADERS, offload::CHECKSUM_START] {
            let value = u16::from_ne_bytes([frame[offset], frame[offset + 1]]) + longer;
            frame[offset..offset + 2].copy_from_slice(&value.to_ne_bytes());
        }
    }
    frame
}

#[cfg(test)]
mod tests {
    use etherparse::{LinkExtSlice, PacketBuilder, SlicedPacket};

    use super::*;

    #[test]
    fn tags_stand_before_the_network_header_and_the_offload_header_knows() {
        let mut packet = vec![1, 1, 54, 0, 100, 0, 34, 0, 16, 0];
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(1, 2)
            .write(&mut packet, b"payload")
            .unwrap();
        assert_eq!(tagged(&packet, 0), packet);
        for tags in [1, 2] {
            let tagged = tagged(&packet, tags);
            let moved = 4 * u16::try_from(tags).unwrap();
            assert_eq!(tagged[2..4], (54 + moved).to_ne_bytes());
            assert_eq!(tagged[6..8], (34 + moved).to_ne_bytes());
            let sliced = SlicedPacket::from_ethernet(&tagged[offload::LENGTH..]).unwrap();
            let found = sliced.link_exts.iter().filter(|it| matches!(it, LinkExtSlice::Vlan(_)));
            assert_eq!(found.count(), tags);
            assert_eq!(sliced.ip_payload().map(|ip| ip.payload.len()), Some(8 + 7));
        }
    }
}
