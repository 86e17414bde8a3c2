//! The addresses of §10, and objects that have them.

use lb_tests::objects::{Protocol, Service, Slice, node, service, service_cidr, slice};
use lb_tests::truth::NODE_NAME;
use lb_userspace::plan::{Detector, Settings};
use serde_json::Value;

/// A pod that asks.
pub(crate) const P: &str = "10.0.0.2";
pub(crate) const P6: &str = "fd00:10::2";
/// This node, its primary addresses.
pub(crate) const N: &str = "192.168.0.2";
pub(crate) const N6: &str = "2001:db8::1";
/// This node, its second addresses.
pub(crate) const N2: &str = "192.168.1.2";
pub(crate) const N2_6: &str = "2001:db8:1::2";
/// A client outside, and one outside of the source ranges too.
pub(crate) const X: &str = "203.0.113.2";
pub(crate) const X6: &str = "2600:5200::1";
pub(crate) const XB: &str = "203.0.113.130";

pub(crate) const ADDRESSES: [&str; 4] = [N, N6, N2, N2_6];

pub(crate) const LB1: &str = "1.2.3.4";
pub(crate) const LB2: &str = "5.6.7.8";
pub(crate) const LB3: &str = "9.10.11.12";
pub(crate) const LB6: &str = "2001:db8:2::10";
pub(crate) const EXTERNAL: &str = "192.168.99.11";

/// The addresses of an endpoint elsewhere and of one on this node, and where they serve HTTP.
pub(crate) const REMOTE: &str = "10.180.0.1";
pub(crate) const LOCAL: &str = "10.180.2.1";
pub(crate) const R: &str = "10.180.0.1:80";
pub(crate) const L: &str = "10.180.2.1:80";

/// `Service` `default/NAME` with the ClusterIP `ip` and the port `http` 80.
pub(crate) fn http(name: &str, ip: &str) -> Service {
    service(&format!("default/{name}")).cluster_ip(ip).port("http", 80, Protocol::Tcp)
}

/// An EndpointSlice of `default/NAME` for the port `http`, without endpoints so far.
pub(crate) fn http_slice(name: &str) -> Slice {
    slice(&format!("default/{name}-1")).service(name).port("http", 80, Protocol::Tcp)
}

/// An endpoint of [`http_slice`] elsewhere and one on this node.
pub(crate) fn both(name: &str) -> Value {
    http_slice(name).endpoint(REMOTE).endpoint(LOCAL).on(NODE_NAME).object()
}

/// What every cluster of §10 has: the node and the prefixes of ClusterIPs.
pub(crate) fn cluster() -> [Value; 2] {
    let cidrs = service_cidr("kubernetes").cidr("172.30.0.0/16").cidr("fd00:10:96::/112");
    [node(NODE_NAME).address(N).address(N6).object(), cidrs.object()]
}

/// The settings of kube-proxy's tests: pods are told by the cluster's CIDRs, NodePorts answer on
/// the primary addresses.
pub(crate) fn settings() -> Settings {
    let cidrs = ["10.0.0.0/8", "fd00:10::/64"].map(|cidr| cidr.parse().expect("a CIDR"));
    Settings { detector: Detector::ClusterCidr(cidrs.to_vec()), ..Settings::default() }
}
