//! The 5-tuple: what a flow is known by.

use crate::net::{Address, Port};

/// Who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port.
    pub src_port: Port,
    /// Destination port.
    pub dst_port: Port,
    /// IP protocol number.
    pub protocol: u8,
}

impl<A: Address> Tuple<A> {
    /// The tuple of the answer.
    #[must_use]
    #[inline(always)]
    pub fn reversed(self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            src_port: self.dst_port,
            dst_port: self.src_port,
            protocol: self.protocol,
        }
    }

    /// A hash over everything in the tuple, the same on every node and in every run.
    ///
    /// Two rounds of a 64-bit finalizer (the constants are those of `MurmurHash3`'s): cheap without
    /// a 128-bit product, which BPF has not, and every input bit changes half of the output.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the upper half is the better mixed one")]
    pub fn hash(&self) -> u32 {
        let (s, d) = (self.src.words(), self.dst.words());
        let ports = u64::from(self.src_port.word()) << 16 | u64::from(self.dst_port.word());
        let mut h = mix(pair(s[0], d[0]) ^ 0x9e37_79b9_7f4a_7c15);
        if s[1] | s[2] | s[3] | d[1] | d[2] | d[3] != 0 {
            h = mix(h ^ pair(s[1], d[1]));
            h = mix(h ^ pair(s[2], d[2]));
            h = mix(h ^ pair(s[3], d[3]));
        }
        (mix(h ^ (ports << 8) ^ u64::from(self.protocol)) >> 32) as u32
    }
}

#[inline(always)]
fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

#[inline(always)]
fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ x >> 33
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Addr4, protocol};

    fn tuple(client: u8, port: u16) -> Tuple<Addr4> {
        Tuple {
            src: Addr4::from_octets([10, 1, 0, client]),
            dst: Addr4::from_octets([10, 96, 0, 10]),
            src_port: Port::from_host(port),
            dst_port: Port::from_host(80),
            protocol: protocol::TCP,
        }
    }

    #[test]
    fn consecutive_ports_and_addresses_spread_evenly_over_ten_slots() {
        let mut shares = [0u32; 10];
        for client in 1..=100 {
            for port in 0..100 {
                let hash = tuple(client, 32_768 + port).hash();
                shares[usize::try_from(u64::from(hash) * 10 >> 32).unwrap()] += 1;
            }
        }
        assert!(shares.iter().all(|share| (880..=1120).contains(share)), "{shares:?}");
    }

    #[test]
    fn the_answer_of_the_answer_is_the_question() {
        assert_eq!(tuple(1, 2).reversed().reversed(), tuple(1, 2));
        assert_ne!(tuple(1, 2).reversed(), tuple(1, 2));
    }
}
