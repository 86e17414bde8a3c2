//! The server: what comes in goes back, over TCP to one connection after the other, and over UDP.
//!
//! Its threads stay until the process ends.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::thread;

use lb_tests::lab::Namespace;

use crate::cpu::Cpu;

/// A request, and its answer.
pub(crate) const MESSAGE: [u8; 64] = [b'w'; 64];

/// Serves `port` in `ns`, on `cpu` alone.
pub(crate) fn start(ns: &Namespace, port: u16, cpu: Cpu) -> io::Result<()> {
    let here = (Ipv4Addr::UNSPECIFIED, port);
    let (listener, socket) =
        ns.run(|| io::Result::Ok((TcpListener::bind(here)?, UdpSocket::bind(here)?)))?;
    thread::spawn(move || {
        cpu.stay();
        // A client that breaks off is its own affair: it says so.
        listener.incoming().flatten().for_each(|stream| drop(serve(stream)));
    });
    thread::spawn(move || {
        cpu.stay();
        let mut message = MESSAGE;
        while let Ok((_, from)) = socket.recv_from(&mut message) {
            socket.send_to(&message, from).ok();
        }
    });
    Ok(())
}

/// Answers until the client closes.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut message = MESSAGE;
    loop {
        stream.read_exact(&mut message)?;
        stream.write_all(&message)?;
    }
}
