//! One generation of maps follows another while traffic goes on: larger maps, or another version's.
//!
//! A generation is a directory of pins. The one in force is `maps`. Another one is built beside it, as
//! `maps-next`: maps that stay as they are get a second pin there, the others are made by the loader and
//! filled from the old ones. It is in force when it is renamed to `maps`; the old one becomes `maps-old`.
//! Then whoever has the links gives them programs of the new generation, one by one, and what those of
//! the old one have noted meanwhile is added ([`Old::settle`]), after which the old one goes.
//!
//! The agent may end anywhere. The next start finds
//! - `maps` and `maps-next`: nothing has happened yet; `maps-next` goes;
//! - `maps-old` and `maps-next`, but no `maps`: the last rename is made up for;
//! - `maps` and `maps-old`: some links may run programs of the old generation. They are all given new
//!   ones, as at every start, and then `maps-old` is settled.
//!
//! The maps of another version (`v<n>/maps`) are an old generation too. What that version remembers of
//! links, filters and ports is taken over once the new one is in force. A field whose meaning changes
//! while its place stays needs a conversion of its own in [`Next::take_over`]; no version has any yet.
//!
//! The agent itself writes to no map while this happens, so a copy of what it alone writes is exact.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::mem::offset_of;
use std::path::{Path, PathBuf};

use aya::maps::{MapError, MapInfo, MapType};
use lb_common::abi::flow::Flow;
use lb_common::abi::map;
use lb_common::clock::Ticks;
use lb_common::net::{Addr4, Addr6};

use super::layout::{Fate, Layout, Mismatch, Shape, layouts};
use super::pins::{self, Pins};
use crate::maps::raw::RawMap;
use crate::maps::{Capacities, growth, setting};

/// Why there is no next generation; the one before it is still in force.
#[derive(Debug, thiserror::Error)]
pub enum GenerationError {
    /// A map of an earlier run cannot be followed.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// A map of an earlier run cannot be looked at.
    #[error("look at the pinned map {map}")]
    Pinned {
        /// The map.
        map: &'static str,
        /// Why.
        #[source]
        source: MapError,
    },
    /// A map cannot be taken over.
    #[error("take over what map {map} holds: {source}")]
    Copy {
        /// The map.
        map: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The pins cannot be read or changed.
    #[error("change the pins: {0}")]
    Pins(#[from] io::Error),
}

type Result<T> = std::result::Result<T, GenerationError>;

/// A generation that is being built.
#[derive(Debug)]
pub(super) struct Next {
    pins: Pins,
    /// Where the old maps are; none at a node's first start.
    old: Option<PathBuf>,
    fates: BTreeMap<&'static str, Fate>,
}

/// A generation that programs may still be using.
#[derive(Debug)]
pub(super) struct Old {
    pins: Pins,
    maps: PathBuf,
    /// What its programs have seen before is in the generation in force.
    since: Ticks,
}

/// Makes up for what an agent has left undone that ended while one generation followed another.
pub(super) fn recover(pins: &Pins) -> io::Result<()> {
    let (maps, next, old) = (pins.maps(), pins.next_maps(), pins.old_maps());
    if !maps.exists() && next.exists() && old.exists() {
        fs::rename(&next, &maps)?;
    }
    pins::remove_tree(&next, &mut |_| {})?;
    if maps.exists() { adopt_others(pins) } else { Ok(()) }
}

/// The sizes that the maps are to begin with, within `limits`: what the agent has filled keeps its size,
/// and what is in it keeps its room. What the programs fill makes room by itself.
pub fn sizes(pins: &Pins, limits: &Capacities) -> Result<Capacities> {
    recover(pins)?;
    let mut sizes = growth::start(limits);
    let Some(old) = in_use(pins)? else { return Ok(sizes) };
    for layout in layouts(limits).iter().filter(|it| it.shape.kind != MapType::LruHash) {
        let Some(flag) = setting(layout.name) else { continue };
        let kept = kept(&old, layout)?;
        if kept > layout.shape.capacity {
            tracing::warn!(
                map = layout.name,
                "keeps {kept} entries, more than --{flag}: they are in use"
            );
        }
        if let Some(size) = sizes.of_setting(flag) {
            *size = kept.max(*size);
        }
    }
    Ok(sizes)
}

impl Next {
    /// The generation that has maps of these `layouts`; `None` if that in force has.
    pub(super) fn plan(pins: &Pins, layouts: &[Layout]) -> Result<Option<Self>> {
        let old = in_use(pins)?;
        let mut fates = BTreeMap::new();
        for layout in layouts {
            let found = old.as_ref().map_or(Ok(None), |old| found(old, layout.name))?;
            let fate = found.map_or(Ok(Fate::Anew), |found| layout.fate(found))?;
            fates.insert(layout.name, fate);
        }
        let is_there = old.as_ref().is_some_and(|old| *old == pins.maps());
        let is_same = is_there && fates.values().all(|fate| *fate == Fate::Kept);
        Ok((!is_same).then(|| Self { pins: pins.clone(), old, fates }))
    }

    /// Whether the generation before it has no map of this name that could be followed.
    pub(super) fn adds(&self, name: &str) -> bool {
        self.old.is_some() && self.fates.get(name) == Some(&Fate::Anew)
    }

    /// Pins what stays; the loader is to make the others, in the same directory.
    pub(super) fn begin(&self) -> Result<()> {
        let next = self.pins.next_maps();
        fs::create_dir_all(&next)?;
        for name in self.of(Fate::Kept) {
            if let Some(old) = &self.old {
                fs::hard_link(old.join(name), next.join(name))?;
            }
        }
        Ok(())
    }

    /// Fills the new maps and puts them in force. Returns the old ones, if there are any: programs go
    /// on using them until they are replaced.
    pub(super) fn take_over(self, now: impl Fn() -> Ticks) -> Result<Option<Old>> {
        let began = just_before(now());
        self.fill(|_, _| true)?;
        // Once more the flows that were busy meanwhile, so that little is left for the end.
        let since = just_before(now());
        self.fill(|name, value| seen(name, value).is_some_and(|seen| seen >= began))?;
        let Some(aside) = self.put_aside()? else {
            self.put_in_force()?;
            return Ok(None);
        };
        self.put_in_force()?;
        Ok(Some(Old { pins: self.pins, maps: aside, since }))
    }

    fn fill(&self, wanted: impl Fn(&str, &[u8]) -> bool) -> Result<()> {
        let Some(old) = &self.old else { return Ok(()) };
        for name in self.of(Fate::Copied) {
            let copy = || {
                let new = RawMap::from_pin(&self.pins.next_maps().join(name))?;
                new.fill_from(&RawMap::from_pin(&old.join(name))?, |value| wanted(name, value))
            };
            copy().map_err(|source| GenerationError::Copy { map: name, source })?;
        }
        Ok(())
    }

    /// Where the old maps are from now on. Those of another version stay where they are.
    fn put_aside(&self) -> io::Result<Option<PathBuf>> {
        let is_ours = |old: &PathBuf| *old == self.pins.maps();
        if self.old.as_ref().is_some_and(is_ours) {
            fs::rename(self.pins.maps(), self.pins.old_maps())?;
            return Ok(Some(self.pins.old_maps()));
        }
        Ok(self.old.clone())
    }

    fn put_in_force(&self) -> io::Result<()> {
        if let Err(error) = fs::rename(self.pins.next_maps(), self.pins.maps()) {
            // Back, if they were put aside.
            fs::rename(self.pins.old_maps(), self.pins.maps()).ok();
            return Err(error);
        }
        adopt_others(&self.pins)
    }

    fn of(&self, fate: Fate) -> impl Iterator<Item = &'static str> {
        self.fates.iter().filter(move |(_, it)| **it == fate).map(|(name, _)| *name)
    }
}

impl Old {
    /// What an agent has left that ended before it was settled.
    pub(super) fn find(pins: &Pins) -> io::Result<Option<Self>> {
        if !pins.maps().exists() {
            return Ok(None);
        }
        let mut others = pins.others()?.into_iter().map(|other| other.maps());
        let found = [pins.old_maps()].into_iter().chain(&mut others).find(|maps| maps.exists());
        Ok(found.map(|maps| Self { pins: pins.clone(), maps, since: Ticks::default() }))
    }

    /// Adds to the generation in force what programs have noted in this one since, and removes it.
    ///
    /// To be called when all links run programs of the generation in force.
    pub(super) fn settle(self, layouts: &[Layout]) -> Result<()> {
        let of_programs = layouts.iter().filter(|layout| layout.shape.kind == MapType::LruHash);
        for name in of_programs.map(|layout| layout.name) {
            self.add(name).map_err(|source| GenerationError::Copy { map: name, source })?;
        }
        pins::remove_tree(&self.pins.old_maps(), &mut |_| {})?;
        self.pins.others()?.iter().try_for_each(Pins::remove)?;
        Ok(())
    }

    fn add(&self, name: &str) -> io::Result<()> {
        let path = self.maps.join(name);
        if !path.exists() {
            return Ok(());
        }
        let (old, new) = (RawMap::from_pin(&path)?, RawMap::from_pin(&self.pins.map(name))?);
        if old.id() == new.id() {
            return Ok(());
        }
        // What the new programs have removed must not come back, nor what they know better go.
        new.add_from(&old, |value| seen(name, value).is_none_or(|seen| seen >= self.since))
    }
}

fn adopt_others(pins: &Pins) -> io::Result<()> {
    pins.others()?.iter().try_for_each(|other| pins.adopt(other))
}

/// Where the maps are that programs use now, whatever their version.
fn in_use(pins: &Pins) -> io::Result<Option<PathBuf>> {
    let others = pins.others()?.into_iter().map(|other| other.maps());
    Ok([pins.maps()].into_iter().chain(others).find(|maps| maps.exists()))
}

/// The size that the map in `directory` keeps: its own, within that of `layout`, and never less than what
/// is in it. 0 if there is none.
fn kept(directory: &Path, layout: &Layout) -> Result<u32> {
    let limit = layout.shape.capacity;
    let capacity = found(directory, layout.name)?.map_or(0, |found| found.capacity);
    if capacity <= limit {
        return Ok(capacity);
    }
    let entries = RawMap::from_pin(&directory.join(layout.name)).and_then(|map| map.entries());
    let entries = entries.map_err(|source| GenerationError::Copy { map: layout.name, source })?;
    Ok(entries.max(limit))
}

/// What the map `name` in `directory` looks like, if there is one.
fn found(directory: &Path, name: &'static str) -> Result<Option<Shape>> {
    let path = directory.join(name);
    if !path.exists() {
        return Ok(None);
    }
    let info = MapInfo::from_pin(path).and_then(|info| shape(&info));
    info.map(Some).map_err(|source| GenerationError::Pinned { map: name, source })
}

fn shape(info: &MapInfo) -> std::result::Result<Shape, MapError> {
    Ok(Shape {
        kind: info.map_type()?,
        key: info.key_size(),
        value: info.value_size(),
        capacity: info.max_entries(),
    })
}

/// When the flow of an entry was last seen; `None` of entries that are no flows'.
fn seen(name: &str, value: &[u8]) -> Option<Ticks> {
    let offset = match name {
        map::FLOWS_V4 => offset_of!(Flow<Addr4>, seen),
        map::FLOWS_V6 => offset_of!(Flow<Addr6>, seen),
        _ => return None,
    };
    let word = value.get(offset..)?.first_chunk()?;
    Some(Ticks(u32::from_ne_bytes(*word)))
}

/// The programs' clock is a little behind.
fn just_before(now: Ticks) -> Ticks {
    Ticks(now.0.saturating_sub(1))
}
