//! The text for several nodes that were judged together.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use super::{LABEL, WIDTH, count, finding_on, header, labelled, peers, wrap};
use crate::{
    diagnose::{Joined, JoinedNode, PeerState, PeerVerdict},
    evidence::{Evidence, Family},
};

/// Columns of a cell of the matrix.
const CELL: usize = 11;
/// The fewest columns for a node's number and name beside its row.
const NAME: usize = 20;
/// Columns of a node's number and the space about it.
const NUMBER: usize = 3;
/// How many ways are told one by one where there is no room for a matrix.
const MOST_WAYS: usize = 20;

/// Writes the text of `check` for several nodes, as [`super::write`] does for one.
pub fn write_joined(
    out: &mut dyn Write,
    joined: &Joined,
    evidence: &[Evidence],
    status: u8,
) -> io::Result<()> {
    out.write_all(render_joined(joined, evidence, status).as_bytes())
}

/// The text of `check` for several nodes, with styles. `evidence` is that of the joined nodes, in
/// their order.
#[must_use]
pub fn render_joined(joined: &Joined, evidence: &[Evidence], status: u8) -> String {
    let mut text = String::new();
    for (node, evidence) in joined.nodes.iter().zip(evidence) {
        text.push_str(&wrap("", &header(&node.diagnosis, evidence)));
    }
    for found in &joined.findings {
        let (node, evidence) = (&joined.nodes[found.node], &evidence[found.node]);
        text.push_str(&finding_on(&found.finding, evidence, Some(&node.label)));
    }
    text.push_str(&ways(joined));
    text.push_str(&all_others(joined));
    if !joined.unseen.is_empty() {
        text.push_str(&labelled("not seen", &joined.unseen.join("; ")));
    }
    let number = joined.findings.len() as u64;
    let found = if number == 0 { "no finding".to_owned() } else { count(number, "finding") };
    let _ = writeln!(text, "{found}, {} nodes, exit {status}", joined.nodes.len());
    text
}

/// Who reaches whom: a matrix for each IP version, or without room what is not ok.
fn ways(joined: &Joined) -> String {
    let peers = || joined.nodes.iter().flat_map(|node| &node.diagnosis.peers);
    let has = |family: &Family| peers().any(|peer| is_of(peer, *family));
    let families: Vec<Family> = Family::ALL.into_iter().filter(has).collect();
    let room = WIDTH.saturating_sub(LABEL + joined.nodes.len() * CELL);
    let of_family = |(number, family): (usize, &Family)| {
        let label = if number == 0 { "peers" } else { "" };
        let title = if families.len() > 1 { family.name() } else { "from" };
        if room < NAME {
            labelled(label, &listed(joined, *family))
        } else {
            matrix(joined, *family, (label, title), room)
        }
    };
    let text: String = families.iter().enumerate().map(of_family).collect();
    if text.is_empty() { labelled("peers", "none known") } else { text }
}

fn matrix(joined: &Joined, family: Family, (label, title): (&str, &str), room: usize) -> String {
    let nodes = joined.nodes.iter();
    let names: Vec<String> = nodes.map(|it| shortened(&it.label, room - NUMBER)).collect();
    let longest = names.iter().map(|it| it.chars().count()).max().unwrap_or_default();
    let width = (longest + NUMBER).max(NAME);
    let numbers: Vec<String> = (1..=names.len()).map(|number| number.to_string()).collect();
    let mut text = line(label, width, &format!("{title} \\ to"), &numbers);
    for (row, name) in names.iter().enumerate() {
        let columns = 0..names.len();
        let cells: Vec<String> = columns.map(|it| cell(joined, row, it, family)).collect();
        text.push_str(&line("", width, &format!("{} {name}", row + 1), &cells));
    }
    text
}

fn line(label: &str, width: usize, name: &str, cells: &[String]) -> String {
    let cells: String = cells.iter().map(|cell| format!("{cell:<CELL$}")).collect();
    format!("{}\n", format!("{label:<LABEL$}{name:<width$}{cells}").trim_end())
}

fn cell(joined: &Joined, from: usize, to: usize, family: Family) -> String {
    if from == to { "-" } else { word(joined, from, to, family) }.to_owned()
}

fn listed(joined: &Joined, family: Family) -> String {
    let label = |node: usize| &joined.nodes[node].label;
    let mut open = Vec::new();
    let mut all = 0;
    for from in 0..joined.nodes.len() {
        for to in (0..joined.nodes.len()).filter(|to| *to != from) {
            all += 1;
            let word = word(joined, from, to, family);
            if word != "ok" {
                open.push(format!("{} to {} {word}", label(from), label(to)));
            }
        }
    }
    let more = open.len().saturating_sub(MOST_WAYS);
    let mut told = vec![format!("{}: {} of {all} ways ok", family.name(), all - open.len())];
    told.extend(open.into_iter().take(MOST_WAYS));
    told.extend((more > 0).then(|| format!("and {more} more")));
    told.join(" · ")
}

/// How one node sees another.
fn word(joined: &Joined, from: usize, to: usize, family: Family) -> &'static str {
    let cidrs = &joined.nodes[to].diagnosis.pod_cidrs;
    let mut rows = joined.nodes[from].diagnosis.peers.iter();
    let row = rows.find(|it| is_of(it, family) && cidrs.contains(&it.cidr));
    match row.map(|it| it.state) {
        Some(PeerState::Ok) => "ok",
        Some(PeerState::Broken) => "BROKEN",
        Some(PeerState::OneWayOut | PeerState::OneWayIn) => "one-way",
        Some(PeerState::Unverified) => "unverified",
        None => "unknown",
    }
}

/// The peers of which there is no evidence, a line for each node that has some.
fn all_others(joined: &Joined) -> String {
    let has_evidence = |it: &&PeerVerdict| {
        joined.nodes.iter().any(|node| node.diagnosis.pod_cidrs.contains(&it.cidr))
    };
    let of = |node: &JoinedNode| {
        let all = node.diagnosis.peers.iter();
        let others: Vec<PeerVerdict> = all.filter(|it| !has_evidence(it)).cloned().collect();
        (!others.is_empty())
            .then(|| labelled("", &format!("others of {}: {}", node.label, peers(&others))))
    };
    joined.nodes.iter().filter_map(of).collect()
}

fn is_of(peer: &PeerVerdict, family: Family) -> bool {
    Family::of_net(peer.cidr) == family
}

fn shortened(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(room.saturating_sub(1)).collect();
    short.push('…');
    short
}
