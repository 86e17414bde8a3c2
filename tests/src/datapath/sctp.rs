//! SCTP packets for tests (RFC 9260 §3), with a checksum computed bit by bit over the whole packet.

/// A packet with one chunk of `kind` around `payload`; without a sum it is as a socket leaves it
/// to the device.
pub(super) fn packet(ports: (u16, u16), kind: u8, payload: &[u8], summed: bool) -> Vec<u8> {
    let length = u16::try_from(4 + payload.len()).expect("a chunk of at most 64 KiB");
    let mut packet = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    packet.extend([0xc0, 0xff, 0xee, 0x11, 0, 0, 0, 0]);
    packet.extend([kind, 0]);
    packet.extend(length.to_be_bytes());
    packet.extend(payload);
    packet.resize(packet.len().next_multiple_of(4), 0);
    if summed {
        let sum = crc32c(&packet);
        packet[8..12].copy_from_slice(&sum.to_le_bytes());
    }
    packet
}

/// Panics unless the checksum of a whole packet is right, or zero.
#[track_caller]
pub(super) fn assert_checksum(packet: &[u8]) {
    let mut unsummed = packet.to_vec();
    let written: [u8; 4] = packet[8..12].try_into().expect("four bytes");
    unsummed[8..12].fill(0);
    if written != [0; 4] {
        assert_eq!(u32::from_le_bytes(written), crc32c(&unsummed), "SCTP checksum");
    }
}

/// `CRC32c` (RFC 9260 appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 }
        })
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_sum_has_the_check_value_of_the_catalogue_of_crcs() {
        assert_eq!(super::crc32c(b"123456789"), 0xe306_9283);
    }
}
