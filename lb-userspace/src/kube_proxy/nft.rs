//! kube-proxy's tables, chains and rules in `nf_tables`: `include/uapi/linux/netfilter/nf_tables.h`.
//!
//! iptables over `nf_tables` keeps its chains in the tables `nat`, `filter` and `mangle` of the
//! families `ip` and `ip6`. Of chains that are not kube-proxy's only the rules are touched that jump to its own, and
//! of those only the built-in chains': a foreign chain that uses one of kube-proxy's keeps it alive.

use std::collections::BTreeSet;
use std::{fmt, io};

use netlink_packet_core::{DefaultNla, Nla as _};
use serde::Serialize;

use super::names;
use super::netlink::{Message, Socket, attributes, name, named, value};

const SUBSYSTEM: u8 = 10;

const NEW_TABLE: u16 = kind(0);
const GET_TABLE: u16 = kind(1);
const DELETE_TABLE: u16 = kind(2);
const NEW_CHAIN: u16 = kind(3);
const GET_CHAIN: u16 = kind(4);
const DELETE_CHAIN: u16 = kind(5);
const NEW_RULE: u16 = kind(6);
const GET_RULE: u16 = kind(7);
const DELETE_RULE: u16 = kind(8);

const fn kind(number: u8) -> u16 {
    u16::from_be_bytes([SUBSYSTEM, number])
}

/// `NFTA_TABLE_NAME`, `NFTA_CHAIN_TABLE` and `NFTA_RULE_TABLE`.
const TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
const EXPRESSION_DATA: u16 = 2;
const IMMEDIATE_DATA: u16 = 2;
const DATA_VERDICT: u16 = 2;
const VERDICT_CHAIN: u16 = 2;

/// How much is removed at once: a message to the kernel has a longest length.
const AT_ONCE: usize = 500;

/// The families that kube-proxy and iptables have tables in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
}

impl Family {
    const fn of(number: u8) -> Option<Self> {
        match number {
            2 => Some(Self::Ip),
            10 => Some(Self::Ip6),
            _ => None,
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Ip => 2,
            Self::Ip6 => 10,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
        })
    }
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Table {
    /// Of which packets.
    pub family: Family,
    /// Its name.
    pub name: String,
}

/// A chain of a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Chain {
    /// Where it is.
    pub table: Table,
    /// Its name.
    pub name: String,
}

/// A rule that leads from one chain to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Jump {
    /// Where it is.
    pub from: Chain,
    /// Its number there.
    pub handle: u64,
    /// The name of the chain that it leads to.
    pub to: String,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {} {}", self.family, self.name)
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chain {} {} {}", self.table.family, self.table.name, self.name)
    }
}

impl fmt::Display for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Chain { table, name } = &self.from;
        write!(f, "rule {} {} {name} jump {}", table.family, table.name, self.to)
    }
}

/// What is kube-proxy's.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) tables: Vec<Table>,
    pub(super) chains: Vec<Chain>,
    pub(super) jumps: Vec<Jump>,
}

pub(super) fn find() -> io::Result<Found> {
    let mut socket = Socket::open()?;
    let tables = socket.dump(&get(GET_TABLE))?;
    let tables = tables.iter().filter_map(|it| table(it, NEW_TABLE));
    let tables = tables.filter(|table| table.name == names::TABLE).collect();
    let (mut chains, mut jumps, mut built_in) = (Vec::new(), Vec::new(), Vec::new());
    for message in socket.dump(&get(GET_CHAIN))? {
        let Some(table) = table(&message, NEW_CHAIN) else { continue };
        let chain = Chain { name: name(&message.attributes, CHAIN_NAME), table };
        if names::is_chain(&chain.table.name, &chain.name) {
            chains.push(chain);
        } else if !value(&message.attributes, CHAIN_HOOK).is_empty() {
            built_in.push(chain);
        }
    }
    chains.sort_unstable();
    let its: BTreeSet<_> = chains.iter().cloned().collect();
    for from in built_in {
        let all = rules(&mut socket, &from)?;
        let to = |jump: &Jump| Chain { table: jump.from.table.clone(), name: jump.to.clone() };
        jumps.extend(all.into_iter().filter(|jump| its.contains(&to(jump))));
    }
    Ok(Found { tables, chains, jumps })
}

/// Removes jumps, rules, chains and tables, in this order: at any time, what is left is whole.
pub(super) fn remove(tables: &[Table], chains: &[Chain], jumps: &[Jump]) -> io::Result<()> {
    let socket = &mut Socket::open()?;
    in_batches(socket, jumps, |jump| {
        let handle = DefaultNla::new(RULE_HANDLE, jump.handle.to_be_bytes().to_vec());
        of_chain(DELETE_RULE, RULE_CHAIN, &jump.from, Some(handle))
    })?;
    // They lead to each other, so all of them are emptied before the first one goes.
    in_batches(socket, chains, |chain| of_chain(DELETE_RULE, RULE_CHAIN, chain, None))?;
    in_batches(socket, chains, |chain| of_chain(DELETE_CHAIN, CHAIN_NAME, chain, None))?;
    in_batches(socket, tables, |table| Message {
        kind: DELETE_TABLE,
        family: table.family.number(),
        attributes: vec![named(TABLE, &table.name)],
    })
}

fn in_batches<T>(
    socket: &mut Socket,
    all: &[T],
    message: impl Fn(&T) -> Message,
) -> io::Result<()> {
    all.chunks(AT_ONCE).try_for_each(|some| {
        let messages: Vec<_> = some.iter().map(&message).collect();
        socket.transact(SUBSYSTEM, &messages)
    })
}

/// The rules of a chain that lead to another.
fn rules(socket: &mut Socket, chain: &Chain) -> io::Result<Vec<Jump>> {
    let rules = socket.dump(&of_chain(GET_RULE, RULE_CHAIN, chain, None))?;
    let jumps = rules.iter().filter(|rule| rule.kind == NEW_RULE).filter_map(|rule| {
        // Kernels before 4.17 tell those of all chains.
        let from =
            Chain { table: table(rule, NEW_RULE)?, name: name(&rule.attributes, RULE_CHAIN) };
        let handle = value(&rule.attributes, RULE_HANDLE);
        let handle = u64::from_be_bytes(handle.try_into().ok()?);
        Some(Jump { from, handle, to: target(&value(&rule.attributes, RULE_EXPRESSIONS))? })
    });
    Ok(jumps.filter(|jump| jump.from == *chain).collect())
}

/// The chain that the verdict of a rule names, if it names one.
fn target(expressions: &[u8]) -> Option<String> {
    attributes(expressions).iter().find_map(|expression| {
        let mut inside = vec![0; expression.value_len()];
        expression.emit_value(&mut inside);
        for kind in [EXPRESSION_DATA, IMMEDIATE_DATA, DATA_VERDICT] {
            inside = value(&attributes(&inside), kind);
        }
        Some(name(&attributes(&inside), VERDICT_CHAIN)).filter(|name| !name.is_empty())
    })
}

/// The table that a message is about, if it is of `kind` and of our families.
fn table(message: &Message, kind: u16) -> Option<Table> {
    let family = Family::of(message.family).filter(|_| message.kind == kind)?;
    Some(Table { family, name: name(&message.attributes, TABLE) })
}

/// Asks for everything of a kind, of all families.
fn get(kind: u16) -> Message {
    Message { kind, family: 0, attributes: Vec::new() }
}

/// A message about a chain, whose name is the attribute `named_by`.
fn of_chain(kind: u16, named_by: u16, chain: &Chain, more: Option<DefaultNla>) -> Message {
    let names = [named(TABLE, &chain.table.name), named(named_by, &chain.name)];
    let attributes = names.into_iter().chain(more).collect();
    Message { kind, family: chain.table.family.number(), attributes }
}
