//! What the verifier had to look at, per program: a budget, so that growth is noticed.

use aya::programs::{Program, ProgramError, ProgramInfo};
use aya::{Ebpf, EbpfLoader};
use lb_common::abi::settings::{
    HOST_NETNS, MASQUERADE, MPTCP, SOCKET_LB, TAKEOVER, TERMINATE_TCP, VIP_ECHO, echo, masquerade,
};
use lb_tests::datapath::object;

/// Program → instructions the verifier may process at most (the kernel's own limit is 1,000,000).
const BUDGET: [(&str, u32); 15] = [
    ("lb_tc_ingress", 180_000),
    ("lb_tc_egress", 140_000),
    ("lb_l3_ingress", 180_000),
    ("lb_l3_egress", 140_000),
    ("lb_connect4", 4_000),
    ("lb_connect6", 10_000),
    ("lb_sendmsg4", 5_000),
    ("lb_sendmsg6", 13_000),
    ("lb_recvmsg4", 100),
    ("lb_recvmsg6", 200),
    ("lb_getpeername4", 200),
    ("lb_getpeername6", 400),
    ("lb_sock_release", 6_000),
    ("lb_bind4", 1_000),
    ("lb_bind6", 6_000),
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
    for ((masquerade, vip_echo), all_sockets) in SETTINGS.into_iter().zip([0_u32, 1, 0, 1]) {
        let mut loader = EbpfLoader::new();
        loader.override_global(SOCKET_LB, &all_sockets, true);
        loader.override_global(MPTCP, &all_sockets, true);
        loader.override_global(TAKEOVER, &all_sockets, true);
        loader.override_global(TERMINATE_TCP, &all_sockets, true);
        loader.override_global(HOST_NETNS, &1_u64, true);
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
    let program = ebpf.program_mut(name).expect(name);
    let info = load(program).unwrap_or_else(|error| panic!("{name}: {error:#?}"));
    let processed = info.verified_instruction_count().expect("kernel 5.16 counts");
    assert!(processed <= budget, "{name}: {processed} of {budget} instructions");
}

fn load(program: &mut Program) -> Result<ProgramInfo, ProgramError> {
    match program {
        Program::SchedClassifier(program) => program.load().and_then(|()| program.info()),
        Program::CgroupSockAddr(program) => program.load().and_then(|()| program.info()),
        Program::CgroupSock(program) => program.load().and_then(|()| program.info()),
        other => panic!("no program of ours is {:?}", other.prog_type()),
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
