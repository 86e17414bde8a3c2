//! Datapath tests: packet in → verdict, packet, checksums, counters and flow entries out.
//!
//! Each case runs through the real programs (`BPF_PROG_TEST_RUN`) and natively, and the two must
//! agree on everything; what they agree on is compared with what the case expects.

#[cfg(test)]
mod addresses;
#[cfg(test)]
mod affinity;
#[cfg(test)]
mod carried;
#[cfg(test)]
mod clashes;
#[cfg(test)]
mod decisions;
#[cfg(test)]
mod dnat;
#[cfg(test)]
mod floods;
#[cfg(test)]
mod flows;
#[cfg(test)]
mod fragments;
#[cfg(test)]
mod hidden;
#[cfg(test)]
mod icmp;
#[cfg(test)]
mod legs;
#[cfg(test)]
mod masquerade;
#[cfg(test)]
mod packets;
#[cfg(test)]
mod random;
#[cfg(test)]
mod reject;
#[cfg(test)]
mod removed;
#[cfg(test)]
mod sctp;
#[cfg(test)]
mod strays;
#[cfg(test)]
mod takeover;
#[cfg(test)]
mod trace;
