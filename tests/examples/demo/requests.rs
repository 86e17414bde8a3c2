//! Requests over new connections, who answered them, and whether that is as it should be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use comfy_table::{Table, presets};
use lb_tests::lab::Namespace;
use lb_tests::traffic::http_get;

/// How often each address is asked, so that answers are percents.
pub(crate) const TIMES: u32 = 100;
/// The percents of one pod of three, chosen at random: less or more happens once in 30 000 times.
const FAIR: RangeInclusive<u32> = 15..=55;
/// How long one step of a request may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Who asks what.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    /// `ClusterIP` or `NodePort`, and the family.
    pub(crate) kind: &'static str,
    /// Who asks, for people.
    pub(crate) client: &'static str,
    /// Who asks.
    pub(crate) from: &'a Namespace,
    /// What is dialled.
    pub(crate) dst: SocketAddr,
}

/// What came of [`TIMES`] requests.
#[derive(Debug)]
pub(crate) struct Round {
    kind: &'static str,
    client: &'static str,
    dst: SocketAddr,
    /// Answers by the name of who gave them.
    answers: BTreeMap<String, u32>,
    /// The other end, as the client's sockets say.
    peers: BTreeSet<SocketAddr>,
    /// What went wrong last.
    failure: Option<String>,
}

impl Round {
    /// Asks, each time over a new connection.
    pub(crate) fn new(&Target { kind, client, from, dst }: &Target<'_>) -> Self {
        let (answers, peers) = (BTreeMap::new(), BTreeSet::new());
        let mut round = Self { kind, client, dst, answers, peers, failure: None };
        for _ in 0..TIMES {
            match http_get(from, dst, None, PATIENCE) {
                Ok(answer) => {
                    *round.answers.entry(answer.name).or_default() += 1;
                    round.peers.insert(answer.peer);
                }
                Err(error) => {
                    round.failure = Some(error.to_string());
                    break;
                }
            }
        }
        round
    }

    /// What is wrong with it, if `pods` pods share the requests.
    pub(crate) fn fault(&self, pods: usize) -> Option<String> {
        let (kind, dst, answered) = (self.kind, self.dst, self.answered());
        if let Some(failure) = &self.failure {
            return Some(format!(
                "{kind} {dst} left request {} unanswered: {failure}",
                answered + 1
            ));
        }
        if self.peers.iter().any(|peer| *peer != dst) {
            return Some(format!("{kind} {dst} shows another peer: {}", self.peers()));
        }
        let is_fair = |share: &u32| pods == 1 || FAIR.contains(share);
        if self.answers.len() != pods || !self.answers.values().all(is_fair) {
            let shares = self.shares();
            return Some(format!("{kind} {dst} is not shared fairly by {pods} pods: {shares}"));
        }
        None
    }

    /// `web1 30 %  web2 36 %  web3 34 %`.
    pub(crate) fn shares(&self) -> String {
        let shares = self.answers.iter().map(|(name, count)| format!("{name} {count:2} %"));
        shares.collect::<Vec<_>>().join("  ")
    }

    fn answered(&self) -> u32 {
        self.answers.values().sum()
    }

    fn peers(&self) -> String {
        self.peers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    fn cells(&self) -> [String; 6] {
        let is_as_dialled = self.peers.iter().eq([&self.dst]);
        [
            self.kind.to_owned(),
            self.client.to_owned(),
            self.dst.to_string(),
            format!("{}/{TIMES}", self.answered()),
            self.shares(),
            if is_as_dialled { "as dialled".to_owned() } else { self.peers() },
        ]
    }
}

/// One line a round.
pub(crate) fn table(rounds: &[Round]) -> String {
    let header = ["REQUEST", "FROM", "DIALLED", "ANSWERED", "WHO ANSWERED", "SOCKET PEER"];
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header).add_rows(rounds.iter().map(Round::cells));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}
