//! Hops that do not take every packet.

use std::fs;
use std::net::IpAddr;

use super::{Lab, Namespace, ROUTER_V4, ROUTER_V6, SWITCH, UPLINK};

impl Lab {
    /// From now on what `from`, a node or client, sends to `prefix` (an address or a CIDR) passes the
    /// router, which hands it on to `via`, its holder on the network of the nodes, in packets of at
    /// most `mtu` bytes. It drops larger ones and says so; nobody else knows.
    pub fn narrow(&self, from: &Namespace, prefix: &str, via: IpAddr, mtu: u32) {
        let router = if via.is_ipv4() { IpAddr::V4(ROUTER_V4) } else { ROUTER_V6.into() };
        // The router must not tell of the way that spares the hop.
        from.sysctls(&[(&format!("net.ipv6.conf.{UPLINK}.accept_redirects"), "0")]);
        from.ip(&format!("route replace {prefix} via {router}"));
        let next = if prefix == via.to_string() { String::new() } else { format!("via {via}") };
        self.router.ip(&format!("route replace {prefix} {next} dev {SWITCH} mtu lock {mtu}"));
    }

    /// How many packets the router has dropped because they were too large.
    #[must_use]
    pub fn too_large(&self) -> u64 {
        self.router.run(|| {
            let [v4, v6] = ["snmp", "snmp6"].map(|file| {
                let path = format!("/proc/thread-self/net/{file}");
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {path}: {error}"))
            });
            let mut rows = v4.lines().filter(|line| line.starts_with("Ip: "));
            let [names, values] =
                [rows.next(), rows.next()].map(|row| row.expect("two rows of IP"));
            let mut pairs = names.split(' ').zip(values.split(' '));
            let v4 = pairs.find(|(name, _)| *name == "FragFails").expect("a number").1;
            let mut rows = v6.lines().filter_map(|line| line.split_once(' '));
            let v6 = rows.find(|(name, _)| *name == "Ip6FragFails").expect("a number").1;
            [v4, v6].map(|count| count.trim().parse::<u64>().expect("a number")).iter().sum()
        })
    }
}

impl Namespace {
    /// Forgets which ways are narrow.
    pub fn forget_path_mtus(&self) {
        for family in ["-4", "-6"] {
            drop(self.output("ip", &[family, "route", "flush", "cache"]));
        }
    }
}
