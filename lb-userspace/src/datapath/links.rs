//! tcx links (kernel 6.6 and later), pinned so that they outlive the agent.
//!
//! A link found pinned gets the new program in one step (`BPF_LINK_UPDATE`): there is no moment at
//! which an interface has none (I7). A link that is stale, because its interface is gone or its
//! ifindex went to another one, is replaced.

use std::io;
use std::path::Path;

use anyhow::Context as _;
use aya::programs::SchedClassifier;
use aya::programs::links::{FdLink, LinkOrder, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use lb_common::abi::flow::Hook;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;

use super::attach::Order;
use super::{attach_type, pins, query};

/// Whether this kernel has tcx. Asks it, since distributions carry features to older versions.
pub(super) fn supported() -> io::Result<bool> {
    match query::programs(if_nametoindex("lo")?, Hook::Ingress) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes `program` the one behind the link pinned at `pin`, on `interface`.
pub(super) fn attach(
    program: &mut SchedClassifier,
    interface: &str,
    hook: Hook,
    pin: &Path,
    order: Order,
) -> anyhow::Result<()> {
    if pin.exists() {
        match adopt(program, interface, hook, pin) {
            Ok(true) => return Ok(()),
            Ok(false) => tracing::debug!(interface, ?pin, "the link is of another interface"),
            Err(error) => tracing::debug!(interface, ?pin, "the link is stale: {error:#}"),
        }
    }
    create(program, interface, hook, pin, order)
}

/// Whether `interface` runs `program`.
pub(super) fn is_attached(
    program: &SchedClassifier,
    interface: &str,
    hook: Hook,
) -> anyhow::Result<bool> {
    let ours = program.info()?.id();
    Ok(query::programs(if_nametoindex(interface)?, hook)?.contains(&ours))
}

/// Removes the link pinned at `pin`; tells whether there was one.
pub(super) fn detach(pin: &Path) -> io::Result<bool> {
    // Closing the last reference detaches at once, while unpinning it does so some time later.
    let _link = PinnedLink::from_pin(pin);
    pins::remove(pin)
}

/// Updates the pinned link; tells whether `interface` now runs `program`.
fn adopt(
    program: &mut SchedClassifier,
    interface: &str,
    hook: Hook,
    pin: &Path,
) -> anyhow::Result<bool> {
    let link = FdLink::from(PinnedLink::from_pin(pin)?);
    let link = SchedClassifierLink::try_from(link)?;
    let id = program.attach_to_link(link)?;
    // The pin holds the link: ours is only a second handle.
    drop(program.take_link(id)?);
    is_attached(program, interface, hook)
}

/// Attaches first and removes a stale pin after, so that a link that could not be adopted but is
/// alive leaves no gap.
fn create(
    program: &mut SchedClassifier,
    interface: &str,
    hook: Hook,
    pin: &Path,
    order: Order,
) -> anyhow::Result<()> {
    let order = match order {
        Order::First => LinkOrder::first(),
        Order::Last => LinkOrder::last(),
    };
    let options = TcAttachOptions::TcxOrder(order);
    let id = program.attach_with_options(interface, attach_type(hook), options)?;
    let link: FdLink = program.take_link(id)?.try_into()?;
    detach(pin).with_context(|| format!("remove the stale pin {}", pin.display()))?;
    link.pin(pin).with_context(|| format!("pin the link at {}", pin.display()))?;
    Ok(())
}
