//! The entry points at TC: one pair for devices with an Ethernet header, one for those without.
//!
//! A packet that is rewritten or not ours goes on to whatever comes next on the hook (I2).

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use lb_common::decide;
use lb_common::parse::Link;
use lb_common::verdict::Verdict;

use crate::frame::Frame;
use crate::tables::KernelTables;

#[classifier]
fn lb_tc_ingress(ctx: TcContext) -> i32 {
    action(decide::ingress(&mut Frame::new(ctx), &KernelTables, Link::Ethernet))
}

#[classifier]
fn lb_tc_egress(ctx: TcContext) -> i32 {
    action(decide::egress(&mut Frame::new(ctx), &KernelTables, Link::Ethernet))
}

#[classifier]
fn lb_l3_ingress(ctx: TcContext) -> i32 {
    action(decide::ingress(&mut Frame::new(ctx), &KernelTables, Link::Raw))
}

#[classifier]
fn lb_l3_egress(ctx: TcContext) -> i32 {
    action(decide::egress(&mut Frame::new(ctx), &KernelTables, Link::Raw))
}

#[inline(always)]
fn action(verdict: Verdict) -> i32 {
    match verdict {
        Verdict::Pass | Verdict::Rewritten => TC_ACT_UNSPEC,
        Verdict::Drop(_) => TC_ACT_SHOT,
    }
}
