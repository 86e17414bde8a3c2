//! Rejections are told once, when they appear or change.

use std::collections::BTreeMap;

use crate::model::{Kind, NamespacedName, Problem, Rejection, Subject};

/// What is wrong now, and what of it nobody has been told yet. All of it is one sort of problem.
#[derive(Clone, Debug)]
pub struct Rejections {
    problem: Problem,
    current: BTreeMap<Subject, Vec<String>>,
    news: Vec<Rejection>,
}

impl Rejections {
    /// Nothing is wrong.
    #[must_use]
    pub fn of(problem: Problem) -> Self {
        Self { problem, current: BTreeMap::new(), news: Vec::new() }
    }

    /// Everything that is wrong with `object` now; nothing clears it.
    pub fn set(&mut self, object: Subject, mut reasons: Vec<String>) {
        reasons.sort();
        reasons.dedup();
        let old = self.current.get(&object).map(Vec::as_slice).unwrap_or_default();
        let new = reasons.iter().filter(|reason| !old.contains(reason));
        let problem = self.problem;
        let news = new.map(|reason| Rejection {
            object: object.clone(),
            file: None,
            problem,
            reason: reason.clone(),
        });
        self.news.extend(news);
        if reasons.is_empty() {
            self.current.remove(&object);
        } else {
            self.current.insert(object, reasons);
        }
    }

    /// The objects of `kind` with which something is wrong now.
    pub fn objects(&self, kind: Kind) -> impl Iterator<Item = &NamespacedName> {
        self.current.keys().filter_map(move |subject| match subject {
            Subject::Object(of, name) if *of == kind => Some(name),
            _ => None,
        })
    }

    /// Everything with which something is wrong now.
    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.current.keys()
    }

    /// What appeared since the last call. What went away again before anybody was told is not news.
    pub fn take_news(&mut self) -> Vec<Rejection> {
        let mut news = std::mem::take(&mut self.news);
        news.retain(|r| self.current.get(&r.object).is_some_and(|all| all.contains(&r.reason)));
        news.sort();
        news.dedup();
        news
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn file() -> Subject {
        Subject::File(PathBuf::from("a.yaml"))
    }

    fn reasons(rejections: &mut Rejections) -> Vec<String> {
        rejections.take_news().into_iter().map(|rejection| rejection.reason).collect()
    }

    #[test]
    fn a_rejection_is_told_once_until_it_changes() {
        let mut rejections = Rejections::of(Problem::InvalidObject);
        rejections.set(file(), vec!["b".into(), "a".into()]);
        assert_eq!(reasons(&mut rejections), ["a", "b"]);
        rejections.set(file(), vec!["a".into(), "b".into()]);
        assert!(reasons(&mut rejections).is_empty());
        rejections.set(file(), vec!["a".into(), "c".into()]);
        assert_eq!(reasons(&mut rejections), ["c"]);
    }

    #[test]
    fn a_rejection_that_comes_back_is_told_again() {
        let mut rejections = Rejections::of(Problem::InvalidObject);
        for _ in 0..2 {
            rejections.set(file(), vec!["a".into()]);
            assert_eq!(reasons(&mut rejections), ["a"]);
            rejections.set(file(), vec![]);
            assert!(reasons(&mut rejections).is_empty());
        }
    }

    #[test]
    fn what_went_away_before_anybody_was_told_is_not_told() {
        let mut rejections = Rejections::of(Problem::InvalidObject);
        rejections.set(file(), vec!["a".into()]);
        rejections.set(file(), vec![]);
        assert!(reasons(&mut rejections).is_empty());
    }
}
