//! What listens in every pod: UDP and TCP echo, a TCP sink and a UDP sink.

use std::{
    io::{self, Read, Write},
    net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};

use crate::plan::{ECHO_PORT, SINK_PORT, SYSLOG_PORT};

/// A connection on which nothing happens for so long is given up.
const IDLE: Duration = Duration::from_secs(30);

/// Serves on all ports, for ever.
///
/// # Errors
/// When a port cannot be had.
pub fn serve() -> Result<()> {
    let echo = udp(ECHO_PORT)?;
    let syslog = udp(SYSLOG_PORT)?;
    let tcp_echo = tcp(ECHO_PORT)?;
    let sink = tcp(SINK_PORT)?;
    thread::spawn(move || echo_datagrams(&echo));
    thread::spawn(move || swallow_datagrams(&syslog));
    thread::spawn(move || accept(&sink, swallow_stream));
    accept(&tcp_echo, echo_stream);
    Err(anyhow!("the echo service has ended"))
}

/// A socket of IPv6 hears IPv4 too (`net.ipv6.bindv6only` is 0).
fn udp(port: u16) -> Result<UdpSocket> {
    UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).with_context(|| format!("UDP port {port}"))
}

fn tcp(port: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).with_context(|| format!("TCP port {port}"))
}

fn echo_datagrams(socket: &UdpSocket) {
    let mut buffer = vec![0; 65536];
    loop {
        // An error is an ICMP message about an earlier answer: the next datagram is as good as any.
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            drop(socket.send_to(&buffer[..length], from));
        }
    }
}

fn swallow_datagrams(socket: &UdpSocket) {
    let mut buffer = vec![0; 65536];
    loop {
        drop(socket.recv_from(&mut buffer));
    }
}

fn accept(listener: &TcpListener, serve: fn(TcpStream) -> io::Result<()>) {
    for stream in listener.incoming().flatten() {
        // A client that goes away ends its own connection only.
        thread::spawn(move || drop(serve(stream)));
    }
}

fn echo_stream(mut stream: TcpStream) -> io::Result<()> {
    copy(&mut stream, |stream, bytes| stream.write_all(bytes)).map(drop)
}

/// Answers with the number of bytes received, 8 bytes big endian, when the client has sent all.
fn swallow_stream(mut stream: TcpStream) -> io::Result<()> {
    let total = copy(&mut stream, |_, _| Ok(()))?;
    stream.write_all(&total.to_be_bytes())
}

fn copy(
    stream: &mut TcpStream,
    mut each: impl FnMut(&mut TcpStream, &[u8]) -> io::Result<()>,
) -> io::Result<u64> {
    stream.set_read_timeout(Some(IDLE))?;
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(total),
            length => {
                each(stream, &buffer[..length])?;
                total += length as u64;
            }
        }
    }
}
