//! What the verifier had to look at, per program: a budget, so that growth is noticed.

use aya::programs::SchedClassifier;
use aya::{Ebpf, EbpfLoader};
use lb_common::abi::settings::{MASQUERADE, VIP_ECHO, echo, masquerade};
use lb_tests::datapath::object;

/// Program → instructions the verifier may process at most (the kernel's own limit is 1,000,000).
const BUDGET: [(&str, u32); 4] = [
    ("lb_tc_ingress", 180_000),
    ("lb_tc_egress", 130_000),
    ("lb_l3_ingress", 180_000),
    ("lb_l3_egress", 130_000),
];

/// Every value that each setting can have.
const SETTINGS: [(u32, u32); 4] = [
    (0, echo::ANSWER),
    (masquerade::LOCAL_BACKENDS, echo::REJECT),
    (masquerade::ALL, echo::DROP),
    (masquerade::LOCAL_BACKENDS | masquerade::ALL, echo::REJECT),
];

#[test]
fn every_program_loads_within_its_budget_whatever_the_settings() {
    for (masquerade, vip_echo) in SETTINGS {
        let mut loader = EbpfLoader::new();
        loader.override_global(MASQUERADE, &masquerade, true);
        loader.override_global(VIP_ECHO, &vip_echo, true);
        let mut ebpf = loader.load(object()).expect("the object loads");
        let names: Vec<_> = ebpf.programs().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(names.len(), BUDGET.len(), "{names:?}");
        for (name, budget) in BUDGET {
            check(&mut ebpf, name, budget);
        }
    }
}

#[track_caller]
fn check(ebpf: &mut Ebpf, name: &str, budget: u32) {
    let program: &mut SchedClassifier =
        ebpf.program_mut(name).expect(name).try_into().expect("a classifier");
    program.load().unwrap_or_else(|error| panic!("{name}: {error:#?}"));
    let info = program.info().expect("the kernel knows it");
    let processed = info.verified_instruction_count().expect("kernel 5.16 counts");
    assert!(processed <= budget, "{name}: {processed} of {budget} instructions");
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
