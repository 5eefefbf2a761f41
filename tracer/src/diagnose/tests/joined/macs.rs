//! A node that sends to another MAC than the peer's frames come from, and the evidence of that peer.

use super::{super::underlay_macs::send_to_nobody, *};

#[test]
fn what_the_peer_does_not_hear_is_explained_by_the_mac_that_its_packets_are_sent_to() {
    let nodes = pair(Pass::Tables, send_to_nobody, hear_nothing);
    assert_eq!(told(&judge(&nodes)), ["0: underlay-neighbour-wrong-mac 10.244.1.0/24"]);
}

#[test]
fn a_peer_that_gets_the_packets_disproves_it() {
    let nodes = pair(Pass::Tables, send_to_nobody, healthy);
    let joined = judge(&nodes);
    assert_eq!(told(&joined), ["0: unexplained-loss 10.244.1.0/24"]);
    let finding = &joined.findings[0].finding;
    assert_eq!((finding.severity, finding.confidence), (Severity::Warning, Confidence::Likely));
    assert!(!finding.evidence.iter().any(|it| it.contains("MAC")), "{finding:?}");
}
