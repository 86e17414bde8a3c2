//! Rules of the shape that kube-proxy's nftables mode has (KEP-3866): a verdict map of Services, a
//! chain a Service and a chain an endpoint, masquerading by a mark, and the checks of new
//! connections at every hook.
//!
//! In one point they are kinder than kube-proxy's: only the Service that is dialled picks its
//! endpoint by `numgen random … vmap`; the others go to theirs directly, for 50,000 anonymous maps
//! take minutes to load. No packet meets those chains.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;

use anyhow::Result;
use lb_tests::lab::{Node, Pod, temporary_directory};

use crate::rig::{SERVICE_PORT, endpoint_ip, service_ip};

/// Loads the rules for `services` Services, of which `server` has one, at `port`.
pub(crate) fn load(node: &Node, server: &Pod, port: u16, services: u32) -> Result<()> {
    let rules = rules(&node.pod_cidrs()[0], server.v4, port, services)?;
    let directory = temporary_directory("rules");
    let file = directory.path().join("rules.nft");
    fs::write(&file, rules)?;
    drop(node.ns.output("nft", &["-f", &file.to_string_lossy()]));
    Ok(())
}

fn rules(pods: &str, server: Ipv4Addr, port: u16, services: u32) -> Result<String> {
    let mut text = String::from("table ip kube-proxy {\n");
    text.push_str(FIXED);
    for protocol in ["tcp", "udp"] {
        chains(
            &mut text,
            pods,
            (0, protocol),
            (server, port),
            "numgen random mod 1 vmap { 0 : goto",
        )?;
    }
    for number in 1..services {
        chains(&mut text, pods, (number, "tcp"), (endpoint_ip(number), 8080), "goto")?;
    }
    text.push_str("map service-ips {\ntype ipv4_addr . inet_proto . inet_service : verdict\n");
    text.push_str("elements = {\n");
    for (number, protocol) in [(0, "udp")].into_iter().chain((0..services).map(|n| (n, "tcp"))) {
        let ip = service_ip(number);
        writeln!(text, "{ip} . {protocol} . {SERVICE_PORT} : goto service-{number}-{protocol},")?;
    }
    text.push_str("}\n}\nset cluster-ips {\ntype ipv4_addr\nelements = {\n");
    for number in 0..services {
        writeln!(text, "{},", service_ip(number))?;
    }
    text.push_str("}\n}\n}\n");
    Ok(text)
}

/// The chains of one port of a Service with one endpoint, which `choice` chooses.
fn chains(
    text: &mut String,
    pods: &str,
    (number, protocol): (u32, &str),
    (ip, port): (Ipv4Addr, u16),
    choice: &str,
) -> Result<()> {
    let vip = service_ip(number);
    let end = if choice.contains('{') { " }" } else { "" };
    writeln!(
        text,
        "chain endpoint-{number}-{protocol} {{
ip saddr {ip} jump mark-for-masquerade
meta l4proto {protocol} dnat to {ip}:{port}
}}
chain service-{number}-{protocol} {{
ip daddr {vip} {protocol} dport {SERVICE_PORT} ip saddr != {pods} jump mark-for-masquerade
{choice} endpoint-{number}-{protocol}{end}
}}"
    )?;
    Ok(())
}

/// What does not depend on the Services.
const FIXED: &str = "
map no-endpoint-services {
type ipv4_addr . inet_proto . inet_service : verdict
}
map firewall-ips {
type ipv4_addr . inet_proto . inet_service : verdict
}
map service-nodeports {
type inet_proto . inet_service : verdict
}
set nodeport-ips {
type ipv4_addr
}
chain mark-for-masquerade {
meta mark set meta mark or 0x4000
}
chain masquerading {
meta mark and 0x4000 == 0 return
meta mark set meta mark xor 0x4000
masquerade fully-random
}
chain firewall-check {
ip daddr . meta l4proto . th dport vmap @firewall-ips
}
chain no-endpoints-check {
ip daddr . meta l4proto . th dport vmap @no-endpoint-services
}
chain cluster-ips-check {
ip daddr @cluster-ips reject
}
chain services {
ip daddr . meta l4proto . th dport vmap @service-ips
ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
}
chain filter-prerouting {
type filter hook prerouting priority dstnat - 10
ct state new jump firewall-check
}
chain filter-input {
type filter hook input priority filter
ct state new jump no-endpoints-check
}
chain filter-forward {
type filter hook forward priority filter
ct state new jump no-endpoints-check
ct state new jump cluster-ips-check
}
chain filter-output {
type filter hook output priority filter
ct state new jump no-endpoints-check
ct state new jump cluster-ips-check
}
chain filter-output-before-dnat {
type filter hook output priority -110
ct state new jump firewall-check
}
chain nat-prerouting {
type nat hook prerouting priority dstnat
jump services
}
chain nat-output {
type nat hook output priority -100
jump services
}
chain nat-postrouting {
type nat hook postrouting priority srcnat
jump masquerading
}
";
