//! Keeps the node's own sockets off the source ports that masqueraded flows get: the sysctl
//! `net.ipv4.ip_local_reserved_ports`, which holds for IPv6 as well.
//!
//! Only those of our ports are added that a socket would get by itself (`ip_local_port_range`) and
//! that nobody else has reserved. What we added is remembered below the pins, one directory a range,
//! before it is written: so it is exactly that which goes again, at a cleanup or with other ports.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, ensure};
use lb_common::abi::settings::DEFAULT_MASQUERADE_PORTS;

use super::pins::{self, Pins};

/// Below the directory of sysctls: settings of the network namespace of who reads them.
const SYSCTLS: &str = "net/ipv4";

/// Source ports for masqueraded flows, `LOW-HIGH`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The lowest.
    pub low: u16,
    /// The highest.
    pub high: u16,
}

impl Default for PortRange {
    fn default() -> Self {
        let (low, high) = DEFAULT_MASQUERADE_PORTS;
        Self { low, high }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.low, self.high)
    }
}

impl FromStr for PortRange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ports =
            text.split_once('-').and_then(|(low, high)| low.parse().ok().zip(high.parse().ok()));
        let (low, high) = ports.ok_or("this is no range of ports; write it as 50000-65535")?;
        if low < 1024 {
            return Err("ports below 1024 are for well-known services; begin at 1024 or above");
        }
        if low > high {
            return Err("the range is empty; the lower port comes first");
        }
        Ok(Self { low, high })
    }
}

/// Reserves `wanted`, and lets go of what an earlier run has reserved beyond that. `sysctls` is
/// `/proc/sys`, or where that can be written.
pub fn reserve(pins: &Pins, sysctls: &Path, wanted: Option<PortRange>) -> anyhow::Result<()> {
    let wanted = wanted.map(|PortRange { low, high }| (low..=high).collect()).unwrap_or_default();
    Reservation::of(pins, sysctls).set(&wanted)?;
    Ok(())
}

/// Lets go of everything that is reserved by us, and tells what it was, as the kernel writes it;
/// empty if nothing was.
pub(super) fn release(pins: &Pins, sysctls: &Path) -> anyhow::Result<String> {
    Ok(format(&Reservation::of(pins, sysctls).set(&Ports::new())?))
}

type Ports = BTreeSet<u16>;

/// The files in which a reservation is.
struct Reservation {
    sysctls: PathBuf,
    /// What we added: directories named `LOW-HIGH` or `PORT`.
    record: PathBuf,
}

impl Reservation {
    fn of(pins: &Pins, sysctls: &Path) -> Self {
        Self { sysctls: sysctls.join(SYSCTLS), record: pins.reserved_ports() }
    }

    /// Makes those of `wanted` ours that can be; tells what was before.
    fn set(&self, wanted: &Ports) -> anyhow::Result<Ports> {
        let known = pins::names(&self.record).context("read which ports are ours")?;
        let ours: Ports = known.iter().filter_map(|name| parse(name)).flatten().collect();
        if wanted.is_empty() && known.is_empty() {
            return Ok(ours);
        }
        let file = self.sysctls.join("ip_local_reserved_ports");
        let before = read_ports(&file)?;
        let others: Ports = before.difference(&ours).copied().collect();
        let local = self.local_ports()?;
        let added: Ports =
            wanted.intersection(&local).filter(|it| !others.contains(it)).copied().collect();
        ensure!(
            added.is_empty()
                || local.iter().any(|port| !added.contains(port) && !others.contains(port)),
            "they are all that sockets of this node may use; give fewer --masquerade-ports, or widen \
             net.ipv4.ip_local_port_range"
        );
        self.remember(&added)?;
        let after: Ports = others.union(&added).copied().collect();
        if after != before {
            let written = fs::write(&file, format(&after) + "\n");
            if let Err(error) = written {
                self.forget(&ours)?;
                return Err(error).with_context(|| format!("write {}", file.display()));
            }
        }
        self.forget(&added)?;
        Ok(ours)
    }

    /// The ports that the kernel gives to sockets which ask for none.
    fn local_ports(&self) -> anyhow::Result<Ports> {
        let file = self.sysctls.join("ip_local_port_range");
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let mut ports = text.split_whitespace().map(str::parse::<u16>);
        match (ports.next(), ports.next()) {
            (Some(Ok(low)), Some(Ok(high))) => Ok((low..=high).collect()),
            _ => anyhow::bail!("{} holds no range: {text:?}", file.display()),
        }
    }

    fn remember(&self, ports: &Ports) -> anyhow::Result<()> {
        for range in ranges(ports) {
            let path = self.record.join(range);
            fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        }
        Ok(())
    }

    /// Removes from the record what is not of `kept`.
    fn forget(&self, kept: &Ports) -> anyhow::Result<()> {
        let kept = ranges(kept);
        for name in pins::names(&self.record)?.iter().filter(|name| !kept.contains(name)) {
            let path = self.record.join(name);
            pins::remove(&path).with_context(|| format!("remove {}", path.display()))?;
        }
        Ok(())
    }
}

fn read_ports(file: &Path) -> anyhow::Result<Ports> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    parse(text.trim()).with_context(|| format!("{} holds no ports: {text:?}", file.display()))
}

/// Reads `80,9000-9010`, as the kernel writes it.
fn parse(text: &str) -> Option<Ports> {
    let mut ports = Ports::new();
    for range in text.split(',').filter(|range| !range.is_empty()) {
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        ports.extend(low.parse().ok()?..=high.parse::<u16>().ok()?);
    }
    Some(ports)
}

fn format(ports: &Ports) -> String {
    ranges(ports).join(",")
}

/// The shortest list of ranges that holds exactly these ports.
fn ranges(ports: &Ports) -> Vec<String> {
    let mut found: Vec<(u16, u16)> = Vec::new();
    for &port in ports {
        match found.last_mut() {
            Some((_, high)) if *high + 1 == port => *high = port,
            _ => found.push((port, port)),
        }
    }
    let text = |(low, high)| if low == high { format!("{low}") } else { format!("{low}-{high}") };
    found.into_iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A node whose sockets use ports 32768-60999, with these reserved.
    struct Node(tempfile::TempDir);

    impl Node {
        fn new(reserved: &str) -> Self {
            let node = Self(tempfile::tempdir().unwrap());
            fs::write(node.0.path().join("ip_local_port_range"), "32768\t60999\n").unwrap();
            node.put(reserved);
            node
        }

        fn put(&self, reserved: &str) {
            fs::write(self.file(), format!("{reserved}\n")).unwrap();
        }

        fn file(&self) -> PathBuf {
            self.0.path().join("ip_local_reserved_ports")
        }

        fn reservation(&self) -> Reservation {
            Reservation { sysctls: self.0.path().into(), record: self.0.path().join("record") }
        }

        fn set(&self, wanted: &str) -> anyhow::Result<String> {
            Ok(format(&self.reservation().set(&parse(wanted).unwrap())?))
        }

        #[track_caller]
        fn check(&self, reserved: &str, ours: &str) {
            assert_eq!(fs::read_to_string(self.file()).unwrap().trim(), reserved);
            let mut record = pins::names(&self.reservation().record).unwrap();
            record.sort();
            assert_eq!(record.join(","), ours);
        }
    }

    #[test]
    fn ranges_of_masquerade_ports_are_read_or_refused() {
        assert_eq!("1024-1024".parse(), Ok(PortRange { low: 1024, high: 1024 }));
        assert_eq!("50000-65535".parse(), Ok(PortRange::default()));
        for junk in ["", "50000", "-", "50000-", "a-b", "1-2", "1023-2000", "5000-4000", "1-65536"]
        {
            assert!(junk.parse::<PortRange>().is_err(), "{junk}");
        }
    }

    #[test]
    fn ports_are_read_as_the_kernel_writes_them_and_written_in_as_few_ranges() {
        for text in ["", "80", "80,443,9000-9010", "0-1,65534-65535"] {
            assert_eq!(format(&parse(text).unwrap()), text);
        }
        assert_eq!(format(&parse("3,1-2,2-4,9").unwrap()), "1-4,9");
        assert_eq!(parse("http"), None);
    }

    #[test]
    fn what_was_there_before_is_there_after() {
        for before in ["", "80,50500", "40000-50010", "50000-65535"] {
            let node = Node::new(before);
            node.set("50000-65535").unwrap();
            node.set("").unwrap();
            node.check(before, "");
        }
    }

    #[test]
    fn only_what_sockets_would_use_and_nobody_has_reserved_is_added() {
        let node = Node::new("80,50500");
        node.set("50000-65535").unwrap();
        node.check("80,50000-60999", "50000-50499,50501-60999");
        assert_eq!(node.set("50000-65535").unwrap(), "50000-50499,50501-60999");
        node.check("80,50000-60999", "50000-50499,50501-60999");
    }

    #[test]
    fn other_ports_take_the_place_of_the_old_ones() {
        let node = Node::new("80");
        node.set("50000-65535").unwrap();
        node.set("60000-65535").unwrap();
        node.check("80,60000-60999", "60000-60999");
        node.set("40000-40010").unwrap();
        node.check("80,40000-40010", "40000-40010");
        node.set("61000-65535").unwrap();
        node.check("80", "");
    }

    #[test]
    fn what_others_change_meanwhile_stays() {
        let node = Node::new("80");
        node.set("50000-50010").unwrap();
        node.put("81,50000-50005");
        node.set("").unwrap();
        node.check("81", "");
    }

    #[test]
    fn a_write_that_did_not_happen_is_not_remembered() {
        let node = Node::new("");
        fs::remove_file(node.file()).unwrap();
        // A list of one port that nobody may write, not even root.
        symlink("/proc/sys/kernel/cap_last_cap", node.file()).unwrap();
        let error = node.set("50000-50010").unwrap_err();
        assert!(error.to_string().starts_with("write "), "{error:#}");
        assert_eq!(pins::names(&node.reservation().record).unwrap(), [""; 0]);
    }

    #[test]
    fn sockets_keep_some_port() {
        let node = Node::new("60999");
        let error = node.set("1024-65535").unwrap_err().to_string();
        assert!(error.contains("--masquerade-ports"), "{error}");
        node.check("60999", "");
    }
}
