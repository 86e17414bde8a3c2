//! What must be true of the flow table.

use lb_common::abi::flow::{FlowKey, Hook};
use lb_common::abi::frontend::FrontendKey;
use lb_common::native::{FamilyMaps, MemoryTables};
use lb_common::net::{Addr4, Addr6, Address, Port};
use lb_common::tables::{FlowEntry as _, Tables};

use crate::view::View;

/// Calls a generic function for the family of a view, over its maps.
macro_rules! for_family {
    ($tables:expr, $view:expr, $function:ident($($argument:expr),*)) => {
        if $view.is_v6() {
            $function::<Addr6>($tables, &$tables.v6, $($argument),*)
        } else {
            $function::<Addr4>($tables, &$tables.v4, $($argument),*)
        }
    };
}

/// Panics if some entry translates requests while the one for their answers is not there (I3).
pub fn assert_answers_are_expected(tables: &MemoryTables) {
    assert_family(&tables.v4);
    assert_family(&tables.v6);
}

fn assert_family<A: Address + Ord>(maps: &FamilyMaps<A>) {
    let flows = maps.flows();
    for (key, flow) in flows.iter().filter(|(_, flow)| !flow.is_reply()) {
        let mut rewritten = *key;
        flow.rewrite(&mut rewritten);
        let answer = flow.partner(key);
        let expected = flows.binary_search_by(|(other, _)| other.cmp(&answer)).is_ok();
        assert!(expected || rewritten == *key, "{key:?} {flow:?} has no entry at {answer:?}");
    }
}

/// Panics unless the answer to the request `inside` is translated, where it leaves towards the
/// client, to an answer to `dialled`.
pub fn assert_answer_is_expected(tables: &MemoryTables, dialled: &View, inside: &View) {
    for_family!(tables, dialled, assert_restores(dialled, inside));
}

fn assert_restores<A: Address + Ord>(
    tables: &MemoryTables,
    _: &FamilyMaps<A>,
    dialled: &View,
    inside: &View,
) where
    MemoryTables: Tables<A>,
{
    let (Some(dialled), Some(inside)) =
        (key::<A>(dialled, Hook::Ingress), key::<A>(inside, Hook::Ingress))
    else {
        return;
    };
    let mut answer = inside.reversed(Hook::Egress);
    let entry = tables.flow(&answer).unwrap_or_else(|| panic!("no entry at {answer:?}"));
    let flow = entry.load();
    flow.rewrite(&mut answer);
    assert_eq!(answer, dialled.reversed(Hook::Egress), "{flow:?} answers {dialled:?}");
}

/// Whether the packet is an answer on a flow that is known at `hook`.
#[must_use]
pub fn is_answer(tables: &MemoryTables, view: &View, hook: Hook) -> bool {
    for_family!(tables, view, is_reply(view, hook))
}

fn is_reply<A: Address + Ord>(
    tables: &MemoryTables,
    _: &FamilyMaps<A>,
    view: &View,
    hook: Hook,
) -> bool
where
    MemoryTables: Tables<A>,
{
    let entry = key::<A>(view, hook).and_then(|key| tables.flow(&key));
    entry.is_some_and(|entry| entry.load().is_reply())
}

/// Panics unless the request `dialled` has been sent as `inside` to a backend of its service.
pub fn assert_backend_serves(tables: &MemoryTables, dialled: &View, inside: &View) {
    for_family!(tables, dialled, assert_serves(dialled, inside));
}

fn assert_serves<A: Address + Ord>(
    _: &MemoryTables,
    maps: &FamilyMaps<A>,
    dialled: &View,
    inside: &View,
) {
    let (Some(dialled), Some(inside)) =
        (key::<A>(dialled, Hook::Ingress), key::<A>(inside, Hook::Ingress))
    else {
        return;
    };
    let frontend = FrontendKey::new(dialled.dst, dialled.dst_port, dialled.protocol);
    let Some(frontend) = maps.frontends.get(&frontend) else { return };
    let mut backends = maps.backends.values().filter(|it| it.service == frontend.service);
    let serves = backends.any(|it| (it.addr, it.port) == (inside.dst, inside.dst_port));
    assert!(serves, "{dialled:?} went to {inside:?}");
}

/// Whether answers to the sender of this packet could be taken for somebody else's: it is a frontend
/// or a backend itself, at an address that only services have, or claims to be the node, with whose
/// address others are masqueraded.
#[must_use]
pub fn is_sender_ambiguous(tables: &MemoryTables, view: &View) -> bool {
    for_family!(tables, view, is_ambiguous(view))
}

fn is_ambiguous<A: Address + Ord>(
    tables: &MemoryTables,
    maps: &FamilyMaps<A>,
    view: &View,
) -> bool {
    let Some(key) = key::<A>(view, Hook::Ingress) else { return true };
    let frontend = FrontendKey::new(key.src, key.src_port, key.protocol);
    maps.frontends.contains_key(&frontend)
        || maps.backends.values().any(|it| (it.addr, it.port) == (key.src, key.src_port))
        || maps
            .addresses
            .get(&key.src)
            .is_some_and(|at| at & lb_common::abi::address::flags::CLOSED != 0)
        || maps.service_cidrs.iter().any(|cidr| cidr.has(&key.src))
        || tables.interfaces.values().any(|it| it.source() == Some(key.src))
}

fn key<A: Address>(view: &View, hook: Hook) -> Option<FlowKey<A>> {
    let (src_port, dst_port) = view.ports?;
    Some(FlowKey {
        src: A::from_ip(view.src)?,
        dst: A::from_ip(view.dst)?,
        src_port: Port::from_host(src_port),
        dst_port: Port::from_host(dst_port),
        protocol: view.protocol,
        hook: hook as u8,
        pad: [0; 2],
    })
}
