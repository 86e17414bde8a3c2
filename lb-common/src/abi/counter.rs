//! `COUNTERS`: every reason for a drop, and every event worth a number.

/// Defines [`Counter`] with its names and texts in one table.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident = $index:literal, $label:literal;)+) => {
        /// Index into the per-CPU array `COUNTERS`, whose values are `u64`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Counter {
            $($(#[doc = $doc])+ $name = $index,)+
        }

        impl Counter {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The name in logs, metrics and dumps: lower case with underscores.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// What it means, in a sentence.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

counters! {
    /// A new flow was given a backend and its entries.
    NewFlow = 0, "new_flow";
    /// A packet was translated, but its flow could not be kept: the next one is decided again, alike.
    FlowNotKept = 1, "flow_not_kept";
    /// Passed untouched: the packet is shorter than its headers say.
    PassMalformed = 2, "pass_malformed";
    /// Passed untouched: a fragment whose ports are not known.
    PassFragment = 3, "pass_fragment";
    /// Passed untouched: more IPv6 extension headers than are walked.
    PassExtensionHeaders = 4, "pass_extension_headers";
    /// Passed untouched: an answer on a closed flow, which belongs to a direct connection.
    PassClosedFlow = 5, "pass_closed_flow";
    /// Rejected: the service has no endpoint anywhere.
    RejectNoEndpoint = 6, "reject_no_endpoint";
    /// Dropped: the service has endpoints, but none that its traffic policy allows here.
    DropNoLocalEndpoint = 7, "drop_no_local_endpoint";
    /// Dropped: the client is in none of the service's source ranges.
    DropSourceRange = 8, "drop_source_range";
    /// Dropped: a slot names a backend that is not there.
    DropDanglingSlot = 9, "drop_dangling_slot";
    /// Dropped: other live flows hold the client's port towards the backend, and every other port tried.
    DropFlowClash = 10, "drop_flow_clash";
    /// Dropped: the entry for the answers could not be inserted.
    DropFlowTable = 11, "drop_flow_table";
    /// Dropped: the kernel refused to rewrite the packet.
    DropRewrite = 12, "drop_rewrite";
    /// Rejected: the address is a service's, but no service has this port and protocol.
    RejectUnknownPort = 13, "reject_unknown_port";
    /// Dropped: the address is one for ClusterIPs, but no service has it.
    DropUnallocated = 14, "drop_unallocated";
    /// An ICMP error was translated with the packet that it quotes.
    ErrorTranslated = 15, "error_translated";
    /// An echo request to an address that only services have was answered.
    EchoAnswered = 16, "echo_answered";
    /// Dropped: a fragment came before the first one of its packet, to an address of services alone.
    DropEarlyFragment = 17, "drop_early_fragment";
    /// Dropped: no source port is free to masquerade the flow with.
    DropMasqueradePorts = 18, "drop_masquerade_ports";
    /// Dropped: neither the interface nor the node has an address to masquerade the flow with.
    DropMasqueradeAddress = 19, "drop_masquerade_address";
    /// Dropped: a reset of an answer that went by untranslated because an entry of its flow was evicted.
    DropStrayReset = 20, "drop_stray_reset";
    /// A flow that its client had not confirmed gave way to a newer one.
    FlowDisplaced = 21, "flow_displaced";
    /// A masqueraded flow was given an address and a port of this node.
    Masqueraded = 22, "masqueraded";
    /// `waggle trace` was not told of a packet: its ring buffer was full.
    EventLost = 23, "event_lost";
    /// Rejected: an echo request to an address that only services have, as the setting says.
    RejectEcho = 24, "reject_echo";
    /// Dropped: an echo request to an address that only services have, as the setting says.
    DropEcho = 25, "drop_echo";
    /// A socket was given a backend.
    NewSocket = 26, "new_socket";
    /// A socket was given a backend, but who holds it could not be kept.
    SocketNotKept = 27, "socket_not_kept";
    /// Dropped: a datagram whose answers could not be translated, for want of an entry of its socket.
    DropSocketTable = 28, "drop_socket_table";
    /// Rejected: a process wanted to bind a node port of a service.
    RejectBind = 29, "reject_bind";
    /// Passed untouched: of a TCP connection that kube-proxy may have begun, as the setting says.
    PassBegunElsewhere = 30, "pass_begun_elsewhere";
    /// Rejected: the endpoint of the connection has been removed, and the setting ends it then.
    RejectRemovedEndpoint = 31, "reject_removed_endpoint";
}

/// Capacity of `COUNTERS`: room for reasons of later versions of the same layout.
pub const CAPACITY: u32 = 64;

const _: () = assert!(Counter::ALL.len() <= CAPACITY as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_stands_at_its_own_number_and_has_its_own_label() {
        for (index, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(*counter as usize, index);
            assert_eq!(Counter::ALL.iter().filter(|c| c.label() == counter.label()).count(), 1);
        }
    }

    #[test]
    fn every_drop_and_every_counted_pass_is_named_so() {
        for counter in Counter::ALL {
            let help = counter.help();
            assert_eq!(counter.label().starts_with("drop_"), help.starts_with("Dropped"), "{help}");
            assert_eq!(counter.label().starts_with("pass_"), help.starts_with("Passed"), "{help}");
            let rejects = counter.label().starts_with("reject_");
            assert_eq!(rejects, help.starts_with("Rejected"), "{help}");
        }
    }
}
