//! TCP: short exchanges on new connections, and bulk transfers.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::Result;

use super::{
    ANSWER_TIMEOUT, Counts, Limits, Stop,
    pace::{Outcome, paced},
};

const EXCHANGE: [u8; 64] = [0x74; 64];
/// How long a bulk transfer may stand still before it is given up.
const STALL: Duration = Duration::from_secs(5);

pub(super) fn exchange(to: SocketAddr, limits: Limits, stop: &Stop) -> Result<Counts> {
    paced(limits, stop, |_| Ok(outcome(exchange_once(to))))
}

pub(super) fn bulk(to: SocketAddr, bytes: u64, limits: Limits, stop: &Stop) -> Result<Counts> {
    paced(limits, stop, |_| Ok(outcome(transfer(to, bytes))))
}

fn exchange_once(to: SocketAddr) -> io::Result<u64> {
    let mut stream = connect(to, ANSWER_TIMEOUT)?;
    stream.write_all(&EXCHANGE)?;
    let mut answer = [0; EXCHANGE.len()];
    stream.read_exact(&mut answer)?;
    stream.shutdown(Shutdown::Write)?;
    // Ends when the other side has closed too.
    let rest = stream.read(&mut [0; 1])?;
    if answer == EXCHANGE && rest == 0 { Ok(EXCHANGE.len() as u64) } else { Err(wrong_answer()) }
}

/// Sends `bytes` and asks the sink how many it got.
fn transfer(to: SocketAddr, bytes: u64) -> io::Result<u64> {
    let mut stream = connect(to, STALL)?;
    let block = vec![0x62; 64 * 1024];
    let mut left = bytes;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(block.len()).min(block.len());
        stream.write_all(&block[..length])?;
        left -= length as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut confirmed = [0; 8];
    stream.read_exact(&mut confirmed)?;
    if u64::from_be_bytes(confirmed) == bytes { Ok(bytes) } else { Err(wrong_answer()) }
}

fn connect(to: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    Ok(stream)
}

fn outcome(result: io::Result<u64>) -> Outcome {
    match result {
        Ok(bytes) => Outcome::Answered { bytes },
        Err(error) => match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Outcome::Silence,
            _ => Outcome::Error,
        },
    }
}

fn wrong_answer() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the answer is not what was sent")
}
