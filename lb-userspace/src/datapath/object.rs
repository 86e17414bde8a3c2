//! The kernel object, embedded when the agent is built.

/// The ELF file of `lb-ebpf`: programs, maps and their BTF.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/waggle.o"));
