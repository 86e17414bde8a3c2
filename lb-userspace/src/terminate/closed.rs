//! Which sockets of `SOCKETS_*` are closed.
//!
//! A socket that is closed takes its entries along, unless no program of ours saw it close or it has
//! written to very many addresses. What it leaves would stay until the map needs the room.
//!
//! A socket counts as closed once it was missed at two looks in a row: one that is just about to be
//! connected has an entry before the kernel lists it. Of a namespace that cannot be entered nothing is
//! known, so none of its sockets is ever missed.

use std::collections::HashSet;
use std::io;

use lb_common::net::protocol;

use crate::netlink::sock_diag::{Domain, SockDiag};

/// The cookies of the sockets that were missed at the last look.
#[derive(Debug, Default)]
pub(super) struct Missed(HashSet<u64>);

impl Missed {
    /// Those that were missed at the last look already. The others are remembered.
    pub(super) fn again(&mut self, missing: HashSet<u64>) -> HashSet<u64> {
        let (again, first) = missing.into_iter().partition(|cookie| self.0.contains(cookie));
        self.0 = first;
        again
    }
}

/// Those of these cookies that no socket of the calling thread's namespace has.
pub(super) fn missing(mut cookies: HashSet<u64>) -> io::Result<HashSet<u64>> {
    let diag = SockDiag::open()?;
    for domain in [Domain::V4, Domain::V6] {
        for protocol in [protocol::UDP, protocol::TCP] {
            for cookie in diag.cookies(domain, protocol)? {
                cookies.remove(&cookie);
            }
        }
    }
    Ok(cookies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_closed_once_it_was_missed_twice_in_a_row() {
        let mut missed = Missed::default();
        for (missing, closed) in [
            (&[1, 2][..], &[][..]),
            (&[2, 3], &[2]),
            (&[1], &[]),
            (&[], &[]),
            (&[1], &[]),
            (&[1, 3], &[1]),
        ] {
            let missing = missing.iter().copied().collect();
            assert_eq!(missed.again(missing), closed.iter().copied().collect::<HashSet<u64>>());
        }
    }
}
