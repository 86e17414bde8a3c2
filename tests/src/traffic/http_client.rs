//! An HTTP client that tells what its socket says of itself.
//!
//! Made by hand on purpose: tests need the socket (both its names, its errors as the kernel gave
//! them), one connection for many requests, and no retries that nobody asked for. It understands the
//! answers of the lab's own server and of the agent, with a length or until the end of the stream.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use nix::libc::linger;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Linger;
use serde_json::Value;
use tokio::net::TcpSocket;

use super::daemon::current_thread_runtime;
use super::{Greeting, stream};
use crate::lab::Namespace;

/// An answer, and the connection it came over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers, their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body, whole.
    pub body: Vec<u8>,
    /// The server's name; empty if the body is no greeting of an [`super::HttpServer`].
    pub name: String,
    /// The client's address as the server sees it; `None` if the body is no greeting.
    pub seen_peer: Option<SocketAddr>,
    /// The client's address as its own socket says (`getsockname`).
    pub local: SocketAddr,
    /// The server's address as the client's socket says (`getpeername`): the one it dialled, unless
    /// a translation shows through.
    pub peer: SocketAddr,
}

/// Connects, asks for `/` and closes. `bind` is the client's address and port, if they matter;
/// `timeout` is for each step that waits.
pub fn http_get(
    from: &Namespace,
    dst: SocketAddr,
    bind: Option<SocketAddr>,
    timeout: Duration,
) -> io::Result<Answer> {
    Connection::open(from, dst, bind, timeout)?.send("GET", "/", "Connection: close\r\n", b"")
}

/// A TCP connection that lives for many requests, one after the other.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects from inside a namespace. The port of `bind` may be in use by connections to other
    /// places; refusals and time-outs come as the kernel's own errors.
    pub fn open(
        from: &Namespace,
        dst: SocketAddr,
        bind: Option<SocketAddr>,
        timeout: Duration,
    ) -> io::Result<Self> {
        let stream = from.run(|| current_thread_runtime().block_on(connect(dst, bind, timeout)))?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Asks for `path` and reads the whole answer; the connection stays open.
    pub fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.get_with(path, "")
    }

    /// The same with more headers, each with its line end.
    pub fn get_with(&mut self, path: &str, headers: &str) -> io::Result<Answer> {
        self.send("GET", path, headers, b"")
    }

    /// Posts `body` to `path` and reads the whole answer; the connection stays open.
    pub fn post(&mut self, path: &str, body: &[u8]) -> io::Result<Answer> {
        self.send("POST", path, "", body)
    }

    /// Sends the first `length` bytes of the lab's stream; an error unless the server got just those.
    pub fn send_stream(&mut self, length: u64) -> io::Result<()> {
        self.stream.get_mut().write_all(head("POST", "/stream", "", length).as_bytes())?;
        let mut sent = 0;
        while sent < length {
            let bytes = stream::bytes_at(sent, length - sent);
            self.stream.get_mut().write_all(bytes)?;
            sent += bytes.len() as u64;
        }
        let answer = String::from_utf8_lossy(&self.receive()?.body).into_owned();
        if answer == length.to_string() { Ok(()) } else { Err(invalid(&answer)) }
    }

    /// Asks for the first `length` bytes of the lab's stream; an error unless just those come.
    pub fn receive_stream(&mut self, length: u64) -> io::Result<()> {
        self.ask(&format!("/stream/{length}"))?;
        let (200, headers) = self.head()? else { return Err(invalid("no stream")) };
        let Some(announced) = length_of(&headers)? else { return Err(invalid("no stream")) };
        let mut buffer = vec![0; announced.clamp(1, 256 << 10)];
        for offset in (0..length).step_by(buffer.len()) {
            let left = usize::try_from(length - offset).unwrap_or(usize::MAX);
            let piece = buffer.len().min(left);
            self.stream.read_exact(&mut buffer[..piece])?;
            if !stream::are_at(offset, &buffer[..piece]) {
                return Err(invalid(&format!("other bytes from {offset} on")));
            }
        }
        Ok(())
    }

    /// Sends JSON to `path` by any method and reads the whole answer; the connection stays open.
    pub fn send_json(&mut self, method: &str, path: &str, body: &Value) -> io::Result<Answer> {
        self.send(method, path, "Content-Type: application/json\r\n", body.to_string().as_bytes())
    }

    /// Sends a request for `path` without waiting for its answer: the next [`Self::receive`] is it.
    pub fn ask(&mut self, path: &str) -> io::Result<()> {
        self.write("GET", path, "", b"")
    }

    /// Reads one answer.
    pub fn receive(&mut self) -> io::Result<Answer> {
        let (status, headers) = self.head()?;
        let length = length_of(&headers)?;
        let body = self.body(length)?;
        let greeting = serde_json::from_slice::<Greeting>(&body).ok();
        Ok(Answer {
            status,
            headers,
            body,
            seen_peer: greeting.as_ref().map(|greeting| greeting.peer),
            name: greeting.map(|greeting| greeting.name).unwrap_or_default(),
            local: self.stream.get_ref().local_addr()?,
            peer: self.stream.get_ref().peer_addr()?,
        })
    }

    /// Closes it in good order: says that nothing more will come, waits for the server to say the
    /// same, and closes.
    pub fn finish(mut self) -> io::Result<()> {
        self.stream.get_ref().shutdown(Shutdown::Write)?;
        // Unlike a plain read, a copy goes on after a signal.
        match io::copy(&mut self.stream, &mut io::sink())? {
            0 => Ok(()),
            _ => Err(invalid("more than was asked for")),
        }
    }

    /// Closes it with a reset.
    pub fn reset(self) -> io::Result<()> {
        let no_time = linger { l_onoff: 1, l_linger: 0 };
        setsockopt(self.stream.get_ref(), Linger, &no_time).map_err(io::Error::from)
    }

    /// The socket, for what is rarely asked of it.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    fn send(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> io::Result<Answer> {
        self.write(method, path, headers, body)?;
        self.receive()
    }

    fn write(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> io::Result<()> {
        let head = head(method, path, headers, body.len() as u64);
        self.stream.get_mut().write_all(&[head.as_bytes(), body].concat())
    }

    /// Reads what stands before an answer's body: the status and the headers.
    fn head(&mut self) -> io::Result<(u16, BTreeMap<String, String>)> {
        let status = self.line()?.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| invalid("an answer without a status"))?;
        let mut headers = BTreeMap::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { return Ok((status, headers)) };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// `length` bytes, or all until the end.
    fn body(&mut self, length: Option<usize>) -> io::Result<Vec<u8>> {
        let mut body = vec![0; length.unwrap_or_default()];
        match length {
            Some(_) => self.stream.read_exact(&mut body)?,
            None => drop(self.stream.read_to_end(&mut body)?),
        }
        Ok(body)
    }
}

/// What stands before a request's body of `length` bytes.
fn head(method: &str, path: &str, headers: &str, length: u64) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: lab\r\nContent-Length: {length}\r\n{headers}\r\n")
}

async fn connect(
    dst: SocketAddr,
    bind: Option<SocketAddr>,
    timeout: Duration,
) -> io::Result<TcpStream> {
    let socket = if dst.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(address) = bind {
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
    }
    tokio::time::timeout(timeout, socket.connect(dst))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??
        .into_std()
}

/// How long an answer's body says it is.
fn length_of(headers: &BTreeMap<String, String>) -> io::Result<Option<usize>> {
    let length = headers.get("content-length").map(|length| length.parse());
    length.transpose().map_err(|_| invalid("a length that is no number"))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
