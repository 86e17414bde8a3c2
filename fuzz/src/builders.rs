//! The packets and tables of the datapath tests: the same files.

#[path = "../../tests/src/datapath/fragment.rs"]
mod fragment;
#[path = "../../tests/src/datapath/icmp.rs"]
pub mod icmp;
#[path = "../../tests/src/datapath/packet.rs"]
pub mod packet;
#[path = "../../tests/src/datapath/sctp.rs"]
mod sctp;
#[path = "../../tests/src/datapath/world.rs"]
pub mod world;

pub use packet::Packet;
