//! One packet at a time through the datapath, natively and in the kernel.

use std::cell::{Cell, RefCell};

use lb_common::abi::flow::{Flow, Hook, flags};
use lb_common::decide;
use lb_common::native::{Bytes, MemoryTables};
use lb_common::parse::Link;
use lb_common::tables::Tables;
use lb_tests::datapath::{
    Kernel, TC_ACT_REDIRECT, TC_ACT_SHOT, TC_ACT_UNSPEC, action, now, run_as_explained,
};
use lb_tests::truth::{Fate, destination};
use lb_userspace::explain::Settings;

/// Something that packets go through. Each is treated as if none had come before, except for
/// what is remembered of clients.
pub(crate) trait Execution {
    fn send(&mut self, packet: &[u8]) -> Fate;
}

impl Execution for MemoryTables {
    fn send(&mut self, packet: &[u8]) -> Fate {
        self.now.set(now());
        let mut bytes = Bytes(packet.to_vec());
        let verdict = decide::ingress(&mut bytes, self, Link::Ethernet);
        let (v4, v6) = (self.v4.flows(), self.v6.flows());
        for (key, _) in &v4 {
            self.remove_flow(key);
        }
        for (key, _) in &v6 {
            self.remove_flow(key);
        }
        fate(action(verdict), &bytes.0, &flags_of(&v4, &v6))
    }
}

impl Execution for &RefCell<Kernel> {
    fn send(&mut self, packet: &[u8]) -> Fate {
        let mut kernel = self.borrow_mut();
        let answer = kernel.run(Hook::Ingress, Link::Ethernet, packet);
        let (v4, v6) = (kernel.flows_v4(), kernel.flows_v6());
        kernel.forget_flows();
        fate(answer.action, &answer.packet, &flags_of(&v4, &v6))
    }
}

/// The kernel, asked for an explanation of each packet first.
pub(crate) struct Explained<'a> {
    pub(crate) kernel: &'a RefCell<Kernel>,
    pub(crate) settings: Settings,
    /// How many packets went through.
    pub(crate) count: &'a Cell<usize>,
}

impl Execution for Explained<'_> {
    fn send(&mut self, packet: &[u8]) -> Fate {
        let mut kernel = self.kernel.borrow_mut();
        let mut run = |hook, packet: &[u8]| {
            self.count.set(self.count.get() + 1);
            run_as_explained(&mut kernel, self.settings, (hook, Link::Ethernet), packet)
        };
        let answer = run(Hook::Ingress, packet);
        if answer.action == TC_ACT_UNSPEC {
            run(Hook::Egress, &answer.packet);
        }
        let (v4, v6) = (kernel.flows_v4(), kernel.flows_v6());
        kernel.forget_flows();
        fate(answer.action, &answer.packet, &flags_of(&v4, &v6))
    }
}

fn flags_of<K, L, A, B>(v4: &[(K, Flow<A>)], v6: &[(L, Flow<B>)]) -> Vec<u16> {
    let v6 = v6.iter().map(|(_, flow)| flow.flags);
    v4.iter().map(|(_, flow)| flow.flags).chain(v6).collect()
}

/// A packet without a flow was left alone; one with a flow can still look as it came, if it dials an
/// endpoint by an address of its Service.
fn fate(action: i32, packet: &[u8], flows: &[u16]) -> Fate {
    let masqueraded = flows.iter().any(|it| it & flags::MASQUERADE != 0);
    match action {
        TC_ACT_SHOT => Fate::Dropped,
        TC_ACT_REDIRECT => Fate::Rejected,
        _ if flows.is_empty() => Fate::Unhandled,
        _ => Fate::Reaches { endpoint: destination(packet), masqueraded },
    }
}
