//! The live maps as a decision sees them, and a journal of what it asked.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::Path;
use std::rc::Rc;

use aya::maps::{Array, HashMap, MapData};
use lb_common::abi::backend::{self, Backend};
use lb_common::abi::counter::Counter;
use lb_common::abi::flow::{Flow, FlowKey};
use lb_common::abi::frontend::{self, Frontend, FrontendKey};
use lb_common::abi::interface::{self, Interface};
use lb_common::abi::map;
use lb_common::abi::name::ServiceName;
use lb_common::abi::service::{self, Service, SlotRange};
use lb_common::clock::Ticks;
use lb_common::net::{Addr4, Addr6, Address};
use lb_common::tables::FlowEntry;

use super::lookups::Lookups;
use super::overlay::found;
use super::settings::Settings;
use super::step::{Step, protocol_name};
use crate::maps::MapError;
use crate::maps::kernel::access::{Open, refused, typed};

/// Where a packet comes from, or where it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Ifindex of the interface that it comes by at ingress, leaves by at egress.
    pub ifindex: u32,
    /// Whether this node itself has sent it.
    pub is_own: bool,
}

/// The maps of a datapath, over which decisions run without changing them.
pub struct Live {
    pub(super) v4: Lookups<Addr4>,
    pub(super) v6: Lookups<Addr6>,
    pub(super) services: Array<MapData, Service>,
    pub(super) slots: Array<MapData, u32>,
    pub(super) interfaces: HashMap<MapData, u32, Interface>,
    names: HashMap<MapData, u32, ServiceName>,
    pub(super) settings: Settings,
    pub(super) now: Ticks,
    pub(super) origin: Cell<Origin>,
    steps: RefCell<Vec<Step>>,
    pub(super) counters: RefCell<Vec<Counter>>,
    fault: RefCell<Option<MapError>>,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Live {
    /// The maps that are pinned in `directory`, at `now`.
    ///
    /// # Errors
    ///
    /// If one cannot be opened.
    pub fn from_pins(directory: &Path, settings: Settings, now: Ticks) -> Result<Self, MapError> {
        Self::from_maps(|name| MapData::from_pin(directory.join(name)), settings, now)
    }

    /// The maps that `open` finds by their names.
    ///
    /// # Errors
    ///
    /// If one cannot be opened.
    pub fn from_maps(
        mut open: impl FnMut(&'static str) -> Result<MapData, aya::maps::MapError>,
        settings: Settings,
        now: Ticks,
    ) -> Result<Self, MapError> {
        let open: &mut Open<'_> = &mut open;
        Ok(Self {
            v4: Lookups::open(open)?,
            v6: Lookups::open(open)?,
            services: typed(open, map::SERVICES)?,
            slots: typed(open, map::SLOTS)?,
            interfaces: typed(open, map::INTERFACES)?,
            names: typed(open, map::SERVICE_NAMES)?,
            settings,
            now,
            origin: Cell::new(Origin { ifindex: interface::NODE, is_own: false }),
            steps: RefCell::default(),
            counters: RefCell::default(),
            fault: RefCell::default(),
        })
    }

    /// From now on packets come, or leave, there.
    pub fn place(&self, origin: Origin) {
        self.origin.set(origin);
    }

    /// The IPv4 flow entries that were asked for or written; `None` where there is none now.
    #[must_use]
    pub fn touched_v4(&self) -> Vec<(FlowKey<Addr4>, Option<Flow<Addr4>>)> {
        self.v4.flows.touched()
    }

    /// The IPv6 flow entries, likewise.
    #[must_use]
    pub fn touched_v6(&self) -> Vec<(FlowKey<Addr6>, Option<Flow<Addr6>>)> {
        self.v6.flows.touched()
    }

    /// The ids of the backends in a list.
    #[must_use]
    pub fn backends(&self, list: SlotRange) -> Vec<u32> {
        let slots = list.offset()..list.offset().saturating_add(list.count());
        slots.filter_map(|slot| self.read(map::SLOTS, self.slots.get(&slot, 0))).collect()
    }

    /// The name of a Service, else its id.
    #[must_use]
    pub fn name(&self, service: u32) -> String {
        let name = self.read(map::SERVICE_NAMES, self.names.get(&service, 0));
        let name = name.and_then(|name| name.parse().map(|(name, _)| name.to_owned()));
        name.unwrap_or_else(|| service.to_string())
    }

    /// What was asked, done and counted since this was last called.
    pub(super) fn take_journal(&self) -> Result<(Vec<Step>, Vec<Counter>), MapError> {
        match self.fault.take() {
            Some(fault) => Err(fault),
            None => Ok((self.steps.take(), self.counters.take())),
        }
    }

    pub(super) fn note(&self, step: Step) {
        self.steps.borrow_mut().push(step);
    }

    pub(super) fn read<V>(
        &self,
        map: &'static str,
        got: Result<V, aya::maps::MapError>,
    ) -> Option<V> {
        self.known(map, found(got))
    }

    /// What was found. A map that cannot be read makes the whole answer void.
    pub(super) fn known<V>(
        &self,
        map: &'static str,
        found: Result<Option<V>, aya::maps::MapError>,
    ) -> Option<V> {
        found.unwrap_or_else(|error| {
            self.fault.borrow_mut().get_or_insert_with(|| refused(map)(error));
            None
        })
    }

    pub(super) fn note_frontend<A: Address>(&self, key: &FrontendKey<A>, found: Option<Frontend>) {
        let address = std::net::SocketAddr::new(key.addr.to_ip(), key.port.to_host());
        let flags = found.map_or(0, |it| it.flags);
        self.note(Step::Frontend {
            address: format!("{address}/{}", protocol_name(key.protocol)),
            service: found.map(|it| self.name(it.service)),
            local: flags & frontend::flags::LOCAL != 0,
            external: flags & frontend::flags::EXTERNAL != 0,
        });
    }

    pub(super) fn note_service(&self, id: u32, service: &Service) {
        self.note(Step::Service {
            service: self.name(id),
            cluster: service.cluster.count(),
            local: service.local.count(),
            usable: service.flags & service::flags::USABLE != 0,
            affinity_s: service.affinity_s,
        });
    }

    pub(super) fn note_backend<A: Address>(&self, id: u32, found: Option<Backend<A>>) {
        let used = found.filter(|it| it.flags & backend::flags::IN_USE != 0);
        let has = |flag| used.is_some_and(|it| it.flags & flag != 0);
        self.note(Step::Backend {
            backend: id,
            address: used.map(|it| (it.addr.to_ip(), it.port.to_host()).into()),
            serving: has(backend::flags::SERVING),
            local: has(backend::flags::LOCAL),
        });
    }
}

/// An entry of a flow, changed in memory.
#[derive(Debug)]
pub struct Entry<A: Copy>(pub(super) Rc<Cell<Flow<A>>>);

impl<A: Copy> FlowEntry<A> for Entry<A> {
    fn load(&self) -> Flow<A> {
        self.0.get()
    }

    fn record(&self, bytes: u32, now: Ticks) {
        let flow = self.0.get();
        let (packets, bytes) = (flow.packets + 1, flow.bytes + u64::from(bytes));
        self.0.set(Flow { packets, bytes, seen: now, ..flow });
    }

    fn set_state(&self, state: u8) {
        self.0.set(Flow { state, ..self.0.get() });
    }

    fn take_counts(&self) -> (u64, u64) {
        let flow = self.0.replace(Flow { packets: 0, bytes: 0, ..self.0.get() });
        (flow.packets, flow.bytes)
    }
}
