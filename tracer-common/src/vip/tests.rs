use core::net::IpAddr;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn client(number: u32) -> VipAddress {
    mapped(0x0a00_0000 + number)
}

fn sum(counts: &VipCounts) -> u64 {
    counts.clients().map(Client::requests).sum::<u64>() + counts.other_requests()
}

#[test]
fn an_address_and_its_key_are_one() {
    for text in ["192.0.2.7", "2001:db8::7", "::1"] {
        let address: IpAddr = text.parse().unwrap();
        assert_eq!(ip(key(address)), address);
        assert!(hint(&key(address)) < HINTS);
        assert!(!is_unspecified(&key(address)));
    }
    for text in ["0.0.0.0", "::"] {
        assert!(is_unspecified(&key(text.parse::<IpAddr>().unwrap())));
    }
}

#[test]
fn a_mac_and_its_number_are_one() {
    let octets = [0x02, 0xff, 0, 0x0a, 0xbc, 0x10];
    let half = |at: usize| u16::from_ne_bytes([octets[at], octets[at + 1]]);
    assert_eq!(mac(mac_number([half(0), half(2), half(4)])), octets);
}

#[test]
fn a_client_is_remembered_with_its_last_times() {
    let mut counts = VipCounts::NONE;
    for second in 1..=5 {
        counts.request(IN, client(1), 7, second * SECOND);
    }
    counts.request(OUT, client(9), 7, 6 * SECOND);
    let clients: Vec<&Client> = counts.clients().collect();
    assert_eq!((clients.len(), clients[0].requests()), (1, 5));
    assert_eq!(clients[0].times(), [5, 4, 3, 2].map(|second| second * SECOND));
    assert_eq!(counts.requests(), [5, 1]);
}

#[test]
fn who_asks_whether_the_address_is_free_is_no_client() {
    let mut counts = VipCounts::NONE;
    counts.request(IN, mapped(0), 7, SECOND);
    assert_eq!((counts.requests(), counts.clients().count()), ([1, 0], 0));
}

#[test]
fn a_flood_of_clients_is_counted_and_pushes_nobody_out_who_goes_on() {
    let mut counts = VipCounts::NONE;
    counts.request(IN, client(0), 7, SECOND);
    for number in 1..1000 {
        counts.request(IN, client(number), 7, SECOND + u64::from(number));
    }
    counts.request(IN, client(0), 7, 2 * SECOND);
    assert_eq!(counts.clients().count(), CLIENTS);
    assert_eq!(counts.clients().next().unwrap().requests(), 2);
    assert_eq!((sum(&counts), counts.requests()[IN]), (1001, 1001));
    // Once the flood is over, its places are free.
    counts.request(IN, client(0), 7, 60 * SECOND);
    counts.request(IN, client(5000), 7, 60 * SECOND);
    assert!(counts.clients().any(|it| it.address() == client(5000)));
    assert_eq!((sum(&counts), counts.requests()[IN]), (1003, 1003));
}

#[test]
fn spoofed_replies_take_eight_places_and_are_all_counted() {
    let mut counts = VipCounts::NONE;
    for mac in 1..=100 {
        counts.claim(IN, mac, mac % 2 == 0, mac);
    }
    counts.claim(OUT, 3, true, 200);
    assert_eq!(counts.announcers().count(), MACS);
    assert_eq!((counts.replies(), counts.gratuitous()), ([50, 0], [50, 1]));
    let third = counts.announcers().find(|it| it.mac() == 3).unwrap();
    assert_eq!((third.replies(), third.gratuitous(), third.seen()), ([1, 0], [0, 1], (3, 200)));
}

#[test]
fn an_owner_that_follows_another_leaves_a_gap() {
    let mut owner = Owner::default();
    owner.claim(1, true, 10);
    owner.claim(1, false, 20);
    assert_eq!((owner.changes, owner.gap()), (0, None));
    owner.claim(2, true, 50);
    owner.claim(2, true, 60);
    assert_eq!((owner.mac, owner.since, owner.last, owner.changes), (2, 50, 60, 1));
    assert_eq!((owner.former, owner.gap()), (1, Some(30)));
}
