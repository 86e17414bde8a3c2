//! The slow path of packets that enter: one without a flow, decided once and remembered.
//!
//! [`let_in`] finds out who asks, [`judge`] chooses a backend and [`keep`] inserts the entries. Each is
//! a call of its own: together their values would not fit on the 512 bytes of stack next to the fast
//! path's, which need not carry them either.

use super::client::{self, Client};
use super::{Translation, entries, hint, masquerade, ports, select, state, stray};
use crate::abi::carried::Carried;
use crate::abi::counter::Counter;
use crate::abi::draft::Draft;
use crate::abi::flow::{Flow, FlowKey, Hook, flags};
use crate::abi::frontend::Frontend;
use crate::net::Address;
use crate::parse::Headers;
use crate::tables::{FlowEntry, Insert, Tables};

/// What is known and decided of a new flow, beyond its new destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Decision {
    /// What was dialled.
    frontend: Frontend,
    /// Who asks.
    client: Client,
    /// The backend's id.
    backend: u32,
    /// The backend's generation.
    generation: u32,
    /// Bits of [`flags`] besides those that say what is rewritten.
    flags: u16,
}

/// Decides on the first packet of a flow through `frontend`: where it goes; inserts its entries.
#[inline(never)]
#[expect(clippy::trivially_copy_pass_by_ref, reason = "by value it takes two of five registers")]
pub(super) fn admit<A: Address, T: Tables<A>>(
    tables: &T,
    headers: &Headers<A>,
    new: &mut FlowKey<A>,
    frontend: &Frontend,
    bytes: u32,
) -> Translation {
    let key = &headers.key;
    let mut decision = Decision { frontend: *frontend, ..Decision::default() };
    let decided = let_in(tables, key, &mut decision)
        .and_then(|()| judge(tables, key, new, &mut decision))
        .and_then(|()| keep(tables, headers, new, &decision, bytes));
    Translation::Counted(decided.err().unwrap_or(Counter::NewFlow))
}

/// Decides on a SYN past all frontends: only a flow of ours in its way makes it one.
#[inline(never)]
pub(super) fn pass_by<A: Address, T: Tables<A>>(
    tables: &T,
    headers: &Headers<A>,
    new: &mut FlowKey<A>,
    bytes: u32,
) -> Translation {
    let key = &headers.key;
    let mut decision = Decision::default();
    match way(tables, key, headers.opening, &mut decision) {
        Way::Taken => {
            let kept = keep(tables, headers, new, &decision, bytes);
            Translation::Counted(kept.err().unwrap_or(Counter::NewFlow))
        }
        Way::Own => Translation::None,
        Way::Free => {
            stray::let_pass(tables, key);
            Translation::None
        }
        Way::Over => Translation::Counted(Counter::PassClosedFlow),
    }
}

/// The way of a connection past all frontends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Nothing of ours is in it.
    Free,
    /// A flow of ours is, and the packet is its own.
    Own,
    /// A flow of ours was, and is over.
    Over,
    /// A live flow of ours is in it.
    Taken,
}

/// What is in the way of a connection to somebody who is no frontend: a flow through a frontend, from
/// the same port to the same backend, could not be told apart. `decision` becomes that flow's.
///
/// A SYN that we translated comes by again where a device stands on another (macvlan, VLAN, a veth
/// pair within the node). It is its own flow's, which it opened: nothing is in its way.
#[inline(never)]
fn way<A: Address, T: Tables<A>>(
    tables: &T,
    key: &FlowKey<A>,
    opening: u8,
    decision: &mut Decision,
) -> Way {
    let answers = key.reversed(Hook::Egress);
    let Some(entry) = tables.flow(&answers) else { return Way::Free };
    if entry.load().is_leg() {
        return Way::Own;
    }
    if !state::is_live(&entry.load(), key.protocol, tables.now()) {
        return Way::Over;
    }
    let flow = entry.load();
    if flow.opening == opening {
        return Way::Own;
    }
    decision.frontend.service = flow.service;
    decision.backend = flow.backend;
    decision.generation = flow.generation;
    Way::Taken
}

/// Forgets the flow in the way of the direct connection with `key`.
#[inline(never)]
pub(super) fn clear_the_way<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>) {
    let answers = key.reversed(Hook::Egress);
    if let Some(entry) = tables.flow(&answers) {
        entries::forget(tables, &answers, &entry);
    }
    stray::let_pass(tables, key);
}

/// Finds out who asks, and refuses a client that is in none of the source ranges.
#[inline(never)]
fn let_in<A: Address, T: Tables<A>>(
    tables: &T,
    key: &FlowKey<A>,
    decision: &mut Decision,
) -> Result<(), Counter> {
    client::let_in(tables, decision.frontend, key.src)?;
    decision.client = Client::of(tables, key.src);
    Ok(())
}

/// Chooses the backend: the list in use, then affinity or the hash. Puts the new destination into
/// the second key.
#[inline(never)]
fn judge<A: Address, T: Tables<A>>(
    tables: &T,
    key: &FlowKey<A>,
    new: &mut FlowKey<A>,
    decision: &mut Decision,
) -> Result<(), Counter> {
    let frontend = decision.frontend;
    let service = tables.service(frontend.service).ok_or(Counter::RejectNoEndpoint)?;
    let list = decision.client.list(frontend);
    let chosen = select::select(tables, key, frontend.service, &service, list)?;
    new.dst = chosen.backend.addr;
    new.dst_port = chosen.backend.port;
    decision.backend = chosen.id;
    decision.generation = chosen.backend.generation;
    let backend = chosen.backend.flags;
    let hides = new.dst == key.src || masquerade::hides(tables, decision.client, frontend, backend);
    decision.flags = if hides { flags::MASQUERADE } else { 0 };
    Ok(())
}

/// Inserts the entries of a flow whose packets go to the destination of `new`, which becomes what they
/// are rewritten to. If another flow of the client's port is in the way, this one gets another.
///
/// The entry for the answers comes first, and without it the packet does not leave (I3). Without the
/// other one it does: [`Counter::FlowNotKept`].
#[inline(never)]
fn keep<A: Address, T: Tables<A>>(
    tables: &T,
    headers: &Headers<A>,
    new: &mut FlowKey<A>,
    decision: &Decision,
    bytes: u32,
) -> Result<(), Counter> {
    let key = &headers.key;
    hint::leave(tables, key.dst, key.dst_port, key.protocol);
    hint::leave(tables, new.dst, new.dst_port, key.protocol);
    let mut draft = tables.draft().ok_or(Counter::DropFlowTable)?;
    draft.flow = Flow {
        packets: 1,
        bytes: u64::from(bytes),
        src: key.src,
        dst: new.dst,
        src_port: key.src_port,
        dst_port: new.dst_port,
        backend: decision.backend,
        generation: decision.generation,
        service: decision.frontend.service,
        seen: tables.now(),
        flags: decision.flags | flags::SET_DST,
        // A packet that ends a connection we know nothing of must not look like the start of one.
        state: state::after(0, false, headers.tcp_flags),
        opening: headers.opening,
    };
    entries::mirror(key, &mut draft);
    if !entries::claim(tables, &mut draft)? {
        other_port(tables, key, &mut draft)?;
    }
    draft.flow.rewrite(new);
    tables.insert_flow(key, &draft.flow, Insert::Replace).map_err(|_| Counter::FlowNotKept)?;
    tables.add(draft.flow.service, &Carried { flows: 1, ..Carried::default() });
    Ok(())
}

/// Gives the flow in `draft`, whose client's port is taken towards the backend, another port.
#[inline(never)]
fn other_port<A: Address, T: Tables<A>>(
    tables: &T,
    key: &FlowKey<A>,
    draft: &mut Draft<A>,
) -> Result<(), Counter> {
    draft.flow.flags |= flags::SET_SRC;
    entries::mirror(key, draft);
    for attempt in 0..ports::ATTEMPTS {
        let port = ports::offer(tables, key, attempt);
        draft.partner.dst_port = port;
        if entries::claim(tables, draft)? {
            draft.flow.src_port = port;
            return Ok(());
        }
    }
    Err(Counter::DropFlowClash)
}
