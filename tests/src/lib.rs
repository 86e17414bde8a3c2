//! The lab: everything the tests and the demo need to build a small world and send real traffic
//! through it.
//!
//! - [`lab`]: nodes, pods and clients as network namespaces, and the real agent as a process.
//! - [`traffic`]: servers and clients with real sockets in those namespaces.
//! - [`objects`]: Kubernetes objects, built in a line and written as manifests.
//! - [`apiserver`]: an API server that serves those objects, and misbehaves when asked to.
//! - [`agent`]: the agent's control plane over maps of any kind.
//! - [`oracle`]: what has to become of a packet, by a model that shares nothing with our code.
//! - [`datapath`]: packets through the kernel's programs and through their native execution.
//! - [`truth`]: the same packets, with the agent's control plane before them: objects in, fates out.
//! - [`story`]: two nodes and what people run on them, told step by step.
//!
//! The lab never skips and never returns an error for a world it could not build: it panics with a
//! sentence that says what it was doing. It takes down what it built, whatever happens.
#![forbid(unsafe_code)]
#![expect(
    clippy::missing_panics_doc,
    reason = "the whole lab panics, with a sentence, when it cannot do what it was asked to"
)]

pub mod agent;
pub mod apiserver;
pub mod datapath;
pub mod lab;
pub mod objects;
pub mod oracle;
pub mod story;
pub mod traffic;
pub mod truth;
