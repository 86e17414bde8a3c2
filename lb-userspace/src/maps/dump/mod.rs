//! Map contents for people and programs: one row an entry, sorted.
//!
//! A row is a serializable value and a line of text. Ids can be left out of the text, so that two
//! maps that say the same with different ids read the same.

mod carried;
mod flow;
mod prefix;
mod socket;

pub use carried::CarriedRow;
pub use flow::FlowRow;
pub use prefix::{AddressRow, ClientRow, InterfaceRow, ServiceCidrRow, SourceRangeRow};
pub use socket::SocketRow;

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::net::SocketAddr;

use lb_common::abi::map;
use lb_common::net::Family;
use serde::Serialize;

use super::{BackendId, ServiceId, Snapshot, backends_map, frontends_map};
use crate::plan::FrontendAddress;

/// Whether text names ids and generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// As they are in the maps.
    Shown,
    /// Names and addresses stand for them.
    Masked,
}

/// Everything that the agent writes, as rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dump {
    /// `FRONTENDS_*`, by address.
    pub frontends: Vec<FrontendRow>,
    /// `SERVICES` with their names, by id.
    pub services: Vec<ServiceRow>,
    /// `BACKENDS_*` in use, by family and id.
    pub backends: Vec<BackendRow>,
    /// `ADDRESSES_*`, by address.
    pub addresses: Vec<AddressRow>,
    /// `SRC_RANGES_*`, by service and prefix.
    pub source_ranges: Vec<SourceRangeRow>,
    /// `CLIENTS_*`, by prefix.
    pub clients: Vec<ClientRow>,
    /// `SVC_CIDRS_*`, by prefix.
    pub service_cidrs: Vec<ServiceCidrRow>,
    /// `INTERFACES`, by index.
    pub interfaces: Vec<InterfaceRow>,
}

/// A frontend.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own in the map")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FrontendRow {
    /// The map it is in.
    pub map: &'static str,
    /// `address:port/PROTOCOL`.
    pub address: String,
    /// The service behind it.
    pub service: ServiceRef,
    /// Balanced over the local list.
    pub local: bool,
    /// A NodePort, LoadBalancer or external address.
    pub external: bool,
    /// Only clients in the service's source ranges may use it.
    pub guarded: bool,
    /// Other ports of its address are rejected.
    pub closed: bool,
    /// A NodePort.
    pub node_port: bool,
}

/// A service: one port of a Kubernetes Service in one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceRow {
    /// Its id and name.
    #[serde(flatten)]
    pub service: ServiceRef,
    /// `IPv4` or `IPv6`; empty if it has no name.
    pub family: &'static str,
    /// Whether the id is in use; else only the name is left.
    pub in_use: bool,
    /// The list for traffic policy `Cluster`.
    pub cluster: Vec<Share>,
    /// The list for traffic policy `Local`.
    pub local: Vec<Share>,
    /// Session affinity in seconds; 0 = none.
    pub affinity_s: u32,
    /// Some endpoint could be used, on whatever node; else clients are refused.
    pub usable: bool,
}

/// What a backend has of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Which backend.
    #[serde(flatten)]
    pub backend: BackendRef,
    /// How many slots: one, but for Maglev tables.
    pub slots: u32,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackendRow {
    /// The map it is in.
    pub map: &'static str,
    /// Its id and address.
    #[serde(flatten)]
    pub backend: BackendRef,
    /// The service it belongs to.
    pub service: ServiceRef,
    /// Counts the endpoints that have had this id.
    pub generation: u32,
    /// It answers.
    pub serving: bool,
    /// It is on this node.
    pub local: bool,
}

/// A counter, summed over the CPUs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CounterRow {
    /// Its name.
    pub name: &'static str,
    /// How often it happened.
    pub value: u64,
}

/// A service, as other rows name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceRef {
    /// Its id.
    pub id: ServiceId,
    /// `namespace/name:port/PROTOCOL`; absent if the maps hold no name for the id.
    pub name: Option<String>,
}

/// A backend, as other rows name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackendRef {
    /// Its id.
    pub id: BackendId,
    /// Where it listens; absent if the id is not in use.
    pub address: Option<SocketAddr>,
}

impl Dump {
    /// The rows of `snapshot`.
    #[must_use]
    pub fn new(snapshot: &Snapshot) -> Self {
        Self {
            frontends: frontends(snapshot),
            services: services(snapshot),
            backends: backends(snapshot),
            addresses: prefix::addresses(snapshot),
            source_ranges: prefix::source_ranges(snapshot),
            clients: prefix::clients(snapshot),
            service_cidrs: prefix::service_cidrs(snapshot),
            interfaces: prefix::interfaces(snapshot),
        }
    }

    /// One line a row, in the order of the fields; each sorted.
    #[must_use]
    pub fn text(&self, ids: Ids) -> String {
        let mut lines: [Vec<String>; 8] = [
            self.frontends.iter().map(|row| row.line(ids)).collect(),
            self.services.iter().map(|row| row.line(ids)).collect(),
            self.backends.iter().map(|row| row.line(ids)).collect(),
            self.addresses.iter().map(ToString::to_string).collect(),
            self.source_ranges.iter().map(|row| row.line(ids)).collect(),
            self.clients.iter().map(ToString::to_string).collect(),
            self.service_cidrs.iter().map(ToString::to_string).collect(),
            self.interfaces.iter().map(ToString::to_string).collect(),
        ];
        if ids == Ids::Masked {
            for lines in &mut lines {
                lines.sort_unstable();
            }
        }
        lines.into_iter().flatten().fold(String::new(), |text, line| text + &line + "\n")
    }
}

impl FrontendRow {
    /// `FRONTENDS_V4 10.96.0.10:80/TCP service=1 flags=external,local`.
    #[must_use]
    pub fn line(&self, ids: Ids) -> String {
        let mut line = format!("{} {} service={}", self.map, self.address, self.service.text(ids));
        let flags = words(&[
            ("closed", self.closed),
            ("external", self.external),
            ("guarded", self.guarded),
            ("local", self.local),
            ("node-port", self.node_port),
        ]);
        if !flags.is_empty() {
            push(&mut line, format_args!(" flags={flags}"));
        }
        line
    }
}

impl ServiceRow {
    /// `SERVICES 1 demo/web:http/TCP IPv4 cluster=[1 2 3] local=[1] affinity=0s`, or only the
    /// name if nothing else is left.
    #[must_use]
    pub fn line(&self, ids: Ids) -> String {
        let mut line = (if self.in_use { map::SERVICES } else { map::SERVICE_NAMES }).to_owned();
        if ids == Ids::Shown {
            push(&mut line, format_args!(" {}", self.service.id));
        }
        push(&mut line, format_args!(" {} {}", self.service.name_or_mark(), self.family));
        if self.in_use {
            let (cluster, local) = (list(&self.cluster, ids), list(&self.local, ids));
            let affinity = self.affinity_s;
            push(
                &mut line,
                format_args!(" cluster=[{cluster}] local=[{local}] affinity={affinity}s"),
            );
            if !self.usable {
                line.push_str(" no-endpoints");
            }
        }
        line
    }
}

impl BackendRow {
    /// `BACKENDS_V4 1 10.1.0.2:8080 service=1 generation=1 serving,local`.
    #[must_use]
    pub fn line(&self, ids: Ids) -> String {
        let mut line = self.map.to_owned();
        if ids == Ids::Shown {
            push(&mut line, format_args!(" {}", self.backend.id));
        }
        let address = self.backend.text(Ids::Masked);
        push(&mut line, format_args!(" {address} service={}", self.service.text(ids)));
        if ids == Ids::Shown {
            push(&mut line, format_args!(" generation={}", self.generation));
        }
        let state = words(&[("serving", self.serving), ("local", self.local)]);
        if !state.is_empty() {
            push(&mut line, format_args!(" {state}"));
        }
        line
    }
}

impl fmt::Display for CounterRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", map::COUNTERS, self.name, self.value)
    }
}

impl ServiceRef {
    fn new(id: ServiceId, snapshot: &Snapshot) -> Self {
        Self { id, name: snapshot.names.get(&id).map(|(name, _)| name.clone()) }
    }

    fn text(&self, ids: Ids) -> String {
        match ids {
            Ids::Shown => self.id.to_string(),
            Ids::Masked => self.name_or_mark().to_owned(),
        }
    }

    fn name_or_mark(&self) -> &str {
        self.name.as_deref().unwrap_or("?")
    }
}

impl BackendRef {
    fn text(&self, ids: Ids) -> String {
        match (ids, self.address) {
            (Ids::Shown, _) => self.id.to_string(),
            (Ids::Masked, Some(address)) => address.to_string(),
            (Ids::Masked, None) => "?".to_owned(),
        }
    }
}

impl Share {
    /// `1`, or `1*6553` with more than one slot.
    fn text(&self, ids: Ids) -> String {
        match self.slots {
            1 => self.backend.text(ids),
            slots => format!("{}*{slots}", self.backend.text(ids)),
        }
    }
}

fn frontends(snapshot: &Snapshot) -> Vec<FrontendRow> {
    let row = |(address, entry): (&FrontendAddress, &super::FrontendEntry)| FrontendRow {
        map: frontends_map(Family::of(&address.ip)),
        address: address.to_string(),
        service: ServiceRef::new(entry.service, snapshot),
        local: entry.local,
        external: entry.external,
        guarded: entry.guarded,
        closed: entry.closed,
        node_port: entry.node_port,
    };
    snapshot.frontends.iter().map(row).collect()
}

fn services(snapshot: &Snapshot) -> Vec<ServiceRow> {
    let nameless = snapshot.services.keys().filter(|id| !snapshot.names.contains_key(id));
    let mut ids: Vec<_> = snapshot.names.keys().chain(nameless).copied().collect();
    ids.sort_unstable();
    ids.into_iter().map(|id| service(id, snapshot)).collect()
}

fn service(id: ServiceId, snapshot: &Snapshot) -> ServiceRow {
    let state = snapshot.services.get(&id);
    let family = snapshot.names.get(&id).map(|(_, family)| *family);
    let shares = |slots: &Vec<BackendId>| {
        let address = |id: BackendId| Some(snapshot.backends.get(&(family?, id))?.address);
        let share = |(id, slots)| Share { backend: BackendRef { id, address: address(id) }, slots };
        counted(slots).into_iter().map(share).collect()
    };
    ServiceRow {
        service: ServiceRef::new(id, snapshot),
        family: match family {
            Some(Family::V4) => "IPv4",
            Some(Family::V6) => "IPv6",
            None => "",
        },
        in_use: state.is_some(),
        cluster: state.map(|state| shares(&state.cluster)).unwrap_or_default(),
        local: state.map(|state| shares(&state.local)).unwrap_or_default(),
        affinity_s: state.map_or(0, |state| state.entry.affinity_s),
        usable: state.is_some_and(|state| state.entry.usable),
    }
}

fn backends(snapshot: &Snapshot) -> Vec<BackendRow> {
    let row = |(&(family, id), entry): (&(Family, BackendId), &super::BackendEntry)| BackendRow {
        map: backends_map(family),
        backend: BackendRef { id, address: Some(entry.address) },
        service: ServiceRef::new(entry.service, snapshot),
        generation: entry.generation,
        serving: entry.serving,
        local: entry.local,
    };
    snapshot.backends.iter().map(row).collect()
}

fn list(shares: &[Share], ids: Ids) -> String {
    shares.iter().map(|share| share.text(ids)).collect::<Vec<_>>().join(" ")
}

/// The backends of `slots` in the order in which they come, each with the number of its slots.
fn counted(slots: &[BackendId]) -> Vec<(BackendId, u32)> {
    let mut places = HashMap::new();
    let mut counted: Vec<(BackendId, u32)> = Vec::new();
    for &id in slots {
        let place = *places.entry(id).or_insert(counted.len());
        match counted.get_mut(place) {
            Some((_, count)) => *count += 1,
            None => counted.push((id, 1)),
        }
    }
    counted
}

/// The names of those that are true, with commas.
fn words(names: &[(&str, bool)]) -> String {
    let set = names.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| *name);
    set.collect::<Vec<_>>().join(",")
}

fn push(line: &mut String, part: fmt::Arguments<'_>) {
    line.write_fmt(part).expect("a string takes everything");
}
