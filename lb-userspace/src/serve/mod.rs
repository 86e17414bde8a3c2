//! What the agent says about itself over HTTP.
//!
//! Never fatal: a port that is taken is told, and is tried again until it is free; nothing else waits
//! for it. Servers know no maps and no plans; they are given what they show.

pub mod checks;
pub mod configz;
pub mod health;
pub mod metrics;
pub mod recent;
pub mod status;

use std::io;
use std::net::{AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use axum::Router;
use axum::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::IntoResponse;
use nix::libc;
use prometheus_client::metrics::gauge::Gauge;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::model::{Problem, Rejection, Subject};

/// The pause before a port is tried again, as in kube-proxy.
const PAUSE: Duration = Duration::from_secs(5);
/// The first pause: who has the port may be about to let go of it, and nobody need know.
const SHORT_PAUSE: Duration = Duration::from_millis(200);

/// Where a server listens, at `PORT` if only an address was given; nowhere if it was given as an
/// empty string or 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindAddress<const PORT: u16 = 10_249>(pub Option<SocketAddr>);

impl<const PORT: u16> FromStr for BindAddress<PORT> {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if ["", "0"].contains(&text) {
            return Ok(Self(None));
        }
        let alone = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT));
        alone.or_else(|_| text.parse()).map(|address| Self(Some(address)))
    }
}

/// Something that is served at an address.
#[derive(Clone, Debug)]
pub struct Server {
    /// What it is, for people.
    pub what: String,
    /// Where; `0.0.0.0` and `::` both stand for all addresses of both families.
    pub address: SocketAddr,
    /// What it answers.
    pub router: Router,
    /// Whom it tells that it cannot listen.
    pub trouble: Trouble,
}

/// Whom a server tells that it cannot listen.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// The node it is on.
    pub node: String,
    /// The object that people look at.
    pub object: Subject,
    /// The sort of problem.
    pub problem: Problem,
    /// Where such things are told beside the log, if there is a place.
    pub complaints: Option<mpsc::Sender<Rejection>>,
    /// How many servers do not listen although they should.
    pub deaf: Gauge,
}

impl Server {
    /// Serves until `stop`; then idle connections are closed as well.
    pub async fn run(self, stop: CancellationToken) {
        let Some(listener) = stop.run_until_cancelled(self.listen()).await else { return };
        let serve =
            axum::serve(listener, self.router).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = serve.await {
            tracing::error!(address = %self.address, "no longer serving {}: {error}", self.what);
        }
    }

    /// Listens as soon as the port is free.
    async fn listen(&self) -> TcpListener {
        if let Ok(listener) = bind(self.address).await {
            return listener;
        }
        sleep(SHORT_PAUSE).await;
        let mut deaf = None;
        loop {
            match bind(self.address).await {
                Ok(listener) => return listener,
                Err(error) => deaf.get_or_insert_with(|| self.complain(&error)),
            };
            sleep(PAUSE).await;
        }
    }

    fn complain(&self, error: &io::Error) -> Deaf {
        let (Self { what, address, .. }, trouble) = (self, &self.trouble);
        tracing::error!(%address, "cannot serve {what}, trying again: {error}");
        let rejection = Rejection {
            object: trouble.object.clone(),
            file: None,
            problem: trouble.problem,
            reason: format!("node {} cannot serve {what} at {address}: {error}", trouble.node),
        };
        if let Some(Err(error)) = trouble.complaints.as_ref().map(|it| it.try_send(rejection)) {
            tracing::debug!(%error, "that is told by the log alone");
        }
        trouble.deaf.inc();
        Deaf(trouble.deaf.clone())
    }
}

/// Counted as deaf for as long as it lives.
struct Deaf(Gauge);

impl Drop for Deaf {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A socket for IPv6 takes IPv4 as well, unless the sysctl `net.ipv6.bindv6only` says otherwise.
async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    if !address.ip().is_unspecified() {
        return TcpListener::bind(address).await;
    }
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, address.port())).await {
        Err(error) if has_no_ipv6(&error) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        outcome => outcome,
    }
}

fn has_no_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// An answer as kube-proxy sends them: no browser may take it for anything else.
fn json<T: Serialize>(value: &T) -> impl IntoResponse + use<T> {
    let text = serde_json::to_string(value).unwrap_or_else(|error| error.to_string());
    ([(CONTENT_TYPE, "application/json"), (X_CONTENT_TYPE_OPTIONS, "nosniff")], text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let expected = expected.map(|address| address.parse().unwrap());
        assert_eq!(text.parse(), Ok(BindAddress::<10_249>(expected)), "{text}");
    }

    #[test]
    fn an_address_has_a_port_or_the_usual_one_or_is_empty() {
        check("127.0.0.1:9000", Some("127.0.0.1:9000"));
        check("[::1]:9000", Some("[::1]:9000"));
        check("0.0.0.0", Some("0.0.0.0:10249"));
        check("::1", Some("[::1]:10249"));
        check("", None);
        check("0", None);
        assert!("localhost:9000".parse::<BindAddress>().is_err());
    }
}
