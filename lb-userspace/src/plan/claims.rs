//! Who gets a frontend that several Services claim.
//!
//! The oldest claim wins, ties by name; when it goes, the next one gets the frontend. The cost of a
//! change depends on the frontends of the service concerned and on who else claims those.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lb_common::net::Family;

use super::{FrontendAddress, ServiceKey};
use crate::model::{NamespacedName, Protocol, ServicePortName};

/// All claims.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    of_service: BTreeMap<ServiceKey, Claim>,
    of_frontend: HashMap<FrontendAddress, BTreeSet<Claimant>>,
    contested: BTreeSet<FrontendAddress>,
}

/// What a service claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Claim {
    /// When the Service was created, in seconds since 1970.
    pub(super) created_s: i64,
    /// Everything it would like to have.
    pub(super) frontends: BTreeSet<FrontendAddress>,
}

/// Ordered by right: the least one owns the frontend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claimant {
    created_s: i64,
    key: ServiceKey,
}

impl Claims {
    /// `key` now claims this, or nothing more. Returns the other services for whom the owner of a
    /// frontend changed.
    pub(super) fn set(&mut self, key: &ServiceKey, claim: Option<Claim>) -> BTreeSet<ServiceKey> {
        let old = match claim.clone() {
            Some(claim) => self.of_service.insert(key.clone(), claim),
            None => self.of_service.remove(key),
        };
        // Changes of endpoints, by far the most frequent ones, end here.
        if old == claim {
            return BTreeSet::new();
        }
        let (old, new) = (old.unwrap_or_default(), claim.unwrap_or_default());
        let mut affected = BTreeSet::new();
        for address in old.frontends.union(&new.frontends) {
            let before = self.owner(address).cloned();
            self.forget(address, &Claimant { created_s: old.created_s, key: key.clone() });
            if new.frontends.contains(address) {
                let claimant = Claimant { created_s: new.created_s, key: key.clone() };
                self.of_frontend.entry(*address).or_default().insert(claimant);
            }
            self.note_contest(*address);
            if self.owner(address) != before.as_ref() {
                affected.extend(self.claimants(address).map(|claimant| claimant.key.clone()));
            }
        }
        affected.remove(key);
        affected
    }

    /// Who has the frontend.
    pub(super) fn owner(&self, address: &FrontendAddress) -> Option<&ServiceKey> {
        self.claimants(address).next().map(|claimant| &claimant.key)
    }

    /// How many frontends have more than one claimant.
    pub(super) fn contested(&self) -> usize {
        self.contested.len()
    }

    /// Everything that has claims.
    pub(super) fn keys(&self) -> impl Iterator<Item = &ServiceKey> {
        self.of_service.keys()
    }

    /// The ports of a Service that have claims, with what they claim.
    pub(super) fn of(
        &self,
        service: &NamespacedName,
    ) -> impl Iterator<Item = (&ServiceKey, &BTreeSet<FrontendAddress>)> {
        let all = self.of_service.range(first_key(service)..);
        all.take_while(move |(key, _)| key.name.service == *service)
            .map(|(key, claim)| (key, &claim.frontends))
    }

    fn note_contest(&mut self, address: FrontendAddress) {
        if self.claimants(&address).nth(1).is_some() {
            self.contested.insert(address);
        } else {
            self.contested.remove(&address);
        }
    }

    fn claimants(&self, address: &FrontendAddress) -> impl Iterator<Item = &Claimant> {
        self.of_frontend.get(address).into_iter().flatten()
    }

    fn forget(&mut self, address: &FrontendAddress, claimant: &Claimant) {
        if let Some(claimants) = self.of_frontend.get_mut(address) {
            claimants.remove(claimant);
            if claimants.is_empty() {
                self.of_frontend.remove(address);
            }
        }
    }
}

/// The least key that a Service can have.
fn first_key(service: &NamespacedName) -> ServiceKey {
    let (service, port) = (service.clone(), "".into());
    let name = ServicePortName { service, port, protocol: Protocol::Tcp };
    ServiceKey { name, family: Family::V4 }
}
