//! The entry points at TC: one pair for devices with an Ethernet header, one for those without.
//!
//! A packet that is rewritten or not ours goes on to whatever comes next on the hook (I2); one that
//! became a rejection goes back.
#![expect(clippy::needless_pass_by_value, reason = "the classifier macro hands the context over")]

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::helpers::generated::bpf_redirect;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use lb_common::abi::flow::Hook;
use lb_common::decide;
use lb_common::parse::Link;
use lb_common::verdict::Verdict;

use crate::frame::{self, Frame};
use crate::tables::KernelTables;

#[classifier]
fn lb_tc_ingress(ctx: TcContext) -> i32 {
    answer(&ctx, Link::Ethernet, Hook::Ingress)
}

#[classifier]
fn lb_tc_egress(ctx: TcContext) -> i32 {
    answer(&ctx, Link::Ethernet, Hook::Egress)
}

#[classifier]
fn lb_l3_ingress(ctx: TcContext) -> i32 {
    answer(&ctx, Link::Raw, Hook::Ingress)
}

#[classifier]
fn lb_l3_egress(ctx: TcContext) -> i32 {
    answer(&ctx, Link::Raw, Hook::Egress)
}

#[inline(always)]
fn answer(ctx: &TcContext, link: Link, hook: Hook) -> i32 {
    let mut frame = Frame::new(ctx);
    let tables = KernelTables::new(frame::again(ctx));
    let verdict = match hook {
        Hook::Ingress => decide::ingress(&mut frame, &tables, link),
        Hook::Egress => decide::egress(&mut frame, &tables, link),
    };
    #[cfg(feature = "log")]
    crate::log::decision(ctx, link, hook, verdict);
    match verdict {
        Verdict::Pass | Verdict::Rewritten => TC_ACT_UNSPEC,
        Verdict::Reject => send_back(ctx),
        Verdict::Drop(_) => TC_ACT_SHOT,
    }
}

/// Sends the packet out of the interface it came by.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the helper returns a TC action")]
fn send_back(ctx: &TcContext) -> i32 {
    // SAFETY: the helper takes numbers only.
    unsafe { bpf_redirect(frame::interface(ctx), 0) as i32 }
}
