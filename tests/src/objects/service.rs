//! Services.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Protocol, common_methods, last, named, push};

/// A Service under construction.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Service {
    object: Value,
}

common_methods!(Service);

/// A Service `namespace/name` of type `ClusterIP`, without addresses and ports so far.
#[must_use]
pub fn service(name: &str) -> Service {
    let mut object = named("v1", "Service", name);
    object["spec"] = json!({"type": "ClusterIP"});
    Service { object }
}

impl Service {
    /// Adds a cluster IP. The families follow from the addresses; `None` makes it headless.
    #[must_use]
    pub fn cluster_ip(mut self, address: &str) -> Self {
        let spec = &mut self.object["spec"];
        if spec["clusterIP"].is_null() {
            spec["clusterIP"] = json!(address);
        }
        push(&mut spec["clusterIPs"], json!(address));
        if address != "None" {
            push(
                &mut spec["ipFamilies"],
                json!(if address.contains(':') { "IPv6" } else { "IPv4" }),
            );
        }
        let two = spec["clusterIPs"].as_array().is_some_and(|addresses| addresses.len() == 2);
        spec["ipFamilyPolicy"] = json!(if two { "RequireDualStack" } else { "SingleStack" });
        self
    }

    /// Adds a port, with the same target port.
    #[must_use]
    pub fn port(mut self, name: &str, port: u16, protocol: Protocol) -> Self {
        let port = json!({"name": name, "port": port, "targetPort": port, "protocol": protocol});
        push(&mut self.object["spec"]["ports"], port);
        self
    }

    /// Sets the last port's target port: of no meaning to the datapath, slices say where to go.
    #[must_use]
    pub fn target_port(mut self, port: u16) -> Self {
        last(&mut self.object["spec"]["ports"], "a port")["targetPort"] = json!(port);
        self
    }

    /// Sets the last port's node port, and the type to `NodePort` unless it is `LoadBalancer`.
    #[must_use]
    pub fn node_port(mut self, port: u16) -> Self {
        last(&mut self.object["spec"]["ports"], "a port")["nodePort"] = json!(port);
        if self.object["spec"]["type"] == "ClusterIP" {
            self.object["spec"]["type"] = json!("NodePort");
        }
        self
    }

    /// Adds an address of a load balancer, and sets the type to `LoadBalancer`.
    #[must_use]
    pub fn load_balancer_ip(mut self, address: &str) -> Self {
        self.object["spec"]["type"] = json!("LoadBalancer");
        push(&mut self.object["status"]["loadBalancer"]["ingress"], json!({"ip": address}));
        self
    }

    /// Adds an external IP.
    #[must_use]
    pub fn external_ip(mut self, address: &str) -> Self {
        push(&mut self.object["spec"]["externalIPs"], json!(address));
        self
    }

    /// Adds a prefix that may use the load balancer.
    #[must_use]
    pub fn source_range(mut self, prefix: &str) -> Self {
        push(&mut self.object["spec"]["loadBalancerSourceRanges"], json!(prefix));
        self
    }

    /// `externalTrafficPolicy: Local`.
    #[must_use]
    pub fn external_local(self) -> Self {
        self.with("/spec/externalTrafficPolicy", "Local")
    }

    /// `internalTrafficPolicy: Local`.
    #[must_use]
    pub fn internal_local(self) -> Self {
        self.with("/spec/internalTrafficPolicy", "Local")
    }

    /// Session affinity by client address, for `seconds`.
    #[must_use]
    pub fn affinity(self, seconds: u32) -> Self {
        self.with("/spec/sessionAffinity", "ClientIP")
            .with("/spec/sessionAffinityConfig/clientIP/timeoutSeconds", seconds)
    }
}
