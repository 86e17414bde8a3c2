//! The tables of kube-proxy's packet tests (kube-proxy-behaviour §10), row by row: Kubernetes
//! objects in, what becomes of packets out, natively and in the kernel.
//!
//! A test is a section. It goes through all its rows before it says which are not met. What came of
//! every row is written to `target/truth-table.md`, and shown with `--nocapture`. Where kube-proxy's
//! nftables and iptables modes differ, nftables' result is expected.

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod section;
#[cfg(test)]
mod table;

#[cfg(test)]
mod basics;
#[cfg(test)]
mod counts;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod node_ports;
#[cfg(test)]
mod policies;
#[cfg(test)]
mod source_ranges;
#[cfg(test)]
mod terminating;
