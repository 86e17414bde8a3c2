//! Who gets a frontend that several Services claim.
//!
//! What a Service was given by the cluster comes before what it asks for (`FrontendKind`): whoever
//! may write Services must not take over the ClusterIP of another (CVE-2020-8554). Of equal kinds
//! the oldest claim wins, ties by name; when it goes, the next one gets the frontend. The cost of a
//! change depends on the frontends of the service concerned and on who else claims those.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lb_common::net::Family;

use super::frontends::FrontendKind;
use super::{FrontendAddress, ServiceKey};
use crate::model::{NamespacedName, Protocol, ServicePortName};

/// All claims.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    of_service: BTreeMap<ServiceKey, Claim>,
    /// Sorted, the owner first; nearly always the only one.
    of_frontend: HashMap<FrontendAddress, Vec<Claimant>>,
    contested: BTreeSet<FrontendAddress>,
}

/// What a service claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Claim {
    /// When the Service was created, in seconds since 1970.
    pub(super) created_s: i64,
    /// Everything it would like to have, and as what.
    pub(super) frontends: BTreeMap<FrontendAddress, FrontendKind>,
}

/// Ordered by right: the least one owns the frontend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claimant {
    kind: FrontendKind,
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
        let addresses: BTreeSet<_> = old.frontends.keys().chain(new.frontends.keys()).collect();
        for address in addresses {
            let before = self.owner(address).cloned();
            if let Some(claimant) = old.claimant(key, address) {
                self.forget(address, &claimant);
            }
            if let Some(claimant) = new.claimant(key, address) {
                self.admit(*address, claimant);
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

    /// The ports of a Service that have claims.
    pub(super) fn of(&self, service: &NamespacedName) -> impl Iterator<Item = &ServiceKey> {
        self.claims_of(service).map(|(key, _)| key)
    }

    /// What a Service does not get, and why.
    pub(super) fn conflicts(&self, service: &NamespacedName) -> Vec<String> {
        let mut conflicts = Vec::new();
        for (key, claim) in self.claims_of(service) {
            for address in claim.frontends.keys() {
                let owner = self.claimants(address).next();
                let (Some(loser), Some(owner)) = (claim.claimant(key, address), owner) else {
                    continue;
                };
                if owner.key != loser.key {
                    conflicts.push(loser.loses(address, owner));
                }
            }
        }
        conflicts
    }

    fn claims_of(&self, service: &NamespacedName) -> impl Iterator<Item = (&ServiceKey, &Claim)> {
        let all = self.of_service.range(first_key(service)..);
        all.take_while(move |(key, _)| key.name.service == *service)
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

    fn admit(&mut self, address: FrontendAddress, claimant: Claimant) {
        let claimants = self.of_frontend.entry(address).or_insert_with(|| Vec::with_capacity(1));
        if let Err(at) = claimants.binary_search(&claimant) {
            claimants.insert(at, claimant);
        }
    }

    fn forget(&mut self, address: &FrontendAddress, claimant: &Claimant) {
        if let Some(claimants) = self.of_frontend.get_mut(address) {
            claimants.retain(|one| one != claimant);
            if claimants.is_empty() {
                self.of_frontend.remove(address);
            }
        }
    }
}

impl Claim {
    /// `key` as one that claims `address`, if it does.
    fn claimant(&self, key: &ServiceKey, address: &FrontendAddress) -> Option<Claimant> {
        let kind = *self.frontends.get(address)?;
        Some(Claimant { kind, created_s: self.created_s, key: key.clone() })
    }
}

impl Claimant {
    /// Why it does not get `address`, which `owner` has.
    fn loses(&self, address: &FrontendAddress, owner: &Self) -> String {
        let (loser, name) = (&self.key.name, &owner.key.name);
        let why = if owner.kind != self.kind {
            format!("{name} has it as {}, which comes before {}", owner.kind, self.kind)
        } else if owner.created_s != self.created_s {
            format!("{name} has claimed it before")
        } else {
            format!("{name} is as old and comes before it by name")
        };
        format!("{loser} does not get {address}: {why}")
    }
}

/// The least key that a Service can have.
fn first_key(service: &NamespacedName) -> ServiceKey {
    let (service, port) = (service.clone(), "".into());
    let name = ServicePortName { service, port, protocol: Protocol::Tcp };
    ServiceKey { name, family: Family::V4 }
}
