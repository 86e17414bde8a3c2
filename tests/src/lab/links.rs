//! Links between namespaces: veth pairs and bridges, made and waited for.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde_json::Value;

use super::namespace::Namespace;
use super::patience::wait_for;

/// The MAC address of the side of a link that pods take for their gateway, so that they can know it
/// beforehand. Link-local use only: each pod has a link of its own.
pub(super) const GATEWAY_MAC: &str = "ee:ee:ee:ee:ee:ee";

/// The carrier of a veth is there at once, but the kernel's link watch may take a second to say so.
const PATIENCE: Duration = Duration::from_secs(10);

/// An interface in a namespace.
pub(super) type End<'a> = (&'a Namespace, &'a str);

/// Makes a veth pair for packets of `mtu` bytes, still down.
pub(super) fn add_veth((here, near): End<'_>, (there, far): End<'_>, mtu: u32) {
    let peer = there.name();
    here.ip(&format!("link add {near} mtu {mtu} type veth peer name {far} mtu {mtu} netns {peer}"));
}

/// Makes a bridge that forwards at once, knows every group by flooding and never changes its MAC
/// address as ports come and go.
pub(super) fn add_bridge(namespace: &Namespace, name: &str, v4: Ipv4Addr, v6: Ipv6Addr) {
    namespace.ip(&format!(
        "link add {name} address {GATEWAY_MAC} type bridge forward_delay 0 mcast_snooping 0
         link set {name} up
         addr add {v4}/24 dev {name}
         addr add {v6}/64 dev {name} nodad"
    ));
}

/// Makes `port` a port of the bridge.
pub(super) fn join_bridge(namespace: &Namespace, port: &str, bridge: &str) {
    namespace.ip(&format!("link set {port} master {bridge}"));
}

/// Brings both ends up and waits until the kernel lets packets through.
pub(super) fn bring_up(one: End<'_>, other: End<'_>) {
    for (namespace, link) in [one, other] {
        namespace.ip(&format!("link set {link} up"));
    }
    for (namespace, link) in [one, other] {
        let what = format!("{link} in {} carries packets", namespace.name());
        wait_for(&what, PATIENCE, || carries_packets(namespace, link));
    }
}

/// Up, with a carrier, and forwarding if it is a port of a bridge; else what it says of itself.
fn carries_packets(namespace: &Namespace, link: &str) -> Result<(), String> {
    let shown = namespace.output("ip", &["-json", "-details", "link", "show", "dev", link]);
    let shown: Value = serde_json::from_str(&shown).expect("ip prints JSON");
    let up = shown[0]["operstate"] == "UP";
    let port = &shown[0]["linkinfo"]["info_slave_data"]["state"];
    if up && (port.is_null() || port == "forwarding") { Ok(()) } else { Err(shown.to_string()) }
}
