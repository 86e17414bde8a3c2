//! Where the cluster's objects come from: the API server, or a directory of manifests.
//!
//! Sources convert at once and send [`Event`](crate::store::Event)s; they keep no object of the
//! API and know nothing of plans or maps.

pub mod convert;
pub mod files;
pub mod kube;
pub mod watches;
