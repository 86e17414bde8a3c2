//! Rules of kube-proxy's shape, written by `nft`, in a network namespace of their own.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;
use crate::netlink::namespace::in_namespace;

/// Beside kube-proxy's: the kubelet's, a CNI's, and a chain that only looks alike.
const OTHERS: &str = "\
table ip nat {
  chain CNI-MASQ { ip daddr 10.0.0.0/8 return; }
  chain KUBE-KUBELET-CANARY { }
  chain POSTROUTING { type nat hook postrouting priority srcnat; jump CNI-MASQ; }
  chain PREROUTING { type nat hook prerouting priority dstnat; }
}
table ip filter {
  chain KUBE-FIREWALL { ip saddr 127.0.0.0/8 drop; }
  chain INPUT { type filter hook input priority filter; counter jump KUBE-FIREWALL; }
}
table inet mine { chain KUBE-SERVICES { }; }";

/// As iptables over `nf_tables` writes what kube-proxy asks it for.
const IPTABLES: &str = "\
table ip nat {
  chain KUBE-MARK-MASQ { meta mark set meta mark or 0x4000; }
  chain KUBE-SEP-AAAA { ip saddr 10.1.0.2 jump KUBE-MARK-MASQ; tcp dport 80 dnat to 10.1.0.2:8080; }
  chain KUBE-SVC-AAAA { counter jump KUBE-SEP-AAAA; }
  chain KUBE-SERVICES { ip daddr 10.96.0.10 tcp dport 80 counter jump KUBE-SVC-AAAA; }
  chain KUBE-POSTROUTING { meta mark and 0x4000 != 0x4000 return; masquerade; }
  chain PREROUTING { counter jump KUBE-SERVICES comment \"kubernetes service portals\"; }
  chain POSTROUTING { counter jump KUBE-POSTROUTING; }
}
table ip filter {
  chain KUBE-FORWARD { ct state invalid drop; }
  chain INPUT { counter jump KUBE-FORWARD; }
}
table ip mangle { chain KUBE-PROXY-CANARY { }; }";

const NFTABLES: &str = "\
table ip6 kube-proxy {
  chain services { }
  chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
}
table ip kube-proxy { }";

#[track_caller]
fn nft(script: &str) -> String {
    let mut command = Command::new("nft");
    let piped = command.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = piped.spawn().expect("nft");
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{script}");
    String::from_utf8(output.stdout).unwrap()
}

fn remove(leftovers: &Leftovers) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(leftovers.remove()).unwrap();
}

/// Adds `rules` to what is others', and expects them to be found, and removed without a trace.
#[track_caller]
fn check(rules: &'static str, expected: &'static [&'static str]) {
    in_namespace(move || {
        nft(OTHERS);
        // The tables alone are not kube-proxy's: iptables makes them.
        nft("table ip mangle { }");
        let before = nft("list ruleset");
        assert_eq!(Leftovers::find().unwrap(), Leftovers::default());
        nft(rules);
        let found = Leftovers::find().unwrap();
        assert_eq!(found.lines(), expected);
        remove(&found);
        assert_eq!(nft("list ruleset"), before);
        assert!(Leftovers::find().unwrap().is_empty());
    });
}

#[test]
fn rules_of_iptables_go_and_those_of_others_stay() {
    check(
        IPTABLES,
        &[
            "rule ip nat POSTROUTING jump KUBE-POSTROUTING",
            "rule ip nat PREROUTING jump KUBE-SERVICES",
            "rule ip filter INPUT jump KUBE-FORWARD",
            "chain ip filter KUBE-FORWARD",
            "chain ip mangle KUBE-PROXY-CANARY",
            "chain ip nat KUBE-MARK-MASQ",
            "chain ip nat KUBE-POSTROUTING",
            "chain ip nat KUBE-SEP-AAAA",
            "chain ip nat KUBE-SERVICES",
            "chain ip nat KUBE-SVC-AAAA",
        ],
    );
}

#[test]
fn tables_of_the_mode_nftables_go() {
    check(NFTABLES, &["table ip6 kube-proxy", "table ip kube-proxy"]);
}

/// More than fit into one message, each leading to the next.
#[test]
fn thousands_of_chains_go() {
    in_namespace(|| {
        let chain = |n: u32| format!("chain KUBE-SEP-{n} {{ jump KUBE-SEP-{}; }}\n", n + 1);
        let chains: Vec<_> = (0..3000).rev().map(chain).collect();
        let last = "chain KUBE-SEP-3000 { }\n";
        nft(&format!("table ip nat {{ {last} {} }}", chains.concat()));
        let found = Leftovers::find().unwrap();
        assert_eq!(found.chains.len(), 3001);
        remove(&found);
        assert!(Leftovers::find().unwrap().is_empty());
    });
}

#[test]
fn the_interface_of_the_mode_ipvs_goes() {
    in_namespace(|| {
        crate::netlink::namespace::command("ip link add kube-ipvs0 type bridge");
        let found = Leftovers { interface: true, ..Leftovers::default() };
        remove(&found);
        assert!(!crate::netlink::namespace::command("ip -o link").contains("kube-ipvs0"));
    });
}

/// A chain of somebody else that uses one of kube-proxy's must not lose it.
#[test]
fn a_chain_that_others_use_stays_and_is_an_error() {
    in_namespace(|| {
        nft("table ip nat { chain KUBE-MARK-MASQ { }; chain MINE { jump KUBE-MARK-MASQ; }; }");
        let found = Leftovers::find().unwrap();
        assert_eq!(found.lines(), ["chain ip nat KUBE-MARK-MASQ"]);
        assert!(found.jumps.is_empty());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(found.remove()).unwrap_err();
        assert!(nft("list ruleset").contains("jump KUBE-MARK-MASQ"));
    });
}
