use tracer_common::{counter::ParseError, dns::Message};

use super::{Packet, Stop, inner::Inner, ip::Version};

const UDP_HEADER: usize = 8;
/// RFC 1035, section 4.1.1.
const DNS_HEADER: u32 = 12;

/// The DNS message that an inner datagram carries; of its contents only the header is read.
///
/// # Errors
/// [`ParseError::TruncatedDns`] and [`ParseError::DnsDirection`].
#[inline(always)]
pub fn dns<A: Version, P: Packet>(packet: &P, inner: &Inner<A>) -> Result<Message, Stop> {
    let at = inner.ip.payload_at;
    let [_, length] = packet.words::<2>(at).ok_or(ParseError::TruncatedDns)?.map(u32::from_be);
    // Its own length: behind a short one an Ethernet frame is filled up.
    if length >> 16 < UDP_HEADER as u32 + DNS_HEADER {
        return Err(ParseError::TruncatedDns.into());
    }
    let [header, ..] = packet.words::<3>(at + UDP_HEADER).ok_or(ParseError::TruncatedDns)?;
    let key = &inner.key;
    let ports = [key.source_port(), key.destination_port()];
    Message::new(key.source(), key.destination(), ports, u32::from_be(header))
        .ok_or(ParseError::DnsDirection.into())
}

#[cfg(test)]
mod tests {
    use super::{super::inner::inner, *};

    /// An IPv4 datagram between two ports with such a payload.
    fn datagram(ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
        let length = (8 + payload.len()) as u16;
        let mut bytes = vec![0x45, 0, 0, 20 + length as u8, 0, 0, 0, 0, 64, 17, 0, 0];
        bytes.extend([10, 244, 1, 2, 10, 96, 0, 10]);
        bytes.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
        bytes.extend(length.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(payload);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Message, Stop> {
        let inner = inner::<u32, _>(&bytes, 0)?.expect("unicast");
        dns(&bytes, &inner)
    }

    const QUERY: [u8; 12] = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];

    #[test]
    fn a_query_and_its_answer_are_one_exchange() {
        let query = read(&datagram([4000, 53], &QUERY)).unwrap();
        assert!(!query.is_answer());
        let mut answer = datagram([53, 4000], &[&[0x12, 0x34, 0x81, 0x83][..], &[0; 40]].concat());
        answer[12..20].copy_from_slice(&[10, 96, 0, 10, 10, 244, 1, 2]);
        let answer = read(&answer).unwrap();
        assert!(answer.is_answer());
        assert_eq!(answer.slot(), query.slot());
    }

    #[test]
    fn what_is_shorter_than_a_header_is_truncated() {
        for end in 0..QUERY.len() {
            let mut bytes = datagram([4000, 53], &QUERY[..end]);
            assert_eq!(read(&bytes), Err(ParseError::TruncatedDns.into()), "{end}");
            // Padding is no header.
            bytes.resize(60, 0);
            assert_eq!(read(&bytes), Err(ParseError::TruncatedDns.into()), "{end}");
        }
    }

    #[test]
    fn an_answer_to_the_port_and_a_query_from_it_are_neither() {
        let mut answer = QUERY;
        answer[2] |= 0x80;
        assert_eq!(read(&datagram([4000, 53], &answer)), Err(ParseError::DnsDirection.into()));
        assert_eq!(read(&datagram([53, 4000], &QUERY)), Err(ParseError::DnsDirection.into()));
    }
}
