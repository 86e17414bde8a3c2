//! Which names are kube-proxy's: those that `kube-proxy --cleanup` removes, of all versions and modes.
//!
//! The kubelet's are not among them: `KUBE-FIREWALL`, `KUBE-KUBELET-CANARY`, `KUBE-IPTABLES-HINT`,
//! `KUBE-MARK-DROP`. (Source: `pkg/proxy/{iptables,ipvs,nftables}` of Kubernetes 1.13 to 1.34.)

/// The table of the mode `nftables`, in the families `ip` and `ip6`.
pub const TABLE: &str = "kube-proxy";

/// Chains in the table `nat`.
const NAT: [&str; 7] = [
    "KUBE-SERVICES",
    "KUBE-NODEPORTS",
    "KUBE-POSTROUTING",
    "KUBE-MARK-MASQ",
    "KUBE-PROXY-CANARY",
    "KUBE-NODE-PORT",
    "KUBE-LOAD-BALANCER",
];

/// Beginnings of the names of chains of single Services and endpoints, in the table `nat`.
const OF_SERVICES: [&str; 6] =
    ["KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-FW-", "KUBE-XLB-", "KUBE-EXT-"];

/// Chains in the table `filter`.
const FILTER: [&str; 10] = [
    "KUBE-SERVICES",
    "KUBE-EXTERNAL-SERVICES",
    "KUBE-FORWARD",
    "KUBE-NODEPORTS",
    "KUBE-PROXY-FIREWALL",
    "KUBE-PROXY-CANARY",
    "KUBE-NODE-PORT",
    "KUBE-SOURCE-RANGES-FIREWALL",
    "KUBE-IPVS-FILTER",
    "KUBE-IPVS-OUT-FILTER",
];

/// Chains in the table `mangle`.
const MANGLE: [&str; 1] = ["KUBE-PROXY-CANARY"];

/// IP sets, without the `KUBE-` or `KUBE-6-` that they begin with.
const SETS: [&str; 16] = [
    "LOOP-BACK",
    "CLUSTER-IP",
    "EXTERNAL-IP",
    "EXTERNAL-IP-LOCAL",
    "LOAD-BALANCER",
    "LOAD-BALANCER-LOCAL",
    "LOAD-BALANCER-FW",
    "LOAD-BALANCER-SOURCE-IP",
    "LOAD-BALANCER-SOURCE-CIDR",
    "NODE-PORT-TCP",
    "NODE-PORT-LOCAL-TCP",
    "NODE-PORT-UDP",
    "NODE-PORT-LOCAL-UDP",
    "NODE-PORT-SCTP-HASH",
    "NODE-PORT-LOCAL-SCTP-HASH",
    "HEALTH-CHECK-NODE-PORT",
];

/// The longest name that an IP set can have.
const SET_NAME: usize = 31;

/// Its set of the interfaces' addresses, which has one name for both families.
const IPVS_SET: &str = "KUBE-IPVS-IPS";

/// Whether kube-proxy made the chain `name` in the iptables table `table`.
#[must_use]
pub fn is_chain(table: &str, name: &str) -> bool {
    match table {
        "nat" => NAT.contains(&name) || OF_SERVICES.iter().any(|prefix| name.starts_with(prefix)),
        "filter" => FILTER.contains(&name),
        "mangle" => MANGLE.contains(&name),
        _ => false,
    }
}

/// Whether kube-proxy made the IP set `name`.
#[must_use]
pub fn is_set(name: &str) -> bool {
    let cut = |prefix: &str, rest: &str| -> String {
        [prefix, rest].concat().chars().take(SET_NAME).collect()
    };
    let names = SETS.iter().flat_map(|rest| [cut("KUBE-", rest), cut("KUBE-6-", rest)]);
    matches!(name, IPVS_SET | "KUBE-6-IPVS-IPS") || names.into_iter().any(|its| its == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_of_kube_proxy_are_known_by_table_and_name() {
        let check = |table, name, expected| assert_eq!(is_chain(table, name), expected, "{name}");
        check("nat", "KUBE-SERVICES", true);
        check("nat", "KUBE-SVC-ERIFXISQEP7F7OF4", true);
        check("nat", "KUBE-SEP-CEFVP7UUAEHQ5U6I", true);
        check("filter", "KUBE-FORWARD", true);
        check("filter", "KUBE-PROXY-FIREWALL", true);
        check("mangle", "KUBE-PROXY-CANARY", true);
        // The other tables' names mean nothing here.
        check("filter", "KUBE-SVC-ERIFXISQEP7F7OF4", false);
        check("nat", "KUBE-FORWARD", false);
        check("raw", "KUBE-PROXY-CANARY", false);
    }

    #[test]
    fn chains_of_the_kubelet_and_of_others_are_not() {
        for table in ["nat", "filter", "mangle"] {
            for name in [
                "KUBE-FIREWALL",
                "KUBE-KUBELET-CANARY",
                "KUBE-IPTABLES-HINT",
                "KUBE-MARK-DROP",
                "KUBE-ROUTER-FORWARD",
                "KUBE-NWPLCY-X",
                "FLANNEL-POSTRTG",
                "POSTROUTING",
            ] {
                assert!(!is_chain(table, name), "{table} {name}");
            }
        }
    }

    #[test]
    fn sets_of_kube_proxy_are_known_by_name_cut_as_it_cuts_them() {
        for name in [
            "KUBE-CLUSTER-IP",
            "KUBE-6-CLUSTER-IP",
            "KUBE-LOOP-BACK",
            "KUBE-NODE-PORT-LOCAL-SCTP-HASH",
            "KUBE-6-NODE-PORT-LOCAL-SCTP-HAS",
            "KUBE-6-LOAD-BALANCER-SOURCE-CID",
            "KUBE-IPVS-IPS",
        ] {
            assert!(is_set(name), "{name}");
        }
        for name in ["KUBE-SRC-ABC", "KUBE-DST-ABC", "cali40all-ipam-pools", "CLUSTER-IP"] {
            assert!(!is_set(name), "{name}");
        }
    }
}
