//! Attributes, read one by one: what cannot be decoded is skipped and counted, so that one
//! attribute of an unknown form never costs a whole link or route.

use netlink_packet_core::{DecodeError, NlaBuffer, NlasIterator};

/// What was left out while tables were read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Skipped {
    /// Whole messages.
    pub(super) messages: u64,
    /// Attributes of messages that are otherwise used.
    pub(super) attributes: u64,
}

impl Skipped {
    /// The attributes in `bytes` that `parse` understands.
    pub(super) fn attributes<'a, A>(
        &mut self,
        bytes: &'a [u8],
        parse: impl Fn(&NlaBuffer<&'a [u8]>) -> Result<A, DecodeError>,
    ) -> Vec<A> {
        let mut attributes = Vec::new();
        for attribute in NlasIterator::new(bytes) {
            match attribute.and_then(|attribute| parse(&attribute)) {
                Ok(attribute) => attributes.push(attribute),
                Err(error) => {
                    tracing::debug!(%error, "attribute skipped");
                    self.attributes += 1;
                }
            }
        }
        attributes
    }
}

/// The value of the first attribute of this kind.
pub(super) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    let attribute =
        NlasIterator::new(bytes).map_while(Result::ok).find(|found| found.kind() == kind)?;
    let header = 4;
    attribute.into_inner().get(header..header + attribute.value_length())
}

/// A string attribute without its closing zero. Names need not be UTF-8.
pub(super) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

#[cfg(test)]
pub(in crate::netlink) mod testing {
    /// An attribute with its padding.
    pub(in crate::netlink) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::parse_u32;

    use super::*;

    const ATTRIBUTES: [u8; 20] = [8, 0, 1, 0, 7, 0, 0, 0, 5, 0, 2, 0, 9, 0, 0, 0, 4, 0, 3, 0];

    #[test]
    fn an_attribute_is_found_by_its_kind() {
        assert_eq!(find(&ATTRIBUTES, 2), Some(&[9][..]));
        assert_eq!(find(&ATTRIBUTES, 3), Some(&[][..]));
        assert_eq!(find(&ATTRIBUTES, 4), None);
    }

    #[test]
    fn what_cannot_be_decoded_is_counted_and_the_rest_kept() {
        let mut skipped = Skipped::default();
        let numbers = skipped.attributes(&ATTRIBUTES, |attribute| parse_u32(attribute.value()));
        assert_eq!(numbers, [7]);
        assert_eq!(skipped, Skipped { messages: 0, attributes: 2 });
    }

    #[test]
    fn truncated_attributes_end_the_list() {
        for length in 0..ATTRIBUTES.len() {
            assert_eq!(find(&ATTRIBUTES[..length], 4), None);
        }
    }

    #[test]
    fn text_ends_at_its_zero() {
        assert_eq!(text(b"eth0\0\0"), "eth0");
        assert_eq!(text(b"eth0"), "eth0");
        assert_eq!(text(b"a\xff"), "a\u{fffd}");
    }
}
