//! One netlink socket: requests and dumps as raw messages.

use std::{io, time::Duration};

use netlink_packet_core::{
    Emitable, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer,
};
use netlink_sys::{Socket as System, SocketAddr};
use nix::sys::{
    socket::{setsockopt, sockopt::ReceiveTimeout},
    time::TimeVal,
};

/// How often an interrupted dump is begun anew.
const DUMP_ATTEMPTS: u32 = 10;

/// The kernel fills at most 32 KiB for one read of a dump (net/netlink/af_netlink.c,
/// netlink_recvmsg, 6.18); single answers may be larger, then the buffer grows.
const READ_BUFFER: usize = 64 * 1024;

/// Kernel-side buffer, bytes. The kernel halts a dump while this is full.
const RECEIVE_BUFFER: usize = 1024 * 1024;

/// The kernel answers within the system call or at once after it; silence is an error.
const SILENCE: Duration = Duration::from_secs(5);

/// The flags of a question that has one answer: never a dump of the whole table.
const QUESTION: u16 = NLM_F_REQUEST;

const HEADER_LENGTH: usize = 16;
const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// A netlink socket of one protocol in the network namespace of the thread that opened it.
pub(super) struct Socket {
    system: System,
    sequence: u32,
    buffer: Vec<u8>,
}

/// A message without its netlink header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// Message type, e.g. RTM_NEWLINK.
    pub(super) kind: u16,
    /// What follows the netlink header.
    pub(super) body: Vec<u8>,
}

/// Why netlink gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket.
    #[error("cannot open a netlink socket")]
    Open(#[source] io::Error),
    /// The request could not be sent or its answer not read.
    #[error("cannot talk to the kernel by netlink")]
    Transfer(#[source] io::Error),
    /// The kernel answered with an error.
    #[error("the kernel refused the request: {}{}", io::Error::from_raw_os_error(*errno), note(.reason.as_deref()))]
    Refused {
        /// Positive errno.
        errno: i32,
        /// The kernel's own words, when it gave any.
        reason: Option<String>,
    },
    /// Every attempt at a dump met a change of the table.
    #[error(
        "the kernel's tables changed during each of {DUMP_ATTEMPTS} attempts to read them; \
         run the command again when fewer interfaces and routes come and go"
    )]
    Interrupted,
    /// The answer is not netlink.
    #[error("the kernel's netlink answer is malformed: {0}")]
    Malformed(String),
}

type Result<T> = std::result::Result<T, NetlinkError>;

/// What one read brought.
enum Read {
    /// More may follow.
    More,
    /// The kernel said that this is all.
    Done,
}

impl NetlinkError {
    /// The errno with which the kernel refused, if it did.
    #[must_use]
    pub const fn refusal(&self) -> Option<i32> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}

impl Socket {
    /// Opens a socket of `protocol` (NETLINK_ROUTE, NETLINK_NETFILTER).
    pub(super) fn open(protocol: isize) -> Result<Self> {
        let mut system = System::new(protocol).map_err(NetlinkError::Open)?;
        system.bind_auto().map_err(NetlinkError::Open)?;
        system.set_rx_buf_sz(RECEIVE_BUFFER).map_err(NetlinkError::Open)?;
        // Without these an error carries the whole request and no words.
        system.set_cap_ack(true).map_err(NetlinkError::Open)?;
        system.set_ext_ack(true).map_err(NetlinkError::Open)?;
        setsockopt(&system, ReceiveTimeout, &TimeVal::new(SILENCE.as_secs().cast_signed(), 0))
            .map_err(|errno| NetlinkError::Open(errno.into()))?;
        Ok(Self { system, sequence: 0, buffer: vec![0; READ_BUFFER] })
    }

    /// All entries of a table. A dump during which the table changed is begun anew.
    pub(super) fn dump(&mut self, kind: u16, body: &impl Emitable) -> Result<Vec<Message>> {
        for _ in 0..DUMP_ATTEMPTS {
            self.send(kind, NLM_F_REQUEST | NLM_F_DUMP, &bytes(body))?;
            if let Some(messages) = self.collect()? {
                return Ok(messages);
            }
        }
        Err(NetlinkError::Interrupted)
    }

    /// Hands over all entries of a table one by one, for tables of many: those of a dump during which
    /// the table changed come again with the next.
    pub(super) fn visit(
        &mut self,
        kind: u16,
        body: &impl Emitable,
        mut each: impl FnMut(&[u8]),
    ) -> Result<()> {
        for _ in 0..DUMP_ATTEMPTS {
            self.send(kind, NLM_F_REQUEST | NLM_F_DUMP, &bytes(body))?;
            if self.each(|message| each(&message.body))? {
                return Ok(());
            }
        }
        Err(NetlinkError::Interrupted)
    }

    /// The one answer to a request.
    pub(super) fn ask(&mut self, kind: u16, body: &impl Emitable) -> Result<Message> {
        self.send(kind, QUESTION, &bytes(body))?;
        let mut messages = Vec::new();
        while messages.is_empty() {
            self.read(&mut messages, &mut false)?;
        }
        Ok(messages.swap_remove(0))
    }

    /// Has a change made; `flags` are added to NLM_F_REQUEST and NLM_F_ACK.
    pub(super) fn change(&mut self, kind: u16, flags: u16, body: &impl Emitable) -> Result<()> {
        self.send(kind, NLM_F_REQUEST | NLM_F_ACK | flags, &bytes(body))?;
        let mut messages = Vec::new();
        while let Read::More = self.read(&mut messages, &mut false)? {}
        Ok(())
    }

    /// The messages of a dump, or `None` when it was interrupted. It is read to its end either
    /// way: a socket carries one dump at a time.
    fn collect(&mut self) -> Result<Option<Vec<Message>>> {
        let mut messages = Vec::new();
        let is_whole = self.each(|message| messages.push(message))?;
        Ok(is_whole.then_some(messages))
    }

    /// Hands over the messages of a dump as they are read; false when it was interrupted.
    fn each(&mut self, mut take: impl FnMut(Message)) -> Result<bool> {
        let (mut messages, mut interrupted, mut read) = (Vec::new(), false, Read::More);
        while let Read::More = read {
            read = self.read(&mut messages, &mut interrupted)?;
            messages.drain(..).for_each(&mut take);
        }
        Ok(!interrupted)
    }

    fn send(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let datagram = datagram(kind, flags, self.sequence, body);
        let kernel = SocketAddr::new(0, 0);
        self.system.send_to(&datagram, &kernel, 0).map_err(NetlinkError::Transfer)?;
        Ok(())
    }

    /// One read from the socket. Lost messages (ENOBUFS) count as an interruption.
    fn read(&mut self, messages: &mut Vec<Message>, interrupted: &mut bool) -> Result<Read> {
        let length = match self.receive() {
            Ok(length) => length,
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                *interrupted = true;
                return Ok(Read::More);
            }
            Err(error) => return Err(NetlinkError::Transfer(error)),
        };
        decode(&self.buffer[..length], self.sequence, messages, interrupted)
    }

    /// One datagram into `buffer`, which first grows to its size.
    fn receive(&mut self) -> io::Result<usize> {
        let peek = libc::MSG_PEEK | libc::MSG_TRUNC;
        let length = self.system.recv(&mut self.buffer.as_mut_slice(), peek)?;
        if length > self.buffer.len() {
            self.buffer.resize(length, 0);
        }
        self.system.recv(&mut self.buffer.as_mut_slice(), 0)
    }
}

/// A request with its header.
fn datagram(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = HEADER_LENGTH + body.len();
    let mut datagram = vec![0; length];
    let mut message = NetlinkBuffer::new(&mut datagram);
    message.set_length(u32::try_from(length).unwrap_or(u32::MAX));
    message.set_message_type(kind);
    message.set_flags(flags);
    message.set_sequence_number(sequence);
    message.payload_mut().copy_from_slice(body);
    datagram
}

/// Splits a datagram into messages. Answers to earlier requests are passed over.
fn decode(
    mut datagram: &[u8],
    sequence: u32,
    messages: &mut Vec<Message>,
    interrupted: &mut bool,
) -> Result<Read> {
    while !datagram.is_empty() {
        let message = NetlinkBuffer::new_checked(datagram)
            .map_err(|error| NetlinkError::Malformed(error.to_string()))?;
        let length = (message.length() as usize).next_multiple_of(4).min(datagram.len());
        datagram = &datagram[length..];
        if message.sequence_number() != sequence {
            continue;
        }
        *interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
        match message.message_type() {
            NLMSG_NOOP => {}
            NLMSG_ERROR | NLMSG_DONE => {
                // Both begin with 0 or a negative errno; a done message may be empty.
                return verdict(message.message_type(), message.payload());
            }
            kind => messages.push(Message { kind, body: message.payload().to_vec() }),
        }
    }
    Ok(Read::More)
}

fn verdict(kind: u16, payload: &[u8]) -> Result<Read> {
    let code = payload.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
    if code == 0 {
        return Ok(Read::Done);
    }
    // struct nlmsgerr: the code, the request's header, then attributes; a done message has no
    // header in between.
    let attributes = if kind == NLMSG_ERROR { 4 + HEADER_LENGTH } else { 4 };
    let reason = payload
        .get(attributes..)
        .and_then(|bytes| super::attributes::find(bytes, NLMSGERR_ATTR_MSG))
        .map(super::attributes::text);
    Err(NetlinkError::Refused { errno: code.saturating_neg(), reason })
}

fn bytes(body: &impl Emitable) -> Vec<u8> {
    let mut bytes = vec![0; body.buffer_len()];
    body.emit(&mut bytes);
    bytes
}

fn note(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(" ({reason})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let length = HEADER_LENGTH + body.len();
        let mut bytes = vec![0; length.next_multiple_of(4)];
        let mut buffer = NetlinkBuffer::new(&mut bytes);
        buffer.set_length(u32::try_from(length).unwrap());
        buffer.set_message_type(kind);
        buffer.set_flags(flags);
        buffer.set_sequence_number(sequence);
        bytes[HEADER_LENGTH..length].copy_from_slice(body);
        bytes
    }

    #[test]
    fn a_question_asks_for_one_answer_and_never_for_a_dump() {
        let datagram = datagram(257, QUESTION, 7, &[1, 2, 3, 4]);
        let message = NetlinkBuffer::new_checked(&datagram[..]).unwrap();
        assert_eq!((message.message_type(), message.sequence_number()), (257, 7));
        assert_eq!((message.flags(), message.flags() & NLM_F_DUMP), (NLM_F_REQUEST, 0));
        assert_eq!(message.payload(), [1, 2, 3, 4]);
    }

    #[test]
    fn messages_of_other_requests_are_passed_over() {
        let mut datagram = message(16, 0, 6, &[1, 2, 3]);
        datagram.extend(message(16, 0, 7, &[4, 5, 6]));
        let (mut messages, mut interrupted) = (Vec::new(), false);
        let read = decode(&datagram, 7, &mut messages, &mut interrupted).unwrap();
        assert!(matches!(read, Read::More));
        assert_eq!(messages, [Message { kind: 16, body: vec![4, 5, 6] }]);
        assert!(!interrupted);
    }

    #[test]
    fn an_interrupted_dump_is_noticed_in_any_of_its_messages() {
        let mut datagram = message(16, 0, 1, &[0; 4]);
        datagram.extend(message(NLMSG_DONE, NLM_F_DUMP_INTR, 1, &0i32.to_ne_bytes()));
        let (mut messages, mut interrupted) = (Vec::new(), false);
        let read = decode(&datagram, 1, &mut messages, &mut interrupted).unwrap();
        assert!(matches!(read, Read::Done));
        assert!(interrupted);
    }

    #[test]
    fn a_refusal_carries_errno_and_the_kernels_words() {
        let mut body = (-libc::EINVAL).to_ne_bytes().to_vec();
        body.extend([0; HEADER_LENGTH]);
        body.extend([8, 0, 1, 0, b'n', b'o', b'!', 0]);
        let datagram = message(NLMSG_ERROR, 0, 1, &body);
        let Err(error) = decode(&datagram, 1, &mut Vec::new(), &mut false) else {
            panic!("the refusal was not noticed");
        };
        assert_eq!(error.refusal(), Some(libc::EINVAL));
        assert!(error.to_string().ends_with("(no!)"), "{error}");
    }

    #[test]
    fn a_truncated_message_is_an_error_and_no_panic() {
        let datagram = message(16, 0, 1, &[1, 2, 3, 4]);
        for length in 1..datagram.len() {
            let read = decode(&datagram[..length], 1, &mut Vec::new(), &mut false);
            assert!(matches!(read, Err(NetlinkError::Malformed(_))), "{length}");
        }
    }
}
