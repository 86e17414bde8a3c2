//! Maglev: a table of slots in which every backend has its share, and that changes little when one
//! comes or goes (Eisenbud and others, NSDI 2016, §3.4).
//!
//! The table depends on nothing but the addresses of the backends and its size, so that every node
//! with the same endpoints has the same table, whatever ids its backends have there.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use lb_common::mix::mix;

/// The size of a table: a prime, so that every backend's walk comes by all slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSize(u32);

impl TableSize {
    /// The largest one: a table takes four bytes a slot.
    pub const MAX: u32 = 1 << 20;

    /// `size` slots, if that is a prime that a table may have.
    ///
    /// # Errors
    ///
    /// Says which sizes can be had.
    pub fn new(size: u32) -> Result<Self, String> {
        if is_prime(size) && size <= Self::MAX {
            return Ok(Self(size));
        }
        Err(format!("{size} is no prime up to {}; 16381, 65537 and 131071 are", Self::MAX))
    }

    /// The number of slots.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl FromStr for TableSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::new(text.parse().map_err(|_| format!("{text:?} is no number of slots; write 65537"))?)
    }
}

impl fmt::Display for TableSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Default for TableSize {
    /// Large enough for a hundred backends to have shares within 1 %.
    fn default() -> Self {
        Self(65_537)
    }
}

/// For every slot the position of its backend in `backends`; no slots without backends. With more
/// backends than slots the last ones have none.
pub(crate) fn table(backends: &[SocketAddr], size: TableSize) -> Vec<usize> {
    let mut walks: Vec<Walk> = backends.iter().map(|backend| Walk::new(backend, size)).collect();
    let turns = if walks.is_empty() { 0..0 } else { 0..size.0 as usize };
    let mut owners: Vec<Option<usize>> = vec![None; turns.len()];
    for turn in turns {
        let backend = turn % backends.len();
        // A walk comes by every slot, and as many are free as turns are left.
        while owners[walks[backend].slot].is_some() {
            walks[backend].advance();
        }
        owners[walks[backend].slot] = Some(backend);
    }
    owners.into_iter().flatten().collect()
}

/// The order in which a backend wants the slots: each once, then again.
struct Walk {
    slot: usize,
    step: usize,
    size: usize,
}

impl Walk {
    fn new(backend: &SocketAddr, TableSize(size): TableSize) -> Self {
        let hash = hash(backend);
        let within = |half: u64, end: u32| (half & 0xffff_ffff) as usize % end as usize;
        let step = 1 + within(hash, size - 1);
        Self { slot: within(hash >> 32, size), step, size: size as usize }
    }

    fn advance(&mut self) {
        self.slot += self.step;
        if self.slot >= self.size {
            self.slot -= self.size;
        }
    }
}

/// The same on every node and in every version: flows would move if it were not.
fn hash(backend: &SocketAddr) -> u64 {
    let address = match backend.ip() {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    };
    let [low, high] = [address & u128::from(u64::MAX), address >> 64];
    let [low, high] = [low, high].map(|half| u64::try_from(half).unwrap_or_default());
    mix(mix(mix(low) ^ high) ^ u64::from(backend.port()) << 32)
}

/// By trial division; sizes are at most [`TableSize::MAX`].
const fn is_prime(number: u32) -> bool {
    let mut divisor = 2;
    while divisor * divisor <= number {
        if number.is_multiple_of(divisor) {
            return false;
        }
        divisor += 1;
    }
    number >= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backends(count: u32) -> Vec<SocketAddr> {
        let ip = |at: u32| IpAddr::from((0x0a00_0000 + at).to_be_bytes());
        (1..=count).map(|at| SocketAddr::new(ip(at), 8080)).collect()
    }

    /// The backend of every slot.
    fn owners(backends: &[SocketAddr], size: TableSize) -> Vec<SocketAddr> {
        table(backends, size).into_iter().map(|at| backends[at]).collect()
    }

    #[test]
    fn only_primes_are_sizes() {
        for size in [2, 3, 1009, 16_381, 65_537, 131_071, 1_048_573] {
            assert_eq!(TableSize::new(size), Ok(TableSize(size)));
        }
        for size in [0, 1, 4, 65_536, 16_379 * 3, 1_048_583, u32::MAX] {
            assert!(TableSize::new(size).unwrap_err().starts_with(&size.to_string()));
        }
    }

    #[test]
    fn every_slot_is_somebodys_and_shares_differ_by_one_slot_at_most() {
        for (count, size) in [(1, 2), (1, 65_537), (3, 7), (10, 65_537), (1000, 65_537), (7, 5)] {
            let mut shares = vec![0u32; count as usize];
            let table = table(&backends(count), TableSize::new(size).unwrap());
            for at in &table {
                shares[*at] += 1;
            }
            assert_eq!(table.len(), size as usize);
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            assert!(most - least <= 1, "{count} in {size}: {least} to {most}");
        }
    }

    #[test]
    fn without_backends_there_are_no_slots() {
        assert!(table(&[], TableSize::default()).is_empty());
    }

    #[test]
    fn a_backend_that_goes_leaves_the_others_their_flows() {
        let all = backends(100);
        let before = owners(&all, TableSize::default());
        for gone in [0, 42, 99] {
            let others: Vec<_> = all.iter().copied().filter(|one| *one != all[gone]).collect();
            let after = owners(&others, TableSize::default());
            let pairs = before.iter().zip(&after).filter(|(before, _)| **before != all[gone]);
            let (moved, stayed): (Vec<_>, Vec<_>) =
                pairs.partition(|(before, after)| before != after);
            let (moved, all) = (moved.len(), moved.len() + stayed.len());
            assert!(moved * 50 <= all, "{moved} of {all}");
        }
    }

    #[test]
    fn every_backend_has_a_walk_of_its_own() {
        let addresses = ["10.0.0.1:80", "10.0.0.1:81", "[fd00::1]:80", "[fd00:0:0:1::1]:80"];
        let hashes = addresses.map(|address| hash(&address.parse().unwrap()));
        for (at, hash) in hashes.iter().enumerate().skip(1) {
            assert!(!hashes[..at].contains(hash), "{}", addresses[at]);
        }
    }
}
