//! Where packets to an address leave the node.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Context as _;
use futures::TryStreamExt as _;
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteType};
use rtnetlink::RouteMessageBuilder;

use crate::cli::runtime;

/// What the kernel does with packets to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// They are for the node itself.
    Here,
    /// They leave by the interface with this ifindex.
    By(u32),
    /// Nobody knows the way.
    None,
}

/// The route to `address`, as the node itself would take it: rules about sources or marks are not
/// looked at.
pub(super) fn to(address: IpAddr) -> anyhow::Result<Route> {
    runtime()?.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().context("open rtnetlink")?;
        let connection = tokio::spawn(connection);
        let mut answers = Box::pin(handle.route().get(question(address)).execute());
        let route = answers.try_next().await;
        connection.abort();
        match route {
            Ok(message) => Ok(message.map_or(Route::None, |it| read(&it))),
            // That is how the kernel says that there is none.
            Err(rtnetlink::Error::NetlinkError(_)) => Ok(Route::None),
            Err(error) => Err(error).with_context(|| format!("ask for the route to {address}")),
        }
    })
}

fn question(address: IpAddr) -> RouteMessage {
    match address {
        IpAddr::V4(ip) => RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(ip, 32).build(),
        IpAddr::V6(ip) => {
            RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(ip, 128).build()
        }
    }
}

fn read(message: &RouteMessage) -> Route {
    if message.header.kind == RouteType::Local {
        return Route::Here;
    }
    let by = message.attributes.iter().find_map(|it| match it {
        RouteAttribute::Oif(ifindex) => Some(*ifindex),
        _ => None,
    });
    by.map_or(Route::None, Route::By)
}
