//! Decisions in the agent's log: only in the object made by `cargo xtask build --datapath-log`.

use aya_ebpf::programs::TcContext;
use aya_log_ebpf::info;
use lb_common::abi::counter::Counter;
use lb_common::abi::flow::Hook;
use lb_common::net::{Addr4, Addr6};
use lb_common::parse::{self, Link, Network};
use lb_common::verdict::Verdict;

use crate::frame::Frame;

/// Prints what was decided on the packet, which is as the decision left it.
#[inline(always)]
pub(crate) fn decision(ctx: &TcContext, link: Link, hook: Hook, verdict: Verdict) {
    if verdict == Verdict::Pass {
        return;
    }
    match parse::network(&Frame::new(ctx), link) {
        Ok(Network::V4(network)) => v4(ctx, network, hook, verdict),
        Ok(Network::V6(network)) => v6(ctx, network, hook, verdict),
        Err(_) => {}
    }
}

/// A function that prints the addresses of one family: a call of its own, for its stack.
macro_rules! print_family {
    ($name:ident, $address:ty) => {
        #[inline(never)]
        fn $name(ctx: &TcContext, network: u32, hook: Hook, verdict: Verdict) {
            let Ok(headers) = parse::headers::<$address, _>(&Frame::new(ctx), network, hook) else {
                return;
            };
            let key = headers.key;
            info!(
                ctx,
                "{}: {} {:i}:{} -> {:i}:{}",
                hook_name(hook),
                outcome(verdict),
                key.src.octets(),
                key.src_port.to_host(),
                key.dst.octets(),
                key.dst_port.to_host()
            );
        }
    };
}
print_family!(v4, Addr4);
print_family!(v6, Addr6);

#[inline(always)]
fn hook_name(hook: Hook) -> &'static str {
    match hook {
        Hook::Ingress => "ingress",
        Hook::Egress => "egress",
    }
}

#[inline(always)]
fn outcome(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "passed",
        Verdict::Rewritten => "rewritten to",
        Verdict::Reject => "rejected:",
        Verdict::Drop(Counter::DropFlowClash) => "dropped for a clash of flows:",
        Verdict::Drop(Counter::DropFlowTable) => "dropped for want of a flow entry:",
        Verdict::Drop(_) => "dropped:",
    }
}
