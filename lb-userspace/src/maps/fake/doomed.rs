//! Maps of which one write fails, or kills its writer: the nth, which may be cut in two.

use std::io;

use ipnet::IpNet;

use crate::maps::{
    Capacities, MapError, Maps, ReadBack, ServiceEntry, ServiceState, Snapshot, Write, is_of,
};

/// How far the write comes that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It is not made.
    Missing,
    /// A part of it is made, where it takes more than one store or system call.
    Torn,
    /// It is made, and nobody knows.
    Made,
}

/// Maps that take so many writes, then one more in the way of [`Failure`], then none or all others.
#[derive(Clone, Debug)]
pub struct Doomed<M> {
    inner: M,
    left: Option<usize>,
    failure: Failure,
    kills: bool,
}

impl<M> Doomed<M> {
    /// `inner`, whose writer dies after `left` writes.
    pub const fn killing(inner: M, left: usize, failure: Failure) -> Self {
        Self { inner, left: Some(left), failure, kills: true }
    }

    /// `inner`, one write of which fails after `left` others.
    pub const fn failing(inner: M, left: usize, failure: Failure) -> Self {
        Self { inner, left: Some(left), failure, kills: false }
    }

    /// Whether the write has come that fails.
    pub const fn has_failed(&self) -> bool {
        self.left.is_none()
    }

    /// The maps as the dead have left them.
    pub const fn inner(&self) -> &M {
        &self.inner
    }
}

impl<M: Maps + ReadBack> Maps for Doomed<M> {
    fn apply(&mut self, write: &Write) -> Result<(), MapError> {
        match self.left {
            Some(0) => {
                self.left = None;
                for part in self.last_writes(write)? {
                    self.inner.apply(&part)?;
                }
                Err(failure())
            }
            None if self.kills => Err(failure()),
            None => self.inner.apply(write),
            Some(left) => {
                self.left = Some(left - 1);
                self.inner.apply(write)
            }
        }
    }
}

impl<M: Maps + ReadBack> Doomed<M> {
    fn last_writes(&self, write: &Write) -> Result<Vec<Write>, MapError> {
        Ok(match self.failure {
            Failure::Missing => Vec::new(),
            Failure::Torn => torn(write, &self.inner.snapshot()?),
            Failure::Made => vec![write.clone()],
        })
    }
}

impl<M: ReadBack> ReadBack for Doomed<M> {
    fn capacities(&self) -> Capacities {
        self.inner.capacities()
    }

    fn snapshot(&self) -> Result<Snapshot, MapError> {
        self.inner.snapshot()
    }
}

/// What there is in the middle of `write`, in terms of whole ones; nothing of those that the kernel
/// makes at once. The order of stores is that of [`crate::maps::kernel`].
fn torn(write: &Write, before: &Snapshot) -> Vec<Write> {
    match write {
        Write::PutSlots { offset, backends } => {
            let backends = backends[..backends.len() / 2].to_vec();
            vec![Write::PutSlots { offset: *offset, backends }]
        }
        // The lists come first, one by one. One that is not in use yet stays so.
        Write::PutService(id, entry) => {
            let old = before.services.get(id).map(|ServiceState { entry, .. }| *entry);
            let halfway = |old| ServiceEntry { cluster: entry.cluster, ..old };
            old.map(|old| Write::PutService(*id, halfway(old))).into_iter().collect()
        }
        // All but the flags: an id that is free has its next generation already.
        Write::PutBackend(family, id, _) if !before.backends.contains_key(&(*family, *id)) => {
            vec![write.clone(), Write::FreeBackend(*family, *id)]
        }
        Write::PutServiceCidrs(family, _) => {
            let old = before.service_cidrs.iter().filter(|net| is_of(*family, &net.addr()));
            let none: Vec<IpNet> = Vec::new();
            old.take(1).map(|_| Write::PutServiceCidrs(*family, none.clone())).collect()
        }
        _ => Vec::new(),
    }
}

fn failure() -> MapError {
    MapError::Kernel { map: "DOOMED", source: io::Error::other("on purpose") }
}
