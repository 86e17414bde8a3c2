//! The API server of the lab, as kube's own client sees it.
