//! What the datapath would do with a packet, and why: its own decisions (I1) over the live maps.
//!
//! [`Live`] answers the decisions from the kernel's maps and keeps to itself what they write: nothing in
//! the kernel changes. What they asked and were told becomes [`Step`]s.

mod answers;
pub mod frame;
mod live;
mod lookups;
mod overlay;
pub mod settings;
mod step;

pub use live::{Live, Origin};
pub use settings::Settings;
pub use step::{EntryName, Step};

use std::net::SocketAddr;

use lb_common::abi::counter::Counter;
use lb_common::abi::flow::Hook;
use lb_common::abi::frontend::FrontendKey;
use lb_common::decide::{self, Client, List};
use lb_common::native::Bytes;
use lb_common::net::{Addr4, Addr6, Address, Family, Port};
use lb_common::parse::Link;
use lb_common::tables::Tables;
use lb_common::verdict::Verdict;

use crate::maps::MapError;

/// What would become of a packet at one hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// The verdict.
    pub verdict: Verdict,
    /// The packet as it would go on, or the answer to its sender if it is rejected.
    pub packet: Vec<u8>,
    /// What would be counted, in that order.
    pub counters: Vec<Counter>,
    /// What was asked and done, in that order.
    pub steps: Vec<Step>,
}

/// Lets the decisions of `hook` have a packet of a device framed by `link`. What they write is there for
/// the next packet that `live` is asked about.
///
/// # Errors
///
/// If a map could not be read: then nothing can be said.
pub fn explain(live: &Live, hook: Hook, link: Link, packet: &[u8]) -> Result<Explained, MapError> {
    let mut packet = Bytes(packet.to_vec());
    let verdict = match hook {
        Hook::Ingress => decide::ingress(&mut packet, live, link),
        Hook::Egress => decide::egress(&mut packet, live, link),
    };
    let (steps, counters) = live.take_journal()?;
    Ok(Explained { verdict, packet: packet.0, counters, steps })
}

/// A list's name, and where its backends listen.
pub type Balanced = (&'static str, Vec<SocketAddr>);

/// The list that a new flow with these ends is balanced over; `None` if it dials no frontend.
///
/// # Errors
///
/// If a map could not be read.
pub fn balanced(
    live: &Live,
    ends: (SocketAddr, SocketAddr),
    protocol: u8,
) -> Result<Option<Balanced>, MapError> {
    let balanced = match Family::of(&ends.1.ip()) {
        Family::V4 => balanced_in::<Addr4>(live, ends, protocol),
        Family::V6 => balanced_in::<Addr6>(live, ends, protocol),
    };
    // These look-ups explain, and are not to be explained.
    live.take_journal()?;
    Ok(balanced)
}

fn balanced_in<A: Address>(
    live: &Live,
    (src, dst): (SocketAddr, SocketAddr),
    protocol: u8,
) -> Option<Balanced>
where
    Live: Tables<A>,
{
    let (client, addr) = (A::from_ip(src.ip())?, A::from_ip(dst.ip())?);
    let key = FrontendKey::new(addr, Port::from_host(dst.port()), protocol);
    let frontend = Tables::<A>::frontend(live, &key)?;
    let service = Tables::<A>::service(live, frontend.service)?;
    let list = Client::of(live, client).list(frontend);
    let name = if list == List::Local { "local" } else { "cluster" };
    let backends = live.backends(list.range(&service)).into_iter();
    let backends = backends.filter_map(|id| Tables::<A>::backend(live, id));
    Some((name, backends.map(|it| (it.addr.to_ip(), it.port.to_host()).into()).collect()))
}
