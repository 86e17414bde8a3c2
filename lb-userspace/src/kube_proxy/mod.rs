//! What kube-proxy leaves on a node, in whatever mode it ran: found, named, and removed on demand.
//!
//! It works through netlink alone: an image without any program has no `iptables`. That covers
//! kube-proxy's nftables tables and iptables over `nf_tables`, which all distributions of today use. What
//! it cannot look into, the tables of iptables-legacy and of IPVS, it only tells.
//!
//! [`daemon_set`] alone asks the cluster.
//!
//! Nothing else is touched. What `kube-proxy --cleanup` keeps, the kubelet's chains, stays as well.

pub mod daemon_set;
pub mod names;
mod netlink;
mod nft;
mod sets;

use std::fs;

use anyhow::Context as _;
use nix::net::if_::if_nametoindex;
use serde::Serialize;

pub use nft::{Chain, Jump, Table};

/// The dummy interface that holds the addresses of Services in the mode `ipvs`.
pub const IPVS_INTERFACE: &str = "kube-ipvs0";

/// What of kube-proxy is in this network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Leftovers {
    /// Its tables, in the mode `nftables`.
    pub tables: Vec<Table>,
    /// Its chains in the tables of iptables over `nf_tables`.
    pub chains: Vec<Chain>,
    /// The rules of built-in chains that lead there.
    pub jumps: Vec<Jump>,
    /// Its IP sets, in the mode `ipvs`.
    pub sets: Vec<String>,
    /// Whether its interface is there, in the mode `ipvs`.
    pub interface: bool,
}

impl Leftovers {
    /// Looks for them.
    pub fn find() -> anyhow::Result<Self> {
        let nft::Found { tables, chains, jumps } =
            nft::find().context("read the rules of nf_tables (this needs CAP_NET_ADMIN)")?;
        // A kernel without IP sets has none.
        let sets = sets::find().unwrap_or_default();
        let interface = if_nametoindex(IPVS_INTERFACE).is_ok();
        Ok(Self { tables, chains, jumps, sets, interface })
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Removes what was found: first what leads to it, so that no packet meets half of it.
    pub async fn remove(&self) -> anyhow::Result<()> {
        nft::remove(&self.tables, &self.chains, &self.jumps).context(
            "remove kube-proxy's rules; stop it if it still runs, and remove rules of others \
                 that jump to its chains",
        )?;
        for set in &self.sets {
            sets::destroy(set).with_context(|| format!("destroy the IP set {set}"))?;
        }
        if self.interface {
            remove_interface().await.context("remove the interface kube-ipvs0")?;
        }
        Ok(())
    }

    /// A line for each thing.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let jumps = self.jumps.iter().map(ToString::to_string);
        let chains = self.chains.iter().map(ToString::to_string);
        let tables = self.tables.iter().map(ToString::to_string);
        let sets = self.sets.iter().map(|set| format!("IP set {set}"));
        let interface = self.interface.then(|| format!("interface {IPVS_INTERFACE}"));
        jumps.chain(chains).chain(tables).chain(sets).chain(interface).collect()
    }
}

async fn remove_interface() -> anyhow::Result<()> {
    let (connection, handle, _) = rtnetlink::new_connection().context("open rtnetlink")?;
    let connection = tokio::spawn(connection);
    let interface = if_nametoindex(IPVS_INTERFACE)?;
    let removed = handle.link().del(interface).execute().await;
    connection.abort();
    Ok(removed?)
}

/// Where the kernel names the tables of iptables-legacy, a line each.
const LEGACY: [&str; 2] = ["/proc/self/net/ip_tables_names", "/proc/self/net/ip6_tables_names"];

/// Whether iptables-legacy translates addresses here, maybe for kube-proxy. What it does cannot be seen
/// without its own program.
#[must_use]
pub fn has_legacy_rules() -> bool {
    let text = LEGACY.map(|path| fs::read_to_string(path).unwrap_or_default());
    text.iter().any(|names| names.lines().any(|name| name == "nat"))
}

/// Whether kube-proxy may have translated connections that are still there.
#[must_use]
pub fn may_have_connections() -> bool {
    match Leftovers::find() {
        Ok(found) => !found.is_empty(),
        Err(error) => {
            tracing::debug!("nobody knows whether kube-proxy was here: {error:#}");
            false
        }
    }
}

#[cfg(test)]
mod tests;
