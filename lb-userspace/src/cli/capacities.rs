//! Flags for the sizes of maps.

use clap::Args;
use clap::builder::TypedValueParser;
use lb_common::abi::capacity;

use crate::maps::Capacities;

/// Upper limits: the maps that the agent fills begin small and grow when they are needed larger. Those
/// of flows and sockets have their size from the beginning.
#[derive(Debug, Args)]
#[expect(clippy::struct_field_names, reason = "they are named as their flags")]
#[command(next_help_heading = "Map sizes, in entries")]
pub(super) struct CapacityArgs {
    /// Addresses and ports that clients dial, per family
    #[arg(long, value_name = "N", default_value_t = capacity::FRONTENDS, value_parser = entries())]
    max_frontends: u32,
    /// Ports of Services, both families together
    #[arg(long, value_name = "N", default_value_t = capacity::SERVICES, value_parser = entries())]
    max_services: u32,
    /// Places of backends in services, two lists per port of a Service
    #[arg(long, value_name = "N", default_value_t = capacity::SLOTS, value_parser = entries())]
    max_slots: u32,
    /// Backends, per family
    #[arg(long, value_name = "N", default_value_t = capacity::BACKENDS, value_parser = entries())]
    max_backends: u32,
    /// Entries for flows, two to four a flow, per family
    #[arg(long, value_name = "N", default_value_t = capacity::FLOWS, value_parser = entries())]
    max_flows: u32,
    /// Networks of pods and addresses of the node, per family
    #[arg(long, value_name = "N", default_value_t = capacity::CLIENTS, value_parser = entries())]
    max_clients: u32,
    /// loadBalancerSourceRanges of all Services, per family
    #[arg(long, value_name = "N", default_value_t = capacity::SOURCE_RANGES, value_parser = entries())]
    max_source_ranges: u32,
    /// Entries for sockets that hold a backend: one of a TCP socket, two of a connected UDP socket,
    /// two for each address that another dials and one more, per family
    #[arg(long, value_name = "N", default_value_t = capacity::SOCKETS, value_parser = entries())]
    max_sockets: u32,
}

impl CapacityArgs {
    pub(super) fn capacities(&self) -> Capacities {
        Capacities {
            frontends: self.max_frontends,
            services: self.max_services,
            slots: self.max_slots,
            backends: self.max_backends,
            flows: self.max_flows,
            clients: self.max_clients,
            source_ranges: self.max_source_ranges,
            sockets: self.max_sockets,
        }
    }
}

/// Id 0 is never used, so one entry would be none; the upper end is beyond any cluster.
fn entries() -> impl TypedValueParser<Value = u32> {
    clap::value_parser!(u32).range(2..=1 << 24)
}
