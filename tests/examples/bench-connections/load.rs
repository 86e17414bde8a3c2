//! The client: four workloads over blocking sockets, one after the other, by the calling thread.
//!
//! Runs in the namespace and cgroup that the caller is in. A request that is not answered is an
//! error and never a slow sample.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::server::MESSAGE;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is done again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Workload {
    /// Connect, one request, its answer, close: the connect is timed.
    Connections,
    /// Requests and answers over one connection.
    Requests,
    /// Datagrams and answers of one socket that is not connected.
    Datagrams,
    /// A new connected UDP socket for each datagram and answer.
    UdpSockets,
}

impl Workload {
    /// All of them, in the order of the report.
    pub(crate) const ALL: [Self; 4] =
        [Self::Connections, Self::Requests, Self::Datagrams, Self::UdpSockets];

    /// What people call it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Connections => "short connections (connect, one request, close)",
            Self::Requests => "requests on one connection",
            Self::Datagrams => "UDP, one unconnected socket",
            Self::UdpSockets => "UDP, a connected socket per request",
        }
    }

    /// Does it at `target` for `time`.
    pub(crate) fn run(self, target: SocketAddr, time: Duration) -> io::Result<Sample> {
        match self {
            Self::Connections => connections(target, time),
            Self::Requests => requests(target, time),
            Self::Datagrams => datagrams(target, time),
            Self::UdpSockets => repeat(time, || {
                let socket = udp_socket()?;
                socket.connect(target)?;
                socket.send(&MESSAGE)?;
                socket.recv(&mut [0; MESSAGE.len()]).map(drop)
            }),
        }
    }
}

/// One slice of a workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Rounds of the workload a second.
    pub(crate) rate: f64,
    /// Latency of the connects in microseconds, where they were timed.
    pub(crate) connect: Option<Latency>,
}

/// Quantiles in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Latency {
    /// Quantiles are times that were measured, no means: the last that so many are not above.
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let quantile =
            |hundredths: usize| times[(times.len() - 1) * hundredths / 100].as_secs_f64() * 1e6;
        Self { p50: quantile(50), p99: quantile(99) }
    }
}

fn connections(target: SocketAddr, time: Duration) -> io::Result<Sample> {
    let mut connects = Vec::new();
    let sample = repeat(time, || {
        let before = Instant::now();
        let stream = TcpStream::connect(target)?;
        connects.push(before.elapsed());
        ask(stream)
    })?;
    Ok(Sample { connect: Some(Latency::of(connects)), ..sample })
}

fn requests(target: SocketAddr, time: Duration) -> io::Result<Sample> {
    let mut stream = TcpStream::connect(target)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    repeat(time, || ask(&mut stream))
}

fn datagrams(target: SocketAddr, time: Duration) -> io::Result<Sample> {
    let socket = udp_socket()?;
    repeat(time, || {
        socket.send_to(&MESSAGE, target)?;
        socket.recv_from(&mut [0; MESSAGE.len()]).map(drop)
    })
}

fn ask(mut stream: impl io::Read + io::Write) -> io::Result<()> {
    stream.write_all(&MESSAGE)?;
    stream.read_exact(&mut [0; MESSAGE.len()])
}

fn udp_socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// At least once.
fn repeat(time: Duration, mut once: impl FnMut() -> io::Result<()>) -> io::Result<Sample> {
    let (started, mut count) = (Instant::now(), 0_u32);
    while count == 0 || started.elapsed() < time {
        once()?;
        count += 1;
    }
    Ok(Sample { rate: f64::from(count) / started.elapsed().as_secs_f64(), connect: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(micros: impl Iterator<Item = u64>, p50: f64, p99: f64) {
        let latency = Latency::of(micros.map(Duration::from_micros).collect());
        for (found, expected) in [(latency.p50, p50), (latency.p99, p99)] {
            assert!((found - expected).abs() < 0.5, "{found} instead of {expected}");
        }
    }

    #[test]
    fn quantiles_are_times_that_were_measured_whatever_their_order() {
        check(1..=101, 51.0, 100.0);
        check((1..=101).rev(), 51.0, 100.0);
        check([7].into_iter(), 7.0, 7.0);
        check([1, 1000].into_iter(), 1.0, 1.0);
    }

    #[test]
    fn one_slow_connect_in_a_hundred_is_not_in_the_99th() {
        check((0..200).map(|number| if number < 198 { 10 } else { 9000 }), 10.0, 10.0);
        check((0..200).map(|number| if number < 190 { 10 } else { 9000 }), 10.0, 9000.0);
    }
}
