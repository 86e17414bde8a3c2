//! Checksums over whole packets, byte by byte, without a look at `lb_common`'s.

use std::ops::Range;

use crate::view::{ICMP, Part, SCTP, TCP, UDP, View};

/// How far the checksum of the network header is off: 0 = right.
#[must_use]
pub fn header_error(bytes: &[u8], view: &View) -> u16 {
    if view.is_v6() { 0 } else { sum(&bytes[view.network..header_end(bytes, view)], 0) }
}

fn header_end(bytes: &[u8], view: &View) -> usize {
    (view.network + usize::from(bytes[view.network] & 0xf) * 4).min(bytes.len())
}

/// How far the checksum behind the network header is off: 0 = right. What is missing of the packet
/// counts as zero.
#[must_use]
pub fn transport_error(bytes: &[u8], view: &View) -> u16 {
    let mut pseudo = 0;
    if view.protocol != ICMP {
        let length = view.end.saturating_sub(view.transport) as u64;
        pseudo = raw_sum(&bytes[view.addresses()]) + u64::from(view.protocol);
        pseudo += (length & 0xffff) + (length >> 16);
    }
    sum(&bytes[covered(bytes, view)], pseudo)
}

/// Whether the `CRC32c` of a whole SCTP packet is right.
#[must_use]
pub fn is_crc_right(bytes: &[u8], view: &View) -> bool {
    let packet = &bytes[covered(bytes, view)];
    packet.get(8..12).is_some_and(|written| written == crc(packet).to_le_bytes())
}

/// Whether the sender left the checksum away.
#[must_use]
pub fn is_unsummed(bytes: &[u8], view: &View) -> bool {
    let sum = view.transport_sum().and_then(|at| bytes.get(at));
    matches!(view.protocol, UDP | SCTP) && sum.is_some_and(|sum| sum.iter().all(|byte| *byte == 0))
}

/// Makes all checksums of a whole packet right.
pub fn complete(bytes: &mut [u8], view: &View) {
    if let Some(at) = view.header_sum() {
        bytes[at.clone()].fill(0);
        let sum = header_error(bytes, view);
        bytes[at].copy_from_slice(&(0xffff - sum).to_be_bytes());
    }
    let Some(at) = view.transport_sum().filter(|at| at.end <= bytes.len()) else { return };
    bytes[at.clone()].fill(0);
    if view.protocol == SCTP {
        let crc = crc(&bytes[covered(bytes, view)]);
        bytes[at].copy_from_slice(&crc.to_le_bytes());
    } else {
        let sum = 0xffff - transport_error(bytes, view);
        bytes[at].copy_from_slice(&sum.to_be_bytes());
    }
}

/// What the transport checksum covers, as far as it is there.
fn covered(bytes: &[u8], view: &View) -> Range<usize> {
    let end = view.end.min(bytes.len());
    view.transport.min(end)..end
}

/// Whether a packet has a checksum of the Internet's kind behind the network header that this part
/// of it tells something about.
#[must_use]
pub fn has_internet_sum(bytes: &[u8], view: &View) -> bool {
    let is_there = view.transport_sum().is_some_and(|at| at.end <= view.end.min(bytes.len()));
    is_there && view.part != Part::Later && view.protocol != SCTP && !is_unsummed(bytes, view)
}

/// Whether it is one of the three protocols that services have.
#[must_use]
pub fn is_service_protocol(view: &View) -> bool {
    matches!(view.protocol, TCP | UDP | SCTP)
}

/// The ones' complement sum, with 0xffff written as 0: 0 if a checksum in it is right.
fn sum(bytes: &[u8], more: u64) -> u16 {
    u16::try_from((raw_sum(bytes) + more) % 0xffff).expect("a remainder")
}

fn raw_sum(bytes: &[u8]) -> u64 {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let pairs: u64 = pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum();
    pairs + odd.first().map_or(0, |last| u64::from(*last) << 8)
}

/// `CRC32c` (RFC 9260 appendix A), with the checksum's own bytes as zeros.
fn crc(packet: &[u8]) -> u32 {
    let zeroed = |(at, byte): (usize, &u8)| if (8..12).contains(&at) { 0 } else { *byte };
    !packet.iter().enumerate().map(zeroed).fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 }
        })
    })
}
