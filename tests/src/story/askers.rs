//! Clients that ask all the time, and what they hear while something is done to the cluster.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::Row;
use super::world::PATIENCE;
use crate::lab::{Namespace, wait_for};
use crate::traffic::{Answer, Connection};

/// How many requests in a row tell who answers: one of two pods is missed in them once in 500 000
/// times, and then one waits a little longer.
const ENOUGH: usize = 20;

/// Somebody who asks again as soon as an answer has come.
#[derive(Debug)]
pub(super) struct Asker<'a> {
    /// Who asks, for people.
    pub(super) who: String,
    /// What is asked, for people.
    pub(super) asks: String,
    /// Where it lives.
    pub(super) from: &'a Namespace,
    /// What is dialled.
    pub(super) dst: SocketAddr,
    /// The path, or the whole address.
    pub(super) path: String,
    /// One connection for all requests, instead of one for each.
    pub(super) is_kept: bool,
}

/// What everybody has heard so far.
#[derive(Debug)]
pub(super) struct Asking<'a> {
    askers: &'a [Asker<'a>],
    heard: Vec<Mutex<Vec<Result<String, String>>>>,
    is_over: AtomicBool,
}

/// Does `work` while all of them ask. A row for each: how many requests, who answered, and a fault
/// if one failed.
pub(super) fn while_asking(askers: &[Asker<'_>], work: impl FnOnce(&Asking<'_>)) -> Vec<Row> {
    let heard = askers.iter().map(|_| Mutex::default()).collect();
    let asking = Asking { askers, heard, is_over: AtomicBool::new(false) };
    thread::scope(|scope| {
        for number in 0..askers.len() {
            scope.spawn({
                let asking = &asking;
                move || asking.ask(number)
            });
        }
        // Also when `work` panics: the scope waits for all of them.
        let _over = Over(&asking.is_over);
        work(&asking);
    });
    (0..askers.len()).map(|number| asking.row(number)).collect()
}

impl Asking<'_> {
    /// Waits until everybody who dials anew hears just these for a while.
    #[track_caller]
    pub(super) fn settle(&self, expected: &[&str]) {
        wait_for(&format!("just {expected:?} answer"), PATIENCE, || {
            let marks: Vec<_> = (0..self.askers.len()).map(|number| self.count(number)).collect();
            for (number, mark) in marks.into_iter().enumerate() {
                let names = self.names_of_next(number, mark);
                if !self.askers[number].is_kept && !names.keys().eq(expected) {
                    return Err(format!("{} hears {names:?}", self.askers[number].who));
                }
            }
            Ok(())
        });
    }

    fn names_of_next(&self, number: usize, mark: usize) -> BTreeMap<String, u32> {
        wait_for("somebody who asks gets answers", PATIENCE, || {
            let heard = self.heard[number].lock().unwrap_or_else(PoisonError::into_inner);
            let new = heard.get(mark..mark + ENOUGH).ok_or("too few")?;
            Ok::<_, &str>(names(new))
        })
    }

    fn count(&self, number: usize) -> usize {
        self.heard[number].lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn ask(&self, number: usize) {
        let asker = &self.askers[number];
        let mut kept = None;
        while !self.is_over.load(Ordering::Relaxed) {
            let answer = asker.ask(&mut kept).map_err(|error| error.to_string());
            let name = answer.and_then(|answer| match answer.status {
                200 => Ok(answer.name),
                status => Err(format!("status {status}")),
            });
            self.heard[number].lock().unwrap_or_else(PoisonError::into_inner).push(name);
        }
    }

    fn row(&self, number: usize) -> Row {
        let Asker { who, asks, dst, .. } = &self.askers[number];
        let heard = self.heard[number].lock().unwrap_or_else(PoisonError::into_inner);
        let failures: Vec<_> = heard.iter().filter_map(|it| it.as_ref().err()).collect();
        let names = names(&heard);
        let names: Vec<_> = names.iter().map(|(name, count)| format!("{name} {count}")).collect();
        Row {
            who: who.clone(),
            asks: asks.clone(),
            reaches: dst.ip().to_string(),
            answer: format!("{} of {} failed", failures.len(), heard.len()),
            detail: names.join(", "),
            fault: failures.first().map(|failure| {
                format!("{who}: {} of {} requests failed: {failure}", failures.len(), heard.len())
            }),
        }
    }
}

impl Asker<'_> {
    fn ask(&self, kept: &mut Option<Connection>) -> io::Result<Answer> {
        if !self.is_kept {
            let mut connection = Connection::open(self.from, self.dst, None, PATIENCE)?;
            return connection.get_with(&self.path, "Connection: close\r\n");
        }
        let connection = match kept.take() {
            Some(connection) => connection,
            None => Connection::open(self.from, self.dst, None, PATIENCE)?,
        };
        kept.insert(connection).get(&self.path)
    }
}

fn names(heard: &[Result<String, String>]) -> BTreeMap<String, u32> {
    let mut names = BTreeMap::new();
    for name in heard.iter().flatten() {
        *names.entry(name.clone()).or_default() += 1;
    }
    names
}

/// Ends the asking when dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
