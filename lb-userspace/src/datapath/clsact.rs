//! Filters on a clsact qdisc, for kernels before 6.6.
//!
//! A filter of ours is known by its handle. Found, it gets the new program in place, so that there
//! is no moment without one (I7). The kernel keeps filters by itself; the pins only remember where
//! they are and whether the qdisc is ours.

use std::fs;

use anyhow::Context as _;
use aya::programs::links::Link as _;
use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact,
};
use aya::programs::{ProgramError, SchedClassifier};
use futures::TryStreamExt as _;
use lb_common::abi::flow::Hook;
use netlink_packet_route::tc::TcHandle as QdiscHandle;
use nix::errno::Errno;

use super::attach::Order;
use super::pins::{self, Pins};
use super::{HOOKS, attach_type};

/// `wagg` in ASCII: filters of one priority are told apart by it, so it never meets a foreign one.
const HANDLE: TcHandle = TcHandle::new(MAJOR, MINOR);
const MAJOR: u16 = 0x7761;
const MINOR: u16 = 0x6767;

/// Lower runs first. Neither is one that others choose by habit (1) or get by default (49152 and
/// down).
const fn priority(order: Order) -> u16 {
    match order {
        Order::First => 7,
        Order::Last => 60_007,
    }
}

/// Makes `program` the one of our filter at a hook of an interface.
pub(super) fn attach(
    program: &mut SchedClassifier,
    interface: (u32, &str),
    hook: Hook,
    pins: &Pins,
    order: Order,
) -> anyhow::Result<()> {
    let (ifindex, name) = interface;
    fs::create_dir_all(pins.filters(ifindex)).context("remember where our filters are")?;
    let id = if let Ok(id) = program.attach_to_link(filter(name, hook, order)?) {
        id
    } else {
        ensure_qdisc(interface, pins)?;
        let options =
            NlOptions { priority: priority(order), handle: HANDLE, ..NlOptions::default() };
        program.attach_with_options(name, attach_type(hook), TcAttachOptions::Netlink(options))?
    };
    // Dropping it would remove the filter.
    std::mem::forget(program.take_link(id)?);
    remove_filter(name, hook, order.other())?;
    Ok(())
}

/// Whether our filter is at a hook of an interface.
pub(super) async fn is_attached(ifindex: u32, hook: Hook) -> anyhow::Result<bool> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    let request = handle.traffic_filter(i32::try_from(ifindex)?).get();
    let mut filters = match hook {
        Hook::Ingress => request.ingress().execute(),
        Hook::Egress => request.egress().execute(),
    };
    while let Some(filter) = filters.try_next().await? {
        if filter.header.handle == (QdiscHandle { major: MAJOR, minor: MINOR }) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes our filters from an interface (`name` is none if it is gone), and the qdisc if it is
/// ours and nobody else uses it; tells how many filters there were.
pub(super) async fn detach(ifindex: u32, name: Option<&str>, pins: &Pins) -> anyhow::Result<usize> {
    let mut removed = 0;
    if let Some(name) = name {
        for hook in HOOKS {
            for order in [Order::First, Order::Last] {
                removed += usize::from(remove_filter(name, hook, order)?);
            }
        }
        if pins.qdisc(ifindex).exists() {
            remove_qdisc_if_unused(ifindex).await.context("remove the clsact qdisc")?;
        }
    }
    pins::remove(&pins.qdisc(ifindex))?;
    pins::remove(&pins.filters(ifindex))?;
    Ok(removed)
}

fn filter(interface: &str, hook: Hook, order: Order) -> anyhow::Result<SchedClassifierLink> {
    Ok(SchedClassifierLink::attached(interface, attach_type(hook), priority(order), HANDLE, None)?)
}

fn remove_filter(interface: &str, hook: Hook, order: Order) -> anyhow::Result<bool> {
    match filter(interface, hook, order)?.detach() {
        Ok(()) => Ok(true),
        // No such filter; no qdisc at all.
        Err(ProgramError::NetlinkError(error))
            if is(error.raw_os_error(), Errno::ENOENT)
                || is(error.raw_os_error(), Errno::EINVAL) =>
        {
            Ok(false)
        }
        Err(error) => Err(error).context("remove our filter"),
    }
}

fn ensure_qdisc((ifindex, name): (u32, &str), pins: &Pins) -> anyhow::Result<()> {
    match qdisc_add_clsact(name) {
        Ok(()) => {
            fs::create_dir_all(pins.qdisc(ifindex)).context("remember that the qdisc is ours")
        }
        Err(TcError::NetlinkError(error)) if is(error.raw_os_error(), Errno::EEXIST) => Ok(()),
        Err(error) => Err(error).context("add a clsact qdisc"),
    }
}

async fn remove_qdisc_if_unused(ifindex: u32) -> anyhow::Result<()> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    let index = i32::try_from(ifindex)?;
    let filters = handle.traffic_filter(index);
    for request in [filters.clone().get().ingress(), filters.clone().get().egress()] {
        if request.execute().try_next().await?.is_some() {
            return Ok(());
        }
    }
    let mut request = handle.qdisc().del(index);
    request.message_mut().header.parent = QdiscHandle::CLSACT;
    request.message_mut().header.handle = QdiscHandle { major: u16::MAX, minor: 0 };
    Ok(request.execute().await?)
}

fn is(errno: Option<i32>, expected: Errno) -> bool {
    errno == Some(expected as i32)
}
