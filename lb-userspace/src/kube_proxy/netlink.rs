//! Messages to the kernel's netfilter, and what it answers: `include/uapi/linux/netfilter/nfnetlink.h`.
//!
//! Asks, waits, returns. Numbers in attributes are in network order, names end with a zero byte.

use std::io;

use netlink_packet_core::{DefaultNla, Emitable as _, Nla as _, NlasIterator};
use netlink_sys::{Socket as Kernel, SocketAddr};

/// `NETLINK_NETFILTER`.
const NETFILTER: isize = 12;

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;

const ERROR: u16 = 2;
const DONE: u16 = 3;

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

/// `struct nlmsghdr`, and `struct nfgenmsg` behind it.
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;

/// A conversation with netfilter in the network namespace of this thread.
pub(super) struct Socket {
    kernel: Kernel,
    sequence: u32,
}

/// What is asked, or told: the subsystem in the upper half of `kind`, its own number in the lower.
pub(super) struct Message {
    pub(super) kind: u16,
    pub(super) family: u8,
    pub(super) attributes: Vec<DefaultNla>,
}

impl Socket {
    pub(super) fn open() -> io::Result<Self> {
        let mut kernel = Kernel::new(NETFILTER)?;
        kernel.bind_auto()?;
        kernel.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { kernel, sequence: 0 })
    }

    /// Everything of a kind, as family and attributes.
    pub(super) fn dump(&mut self, message: &Message) -> io::Result<Vec<Message>> {
        let bytes = self.encode(message, REQUEST | DUMP, 0);
        self.send(&bytes)?;
        let mut found = Vec::new();
        self.answers(|kind, payload| found.extend(decode(kind, payload)))?;
        Ok(found)
    }

    /// Tells one thing, and waits until it is done.
    pub(super) fn tell(&mut self, message: &Message) -> io::Result<()> {
        let bytes = self.encode(message, REQUEST | ACK, 0);
        self.send(&bytes)?;
        self.answers(|_, _| {})
    }

    /// Tells several things of one subsystem: all of them happen, or none.
    pub(super) fn transact(&mut self, subsystem: u8, messages: &[Message]) -> io::Result<()> {
        let Some((last, first)) = messages.split_last() else { return Ok(()) };
        let frame = |kind| Message { kind, family: 0, attributes: Vec::new() };
        let mut bytes = self.encode(&frame(BATCH_BEGIN), REQUEST, subsystem.into());
        for message in first {
            bytes.extend(self.encode(message, REQUEST, 0));
        }
        // Answers come in order and end with this one, or with the first failure.
        bytes.extend(self.encode(last, REQUEST | ACK, 0));
        bytes.extend(self.encode(&frame(BATCH_END), REQUEST, subsystem.into()));
        self.send(&bytes)?;
        self.answers(|_, _| {})
    }

    fn encode(&mut self, message: &Message, flags: u16, resource: u16) -> Vec<u8> {
        self.sequence += 1;
        let length = HEADER + FAMILY_HEADER + message.attributes.as_slice().buffer_len();
        let mut bytes = Vec::with_capacity(length);
        bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
        bytes.extend(message.kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(self.sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend([message.family, 0]);
        bytes.extend(resource.to_be_bytes());
        bytes.resize(length, 0);
        message.attributes.as_slice().emit(&mut bytes[HEADER + FAMILY_HEADER..]);
        bytes
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.kernel.send(bytes, 0).map(|_| ())
    }

    /// Hands over what the kernel answers, until it says that this is all, or what went wrong.
    fn answers(&self, mut take: impl FnMut(u16, &[u8])) -> io::Result<()> {
        loop {
            let (datagram, _) = self.kernel.recv_from_full()?;
            let mut rest = datagram.as_slice();
            while let Some((kind, payload, behind)) = split(rest) {
                match kind {
                    DONE => return Ok(()),
                    ERROR => return outcome(payload),
                    _ => take(kind, payload),
                }
                rest = behind;
            }
        }
    }
}

/// Type and payload of the first message, and what is behind it.
fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?);
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let length = usize::try_from(length).ok()?;
    let payload = bytes.get(HEADER..length)?;
    let behind = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, payload, behind))
}

/// An answer that is no error says so with the number 0.
fn outcome(payload: &[u8]) -> io::Result<()> {
    let number = payload.first_chunk().map_or(0, |number| i32::from_ne_bytes(*number));
    if number == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-number)) }
}

fn decode(kind: u16, payload: &[u8]) -> Option<Message> {
    let family = *payload.first()?;
    Some(Message { kind, family, attributes: attributes(payload.get(FAMILY_HEADER..)?) })
}

/// The attributes in `bytes`, up to the first that is not whole.
pub(super) fn attributes(bytes: &[u8]) -> Vec<DefaultNla> {
    let whole = NlasIterator::new(bytes).map_while(Result::ok);
    whole.map(|it| DefaultNla::new(it.kind(), it.value().to_vec())).collect()
}

/// The value of the first attribute with the number `kind`; empty if there is none.
pub(super) fn value(attributes: &[DefaultNla], kind: u16) -> Vec<u8> {
    let Some(found) = attributes.iter().find(|it| it.kind() == kind) else { return Vec::new() };
    let mut value = vec![0; found.value_len()];
    found.emit_value(&mut value);
    value
}

/// The same, of a name.
pub(super) fn name(attributes: &[DefaultNla], kind: u16) -> String {
    let value = value(attributes, kind);
    let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// The attribute `kind` with a name.
pub(super) fn named(kind: u16, name: &str) -> DefaultNla {
    DefaultNla::new(kind, [name.as_bytes(), &[0]].concat())
}
