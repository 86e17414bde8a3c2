//! What the verifier had to look at, per program: a budget, so that growth is noticed.

use aya::Ebpf;
use aya::programs::SchedClassifier;
use lb_tests::datapath::object;

/// Program → instructions the verifier may process at most (the kernel's own limit is 1,000,000).
const BUDGET: [(&str, u32); 4] = [
    ("lb_tc_ingress", 100_000),
    ("lb_tc_egress", 12_000),
    ("lb_l3_ingress", 100_000),
    ("lb_l3_egress", 12_000),
];

#[test]
fn every_program_loads_within_its_budget() {
    let mut ebpf = Ebpf::load(object()).expect("the object loads");
    let names: Vec<_> = ebpf.programs().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names.len(), BUDGET.len(), "{names:?}");
    for (name, budget) in BUDGET {
        let program: &mut SchedClassifier =
            ebpf.program_mut(name).expect(name).try_into().expect("a classifier");
        program.load().unwrap_or_else(|error| panic!("{name}: {error:#?}"));
        let info = program.info().expect("the kernel knows it");
        let processed = info.verified_instruction_count().expect("kernel 5.16 counts");
        assert!(processed <= budget, "{name}: {processed} of {budget} instructions");
    }
}

#[test]
fn every_map_has_a_name_that_the_kernel_keeps_whole() {
    for name in lb_common::abi::map::ALL {
        assert!(name.len() <= 15, "{name}");
    }
    let ebpf = Ebpf::load(object()).expect("the object loads");
    for name in lb_common::abi::map::ALL {
        assert!(ebpf.map(name).is_some(), "{name} is not in the object");
    }
}
