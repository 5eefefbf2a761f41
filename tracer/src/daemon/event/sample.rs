//! Single packets that were sampled, as events.

use serde::{Serialize, Serializer};
use tracer_common::sample::SampleKind;

use crate::{
    headers::{DnsMessage, Headers},
    kernel::Sample,
};

/// A packet at a stage, or several of the same kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sampled {
    /// The stage, or `leak`.
    pub stage: &'static str,
    /// Name of the device; `None` when it has gone.
    pub interface: Option<String>,
    /// What is rare about it; `None` when it was its turn.
    pub anomaly: Option<&'static str>,
    /// The packet; `None` when the event stands for several.
    pub packet: Option<Packet>,
}

/// The beginning of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Packet {
    /// Length of all of it in bytes.
    pub length: u32,
    /// Its headers.
    #[serde(flatten)]
    pub headers: Headers,
    /// The DNS message in it, where names are asked for and it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsMessage>,
    /// Its first bytes, at most 128; two hexadecimal digits each in JSON.
    #[serde(serialize_with = "hexadecimal")]
    pub bytes: Vec<u8>,
}

/// What events of samples have in common that are told together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    stage: &'static str,
    interface: Option<String>,
    anomaly: Option<&'static str>,
}

// === impl Sampled ===

impl Sampled {
    /// A sample at a device of this name, with what was read from it.
    #[must_use]
    pub fn of(
        sample: Sample,
        interface: Option<String>,
        headers: Headers,
        dns: Option<DnsMessage>,
    ) -> Self {
        let anomaly = match sample.kind {
            SampleKind::Turn => None,
            SampleKind::Sight(kind) => Some(kind.name()),
            SampleKind::Malformed(error) => Some(error.name()),
        };
        let packet = Some(Packet { length: sample.length, headers, dns, bytes: sample.bytes });
        Self { stage: sample.stage, interface, anomaly, packet }
    }

    pub(super) fn kind(&self) -> Kind {
        let Self { stage, interface, anomaly, .. } = self;
        Kind { stage, interface: interface.clone(), anomaly: *anomaly }
    }

    /// One line for a person. Of what cannot be read the bytes are shown.
    pub(super) fn headline(&self) -> String {
        let interface = self.interface.as_deref().map(|name| format!(" at {name}"));
        let anomaly = self.anomaly.map(|anomaly| format!("  {anomaly}"));
        let packet = self.packet.as_ref().map(|Packet { length, headers, dns, bytes }| {
            let rest = if headers.inner.is_none() {
                format!("  {}", hex(bytes))
            } else {
                dns.as_ref().map_or_else(String::new, |dns| format!("  {dns}"))
            };
            format!("  {length} bytes  {headers}{rest}")
        });
        let rest = [interface, anomaly, packet].into_iter().flatten().collect::<String>();
        format!("sample  {}{rest}", self.stage)
    }
}

fn hexadecimal<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use jiff::Timestamp;
    use tracer_common::{counter::ParseError, sight::SightKind};

    use super::*;
    use crate::daemon::event::{Event, What};

    pub(in super::super) fn sampled(kind: SampleKind, stage: &'static str) -> Sampled {
        let sample = Sample {
            time: Timestamp::UNIX_EPOCH,
            stage,
            ifindex: 2,
            is_at_uplink: false,
            kind,
            length: 1500,
            bytes: vec![0xff, 0, 1],
        };
        let headers = Headers::read(&sample.bytes, true, &[]);
        Sampled::of(sample, Some("cni0".to_owned()), headers, None)
    }

    #[test]
    fn a_sample_is_one_line() {
        let turn = sampled(SampleKind::Turn, "pod_out").headline();
        let unread = "1500 bytes  no headers that can be read  ff0001";
        assert_eq!(turn, format!("sample  pod_out at cni0  {unread}"));
        let kind = SampleKind::Malformed(ParseError::VxlanFlags);
        let malformed = sampled(kind, "wire_in").headline();
        assert_eq!(malformed, format!("sample  wire_in at cni0  vxlan_flags  {unread}"));
        let several = Sampled { packet: None, interface: None, ..sampled(kind, "wire_in") };
        assert_eq!(several.headline(), "sample  wire_in  vxlan_flags");
    }

    #[test]
    fn a_sample_is_an_object_of_json() {
        let kind = SampleKind::Sight(SightKind::OtherVni);
        let sample = Box::new(sampled(kind, "wire_in"));
        let event = Event::new(Timestamp::UNIX_EPOCH, "n1".to_owned(), What::Sample { sample });
        let json: serde_json::Value = serde_json::from_str(&event.json().unwrap()).unwrap();
        let expected = serde_json::json!({
            "stage": "wire_in", "interface": "cni0", "anomaly": "other-vni",
            "packet": {"length": 1500, "outer": null, "inner": null, "bytes": "ff0001"},
        });
        assert_eq!((&json["kind"], &json["sample"]), (&"sample".into(), &expected));
    }
}
