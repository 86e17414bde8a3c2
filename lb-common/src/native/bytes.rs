//! Packets as bytes. Their checksums are complete: no device is there to complete them.

use crate::csum;
use crate::packet::{Header, Packet, Refused, TransportFix};

/// A packet as bytes. Its checksums are complete, as on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

/// Bytes of a [`Bytes`] that are known to be there, by copy.
#[derive(Clone, Copy, Debug)]
pub struct Copied([u8; 48]);

impl Packet for Bytes {
    type Header = Copied;

    fn len(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    fn header<const LEN: usize>(&self, offset: u32) -> Option<Copied> {
        let mut bytes = [0; 48];
        bytes[..LEN].copy_from_slice(self.at(offset, LEN)?);
        Some(Copied(bytes))
    }

    fn load<const N: usize>(&self, offset: u32) -> Result<[u32; N], Refused> {
        let bytes = self.at(offset, 4 * N).ok_or(Refused)?;
        let (words, _) = bytes.as_chunks();
        Ok(core::array::from_fn(|i| u32::from_ne_bytes(words[i])))
    }

    fn resize(&mut self, len: u32) -> Result<(), Refused> {
        self.0.resize(usize::try_from(len).map_err(|_| Refused)?, 0);
        Ok(())
    }

    fn store<const N: usize>(&mut self, offset: u32, words: [u32; N]) -> Result<(), Refused> {
        let bytes = words.map(u32::to_ne_bytes);
        self.at_mut(offset, 4 * N).ok_or(Refused)?.copy_from_slice(bytes.as_flattened());
        Ok(())
    }

    fn fix_header_checksum(&mut self, offset: u32, diff: u32) -> Result<(), Refused> {
        self.fix(offset, |checksum| csum::apply(checksum, diff))
    }

    fn fix_transport_checksum(
        &mut self,
        offset: u32,
        diff: u32,
        fix: TransportFix,
    ) -> Result<(), Refused> {
        self.fix(offset, |checksum| match (fix.zero_is_none, checksum) {
            (true, 0) => 0,
            (zero_is_none, _) => match csum::apply(checksum, diff) {
                0 if zero_is_none => 0xffff,
                fixed => fixed,
            },
        })
    }
}

impl Bytes {
    fn at(&self, offset: u32, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset).ok()?;
        self.0.get(start..start.checked_add(len)?)
    }

    fn at_mut(&mut self, offset: u32, len: usize) -> Option<&mut [u8]> {
        let start = usize::try_from(offset).ok()?;
        self.0.get_mut(start..start.checked_add(len)?)
    }

    fn fix(&mut self, offset: u32, change: impl FnOnce(u16) -> u16) -> Result<(), Refused> {
        let field = self.at_mut(offset, 2).ok_or(Refused)?;
        let fixed = change(u16::from_ne_bytes([field[0], field[1]]));
        field.copy_from_slice(&fixed.to_ne_bytes());
        Ok(())
    }
}

impl Header for Copied {
    fn u8<const AT: usize>(&self) -> u8 {
        self.0[AT]
    }

    fn u16<const AT: usize>(&self) -> u16 {
        u16::from_ne_bytes([self.0[AT], self.0[AT + 1]])
    }

    fn u32<const AT: usize>(&self) -> u32 {
        u32::from_ne_bytes([self.0[AT], self.0[AT + 1], self.0[AT + 2], self.0[AT + 3]])
    }
}
