//! Every healthy look-alike carries the traffic of its members, whatever it looks like.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use tracer_tests::{
    lab::{LOCK_WAIT, Lab},
    lookalike::{self, LookAlike},
    plan::{Family, Plan},
    sample::{OF_LAB, Sample},
    traffic::{self, Flow, Limits, Traffic},
};

fn lab(look_alike: &LookAlike, seed: u64) -> Lab {
    Lab::up(Plan::draw(seed, &(look_alike.shape)()), LOCK_WAIT).unwrap()
}

#[test]
fn all_look_alikes_keep_their_members_connected() {
    let share = Sample::of_environment(OF_LAB).unwrap();
    for (index, look_alike) in lookalike::all().iter().enumerate() {
        if !share.has_turn(index, 3) {
            continue;
        }
        let lab = lab(look_alike, 30 + index as u64);
        let own = lab.set_up(look_alike).unwrap();
        let members = (look_alike.members)(lab.plan());
        let mut senders = traffic::all_pairs(lab.plan(), &members);
        for sender in &mut senders {
            sender.limits = Limits::exactly(10, 20.0);
        }
        for (sender, counts) in Traffic::start(senders).finish().unwrap() {
            let name = look_alike.name;
            assert_eq!((counts.sent, counts.answered), (10, 10), "{name}: {sender:?} {counts:?}");
        }
        own.stop().unwrap();
    }
}

#[test]
fn a_removed_peer_does_not_answer_those_who_call_it() {
    let look_alike = lookalike::named("removed-peer-still-called").unwrap();
    let lab = lab(&look_alike, 60);
    lab.set_up(&look_alike).unwrap().stop().unwrap();
    let removed = lab.plan().victim().first_pod().unwrap().ip.of(Family::V4);
    let member = (look_alike.members)(lab.plan())[0];
    let pod = lab.plan().nodes[member].first_pod().unwrap();
    let ping = Flow::Ping { to: removed, ttl: 64 };
    assert_eq!(lab.answered(&pod.namespace, &ping, 2).unwrap(), 0);
}

#[test]
fn metallb_sends_five_announcements_on_three_devices_of_each_family() {
    let look_alike = lookalike::named("metallb-announces").unwrap();
    let lab = lab(&look_alike, 61);
    let sent = lab.set_up(&look_alike).unwrap().finish().unwrap();
    assert_eq!(sent.len(), 6);
    for (sender, counts) in sent {
        assert_eq!((counts.sent, counts.errors), (5, 0), "{sender:?}");
    }
}

#[test]
fn routable_pods_and_clients_of_the_lan_reach_each_other() {
    let look_alike = lookalike::named("routable-pods").unwrap();
    let lab = lab(&look_alike, 63);
    lab.set_up(&look_alike).unwrap().stop().unwrap();
    let mut senders = (look_alike.traffic)(lab.plan());
    for sender in &mut senders {
        sender.limits = Limits::exactly(5, 20.0);
    }
    for (sender, counts) in Traffic::start(senders).finish().unwrap() {
        assert_eq!((counts.sent, counts.answered), (5, 5), "{sender:?} {counts:?}");
    }
}

#[test]
fn who_listens_on_all_devices_hears_the_traffic() {
    let look_alike = lookalike::named("tcpdump-any").unwrap();
    let lab = lab(&look_alike, 64);
    let listeners = lab.set_up(&look_alike).unwrap();
    let all = lab.plan().all_nodes();
    let mut senders = traffic::all_pairs(lab.plan(), &all);
    senders.iter_mut().for_each(|sender| sender.limits = Limits::exactly(10, 20.0));
    Traffic::start(senders).finish().unwrap();
    for (listener, counts) in listeners.stop().unwrap() {
        assert!(counts.answered > 0 && counts.bytes > 0, "{listener:?} {counts:?}");
    }
}

#[test]
fn traceroute_and_closed_ports_get_no_answer_from_the_service() {
    for name in ["traceroute", "closed-ports"] {
        let look_alike = lookalike::named(name).unwrap();
        let lab = lab(&look_alike, 62);
        let mut senders = (look_alike.traffic)(lab.plan());
        senders.retain(|sender| !matches!(sender.flow, Flow::Ping { ttl: 3.., .. }));
        for sender in &mut senders {
            sender.limits = Limits::exactly(2, 20.0);
        }
        for (sender, counts) in Traffic::start(senders).finish().unwrap() {
            assert_eq!((counts.sent, counts.answered), (2, 0), "{sender:?}");
        }
    }
}
