//! What `--probe` shows of sizes: `path-mtu-blackhole`, `outer-fragments-dropped`, and what is neither.

use super::super::{
    Diagnosis, PeerState, Severity,
    testing::{OVERLAY, Pass, Plan, UPLINK, judge_ipv4, peer_traffic, tables, told},
};
use crate::{
    evidence::{DontFragment, Evidence, PeerProbe, ProbedSize, Probes},
    topology::nth_address,
};

/// Size, packets sent, packets answered.
type Size = (u32, u32, u32);
const SMALL: Size = (128, 4, 4);
const LOST: Size = (1450, 4, 0);

/// Every peer answers full packets, but the hit one, which answers these.
fn probed(plan: &Plan, evidence: &mut Evidence, sizes: &[Size]) {
    let all = |sizes: &[Size]| -> Vec<ProbedSize> {
        let size = |(bytes, sent, answered): &Size| ProbedSize {
            bytes: *bytes,
            sent: *sent,
            answered: *answered,
        };
        sizes.iter().map(size).collect()
    };
    let peer = |node: u8| {
        let cidr = plan.cidr(node);
        let is_hit = cidr == plan.hit_cidr();
        let sizes = if is_hit { all(sizes) } else { all(&[(1450, 1, 1)]) };
        let address = (!sizes.is_empty()).then(|| nth_address(cidr, 0));
        PeerProbe { cidr, address, heeded: false, sizes }
    };
    evidence.probes = Some(Probes { seconds: 9.0, peers: plan.peers().map(peer).collect() });
}

fn judged(sizes: &[Size], change: impl Fn(&mut Evidence, &Plan)) -> (Plan, Diagnosis) {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    probed(&plan, &mut evidence, sizes);
    change(&mut evidence, &plan);
    let diagnosis = judge_ipv4(&mut evidence);
    (plan, diagnosis)
}

fn set_uplink_mtu(evidence: &mut Evidence, mtu: u32) {
    let links = &mut tables(evidence).links;
    links.iter_mut().find(|link| link.index == UPLINK).unwrap().mtu = mtu;
}

#[test]
fn full_packets_that_are_lost_while_small_ones_arrive_are_told() {
    let sizes = [SMALL, (1345, 1, 1), (1355, 1, 0), LOST];
    let (plan, diagnosis) = judged(&sizes, |evidence, plan| {
        peer_traffic(evidence, plan.hit_cidr()).unwrap().lost.wire_to_peer = 9;
        peer_traffic(evidence, plan.hit_cidr()).unwrap().lost_early.wire_to_peer = 4;
    });
    assert_eq!(told(&diagnosis), [format!("path-mtu-blackhole {}", plan.hit_cidr())]);
    let finding = &diagnosis.findings[0];
    assert_eq!(finding.severity, Severity::Critical);
    assert!(finding.title.starts_with("Packets above about 1345 bytes to"), "{finding:#?}");
    assert!(finding.remedy.iter().any(|line| line.contains("\"MTU\": 1395")), "{finding:#?}");
    assert!(finding.since.not_after > diagnosis_start(&plan), "after the window");
    let hit = diagnosis.peers.iter().find(|peer| peer.cidr == plan.hit_cidr()).unwrap();
    assert_eq!(hit.state, PeerState::Broken);
}

fn diagnosis_start(plan: &Plan) -> Option<jiff::Timestamp> {
    Some(plan.evidence().window.start)
}

#[test]
fn fragments_that_are_lost_are_told_beside_who_makes_them() {
    let sizes = [SMALL, (1350, 1, 1), (1351, 1, 0), LOST];
    let (plan, diagnosis) = judged(&sizes, |evidence, _| set_uplink_mtu(evidence, 1400));
    let expected = format!("outer-fragments-dropped {}", plan.hit_cidr());
    assert_eq!(told(&diagnosis), [expected, "tunnel-fragments-outer flannel.1".to_owned()]);
    let hit = diagnosis.peers.iter().find(|peer| peer.cidr == plan.hit_cidr()).unwrap();
    assert_eq!(hit.state, PeerState::Broken, "whatever else passes");
}

#[test]
fn a_path_that_is_smaller_than_what_leaves_in_one_piece_is_no_matter_of_fragments() {
    let sizes = [SMALL, (1200, 1, 1), (1210, 1, 0), (1350, 1, 0), LOST];
    let (plan, diagnosis) = judged(&sizes, |evidence, _| set_uplink_mtu(evidence, 1400));
    let expected = format!("path-mtu-blackhole {}", plan.hit_cidr());
    assert_eq!(told(&diagnosis), [expected, "tunnel-fragments-outer flannel.1".to_owned()]);
}

/// As a router has told by ICMP, or a route says: pods are told.
#[test]
fn a_limit_that_the_kernel_knows_of_is_no_black_hole() {
    let sizes = [SMALL, (1345, 1, 1), (1353, 3, 0), LOST];
    let heeded = |evidence: &mut Evidence, _: &Plan| {
        let peers = &mut evidence.probes.as_mut().unwrap().peers;
        peers.iter_mut().for_each(|peer| peer.heeded = !peer.is_full());
    };
    let (_, diagnosis) = judged(&sizes, heeded);
    assert_eq!(told(&diagnosis), [""; 0]);
    assert!(diagnosis.unseen.iter().any(|line| line.contains("the kernel knows it")));
    // A smaller one than that of this node's own device nobody knows of.
    let sizes = [SMALL, (1200, 1, 1), (1208, 3, 0), (1350, 3, 0), LOST];
    let (plan, diagnosis) = judged(&sizes, |evidence, plan| {
        set_uplink_mtu(evidence, 1400);
        heeded(evidence, plan);
    });
    assert_eq!(told(&diagnosis)[0], format!("path-mtu-blackhole {}", plan.hit_cidr()));
}

/// What arrives in fragments is lost for its size alone.
#[test]
fn fragments_that_arrive_are_not_told_to_be_lost() {
    let sizes = [SMALL, (1350, 1, 1), (1351, 1, 1), (1400, 1, 1), (1408, 3, 0), LOST];
    let (_, diagnosis) = judged(&sizes, |evidence, _| set_uplink_mtu(evidence, 1400));
    assert_eq!(told(&diagnosis), ["tunnel-fragments-outer flannel.1"]);
}

#[test]
fn what_this_node_drops_for_its_size_is_not_the_paths() {
    let sizes = [SMALL, (1350, 1, 1), (1351, 1, 0), LOST];
    let (_, diagnosis) = judged(&sizes, |evidence, _| {
        set_uplink_mtu(evidence, 1400);
        let links = &mut tables(evidence).links;
        let overlay = links.iter_mut().find(|link| link.index == OVERLAY).unwrap();
        overlay.vxlan.as_mut().unwrap().df = DontFragment::Set;
    });
    assert_eq!(told(&diagnosis), ["outer-df-set flannel.1"]);
}

#[test]
fn answers_that_prove_nothing_are_words() {
    for (sizes, words) in [
        (&[][..], Some("no probe is answered")),
        (&[(128, 4, 3), LOST], Some("small probes were lost too")),
        (&[SMALL, (1450, 0, 0)], Some("this node sends no full ones")),
        (&[(1450, 1, 1)], None),
        (&[SMALL, (1450, 4, 1)], None),
    ] {
        let (_, diagnosis) = judged(sizes, |_, _| {});
        assert_eq!(told(&diagnosis), [""; 0], "{sizes:?}");
        let line = diagnosis.unseen.iter().find(|line| line.starts_with("which sizes pass"));
        match (line, words) {
            (Some(line), Some(words)) => assert!(line.contains(words), "{line}"),
            (None, None) => {}
            other => panic!("{sizes:?}: {other:?}"),
        }
    }
}
