//! What became of packets, in kube-proxy's words.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

/// What became of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It goes to an endpoint.
    Reaches {
        /// The endpoint.
        endpoint: SocketAddr,
        /// The endpoint is to see an address of the node, not the client's.
        masqueraded: bool,
    },
    /// Its sender is told that nobody is there.
    Rejected,
    /// It is gone.
    Dropped,
    /// It goes on as it came.
    Unhandled,
}

/// What became of packets that differ in their source port alone. Displays as tables have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fates(pub BTreeSet<Fate>);

/// Some packets reach each of `endpoints`, `address:port`, and see the client's address.
#[must_use]
pub fn reaches(endpoints: &[&str]) -> Fates {
    all(endpoints, false)
}

/// Some packets reach each of `endpoints`, `address:port`, and see an address of the node.
#[must_use]
pub fn masqueraded(endpoints: &[&str]) -> Fates {
    all(endpoints, true)
}

/// All are rejected.
#[must_use]
pub fn rejected() -> Fates {
    Fates(BTreeSet::from([Fate::Rejected]))
}

/// All are dropped.
#[must_use]
pub fn dropped() -> Fates {
    Fates(BTreeSet::from([Fate::Dropped]))
}

/// None is touched.
#[must_use]
pub fn unhandled() -> Fates {
    Fates(BTreeSet::from([Fate::Unhandled]))
}

fn all(endpoints: &[&str], masqueraded: bool) -> Fates {
    let fate = |endpoint: &&str| {
        let endpoint = endpoint.parse().expect("an endpoint is address:port");
        Fate::Reaches { endpoint, masqueraded }
    };
    Fates(endpoints.iter().map(fate).collect())
}

impl fmt::Display for Fates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fate) in self.0.iter().enumerate() {
            f.write_str(if number == 0 { "" } else { ", " })?;
            match fate {
                Fate::Reaches { endpoint, masqueraded: false } => write!(f, "{endpoint}")?,
                Fate::Reaches { endpoint, masqueraded: true } => write!(f, "{endpoint} masq")?,
                Fate::Rejected => f.write_str("REJECT")?,
                Fate::Dropped => f.write_str("DROP")?,
                Fate::Unhandled => f.write_str("none")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fates_read_as_in_the_tables() {
        let check = |fates: Fates, text: &str| assert_eq!(fates.to_string(), text);
        check(reaches(&["10.180.2.1:80", "10.180.0.1:80"]), "10.180.0.1:80, 10.180.2.1:80");
        check(masqueraded(&["[fd00::1]:80"]), "[fd00::1]:80 masq");
        check(rejected(), "REJECT");
        check(Fates(dropped().0.union(&unhandled().0).copied().collect()), "DROP, none");
    }
}
