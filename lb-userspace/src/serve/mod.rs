//! What the agent says about itself over HTTP.
//!
//! Never fatal: a port that is taken is an error in the log, and is tried again until it is free.
//! Servers know no maps and no plans; they are given what they show.

pub mod metrics;

use std::convert::Infallible;
use std::net::{AddrParseError, IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::time::sleep;

/// The pause before a server that failed is tried again, as in kube-proxy.
const PAUSE: Duration = Duration::from_secs(5);

/// The port of metrics where only an address was given, as in kube-proxy.
const METRICS_PORT: u16 = 10_249;

/// Where a server listens; nowhere if it was given as an empty string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindAddress(pub Option<SocketAddr>);

impl FromStr for BindAddress {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let alone = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, METRICS_PORT));
        alone.or_else(|_| text.parse()).map(|address| Self(Some(address)))
    }
}

/// Serves `router` at `address` for ever; `what` is its name in the log.
pub async fn run(what: &str, address: SocketAddr, router: Router) -> Infallible {
    loop {
        let error = match TcpListener::bind(address).await {
            Ok(listener) => axum::serve(listener, router.clone()).await.err(),
            Err(error) => Some(error),
        };
        if let Some(error) = error {
            tracing::error!(%address, "cannot serve {what}, trying again: {error}");
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let expected = expected.map(|address| address.parse().unwrap());
        assert_eq!(text.parse(), Ok(BindAddress(expected)), "{text}");
    }

    #[test]
    fn an_address_has_a_port_or_the_usual_one_or_is_empty() {
        check("127.0.0.1:9000", Some("127.0.0.1:9000"));
        check("[::1]:9000", Some("[::1]:9000"));
        check("0.0.0.0", Some("0.0.0.0:10249"));
        check("::1", Some("[::1]:10249"));
        check("", None);
        assert!("localhost:9000".parse::<BindAddress>().is_err());
    }
}
