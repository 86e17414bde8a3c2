//! What was evicted and comes back, and what does not.

use super::*;

/// The four entries of a masqueraded flow that lives.
fn live() -> [FlowEntry<Addr4>; 4] {
    masqueraded().map(|(key, flow)| (key, Flow { seen: NOW, ..flow }))
}

/// As it comes back: no packet has met it.
fn fresh((key, flow): FlowEntry<Addr4>) -> FlowEntry<Addr4> {
    (key, Flow { packets: 0, bytes: 0, ..flow })
}

/// Whatever is left of a flow stays as it is, and nothing comes back.
#[track_caller]
fn check_stays(memory: Memory) {
    let expected = memory.entries.borrow().clone();
    let (left, tally) = swept(memory);
    assert_eq!((left, tally.healed), (expected, 0));
}

#[test]
fn what_was_evicted_comes_back_from_its_partner() {
    let all = live();
    for evicted in [&[0][..], &[1], &[2], &[3], &[0, 2], &[0, 3], &[1, 2], &[1, 3]] {
        let left: Vec<_> = (0..4).filter(|at| !evicted.contains(at)).map(|at| all[at]).collect();
        let (healed, tally) = swept(table(&left));
        let expected = evicted.iter().map(|at| fresh(all[*at])).chain(left);
        assert_eq!(healed, expected.collect(), "{evicted:?}");
        assert_eq!((tally.healed, tally.removed), (evicted.len() as u64, 0));
    }
}

#[test]
fn however_many_were_evicted_come_back_in_one_walk() {
    let (key, flow) = live()[0];
    let port = |port| (FlowKey { src_port: Port::from_host(port), ..key }, flow);
    let entries: Vec<_> = (1..=1500).map(port).collect();
    let (healed, tally) = swept(table(&entries));
    assert_eq!((healed.len(), tally.healed), (3000, 1500));
}

#[test]
fn a_whole_flow_and_another_flow_in_a_place_stay_as_they_are() {
    check_stays(table(&live()));
    let [request, mut answer, ..] = live();
    answer.1.src = Addr4::from_octets([10, 96, 0, 11]);
    let (left, tally) = swept(table(&[request, answer]));
    assert_eq!(left[&request.0], request.1);
    assert_eq!(left[&answer.0], answer.1);
    // The other flow's request.
    assert_eq!((left.len(), tally.healed), (3, 1));
}

#[test]
fn what_is_on_probation_or_closed_or_writes_nothing_stays_alone() {
    let both = state::CLIENT_FIN | state::SERVER_FIN;
    let open = state::REPLIED | state::CONFIRMED;
    for state in [0, state::REPLIED, open | both, open | state::RESET] {
        let (key, flow) = live()[0];
        check_stays(table(&[(key, Flow { state, ..flow })]));
    }
    let spare = entry(Hook::Egress, (CLIENT, BACKEND), (None, None), flags::LEG);
    check_stays(table(&[(spare.0, Flow { seen: NOW, ..spare.1 })]));
    let (left, tally) = swept(table(&masqueraded()[..1]));
    assert_eq!((left.len(), tally.healed), (0, 0), "it is over");
}

/// What is left when this happens before the `look`th entry is looked at for the sake of a request
/// whose answer is not there.
#[track_caller]
fn check_meanwhile(look: u32, happens: Event, left: &[FlowEntry<Addr4>]) {
    let memory = Memory { meanwhile: Some((look, happens)), ..table(&live()[..1]) };
    let (found, tally) = swept(memory);
    assert_eq!((found, tally.healed), (left.iter().copied().collect(), 0), "at {look}");
}

#[test]
fn nothing_comes_back_of_a_flow_that_ends_meanwhile() {
    let (key, mut closed) = live()[0];
    closed.state |= state::RESET;
    for look in 0..3 {
        check_meanwhile(look, Entries::clear, &[]);
        let close = |entries: &mut Entries| {
            entries.entry(live()[0].0).and_modify(|flow| flow.state |= state::RESET);
        };
        check_meanwhile(look, close, &[(key, closed)]);
    }
}

#[test]
fn the_answer_of_a_flow_that_begins_meanwhile_is_not_touched() {
    let mut other = live()[1];
    other.1.src = Addr4::from_octets([10, 96, 0, 11]);
    let begin = |entries: &mut Entries| {
        let mut other = live()[1];
        other.1.src = Addr4::from_octets([10, 96, 0, 11]);
        *entries = [other].into();
    };
    for look in 0..3 {
        check_meanwhile(look, begin, &[other]);
    }
}
