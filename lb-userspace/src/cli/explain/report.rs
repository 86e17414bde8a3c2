//! The answer of `waggle explain`, for people and for programs.

use std::fmt;
use std::net::SocketAddr;

use lb_common::verdict::Verdict;
use serde::Serialize;

use crate::explain::{Explained, Step, frame};

/// What becomes of a packet, hook by hook.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// What limits the answer.
    pub(super) notes: Vec<String>,
    /// The backends that the flow could be given, were its source port another.
    pub(super) candidates: Vec<SocketAddr>,
    pub(super) hops: Vec<Hop>,
    /// Where the packet goes in the end, if it is no hook.
    pub(super) end: Option<String>,
}

/// What becomes of it at one hook.
#[derive(Debug, Serialize)]
pub(super) struct Hop {
    /// `enters` or `leaves`.
    hook: &'static str,
    interface: String,
    protocol: String,
    src: SocketAddr,
    dst: SocketAddr,
    steps: Vec<Step>,
    /// `pass`, `rewritten`, `reject` or `drop`.
    verdict: &'static str,
    /// The reason of a reject or a drop.
    reason: Option<&'static str>,
    /// Source and destination as the packet goes on.
    becomes: Option<(SocketAddr, SocketAddr)>,
}

impl Hop {
    pub(super) fn new(
        (hook, interface): (&'static str, String),
        (src, dst): (SocketAddr, SocketAddr),
        protocol: String,
        explained: Explained,
    ) -> Self {
        let (verdict, is_refused) = match explained.verdict {
            Verdict::Pass => ("pass", false),
            Verdict::Rewritten => ("rewritten", false),
            Verdict::Reject => ("reject", true),
            Verdict::Drop(_) => ("drop", true),
        };
        let reason = explained.counters.last().filter(|_| is_refused).map(|it| it.help());
        let becomes = if is_refused { None } else { frame::ends(&explained.packet) };
        let steps = explained.steps;
        Self { hook, interface, protocol, src, dst, steps, verdict, reason, becomes }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hops.iter().try_for_each(|hop| write!(f, "{hop}"))?;
        if let Some(end) = &self.end {
            writeln!(f, "{end}")?;
        }
        if !self.candidates.is_empty() {
            let candidates: Vec<_> = self.candidates.iter().map(ToString::to_string).collect();
            writeln!(f, "backends of the list: {}", candidates.join(", "))?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hook, interface, protocol, src, dst, .. } = self;
        writeln!(f, "{protocol} {src} -> {dst} {hook} by {interface}")?;
        for step in &self.steps {
            writeln!(f, "  {step}")?;
        }
        match (self.verdict, self.reason, self.becomes) {
            ("rewritten", _, Some((src, dst))) => writeln!(f, "  => becomes {src} -> {dst}"),
            (_, Some(reason), _) => writeln!(f, "  => {reason}"),
            _ => writeln!(f, "  => goes on as it is"),
        }
    }
}
