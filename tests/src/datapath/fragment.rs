//! Cuts packets into fragments, as a router or a sender does (RFC 791 §3.2, RFC 8200 §4.5).

use etherparse::{
    IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, NetSlice, SlicedPacket,
};

use super::Packet;

/// Length of an Ethernet header.
const LINK: usize = 14;

impl Packet {
    /// The Ethernet frames of the fragments of this packet, with up to `size` bytes of it in each (a
    /// multiple of 8), under the number `id`.
    ///
    /// # Panics
    ///
    /// If the packet is in another frame, or has IP options or extension headers.
    #[must_use]
    pub fn fragments(&self, size: usize, id: u16) -> Vec<Vec<u8>> {
        let bytes = self.bytes();
        let sliced = SlicedPacket::from_ethernet(&bytes).expect("an Ethernet frame");
        let net = sliced.net.expect("a network header");
        let payload = net.ip_payload_ref().expect("a transport header").payload;
        let last = payload.len().div_ceil(size) - 1;
        let cut = |(index, part): (usize, &[u8])| {
            let offset = u16::try_from(index * size / 8).expect("13 bits");
            let offset = IpFragOffset::try_new(offset).expect("13 bits");
            let header = match &net {
                NetSlice::Ipv4(ip) => v4(ip.header().to_header(), id, offset, index < last, part),
                NetSlice::Ipv6(ip) => v6(&ip.header().to_header(), id, offset, index < last, part),
                NetSlice::Arp(_) => panic!("ARP has no fragments"),
            };
            [&bytes[..LINK], &header, part].concat()
        };
        payload.chunks(size).enumerate().map(cut).collect()
    }
}

fn v4(ip: Ipv4Header, id: u16, offset: IpFragOffset, more: bool, part: &[u8]) -> Vec<u8> {
    let mut ip = Ipv4Header {
        identification: id,
        dont_fragment: false,
        more_fragments: more,
        fragment_offset: offset,
        ..ip
    };
    ip.set_payload_len(part.len()).expect("a short fragment");
    ip.header_checksum = ip.calc_header_checksum();
    ip.to_bytes().to_vec()
}

fn v6(ip: &Ipv6Header, id: u16, offset: IpFragOffset, more: bool, part: &[u8]) -> Vec<u8> {
    let fragment =
        Ipv6FragmentHeader::new(ip.next_header, offset, more, 0x0077_0000 | u32::from(id));
    let mut ip = Ipv6Header { next_header: IpNumber::IPV6_FRAGMENTATION_HEADER, ..ip.clone() };
    ip.set_payload_length(part.len() + 8).expect("a short fragment");
    [&ip.to_bytes()[..], &fragment.to_bytes()].concat()
}
