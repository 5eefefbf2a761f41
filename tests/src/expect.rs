//! What a tracer must say on a node of a lab, held against what it said. Pure.

#[cfg(test)]
mod tests;

use std::{collections::HashSet, fmt};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{
    fault::{Fault, Reach, Severity, Subject},
    kernel,
    plan::{Family, Plan, Site},
    tracer::{CheckOutput, Intent},
};

/// The first kernel that says why it drops.
const FIRST_WITH_REASONS: (u32, u32) = (5, 17);
/// The exit status for a node with nothing wrong.
const FINE: i32 = 0;
/// The exit status for a node with findings.
const FINDINGS: i32 = 1;

/// The codes that say where packets end, and not why.
const NAMES_NO_CAUSE: [&str; 2] = ["tunnel-one-way", "unexplained-loss"];

/// A fault at its site, and what everybody must say about it.
#[derive(Debug, Clone, Copy)]
pub struct Injected<'a> {
    /// The lab.
    pub plan: &'a Plan,
    /// The fault.
    pub fault: &'a Fault,
    /// Where it is.
    pub site: Site,
}

/// What an answer was right to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// The fault itself.
    Itself,
    /// The fault itself, as likely: what proves it cannot be read.
    Likely,
    /// A lesser code about the node that has the fault.
    Lesser,
    /// Nothing.
    Nothing,
}

/// Nothing is wrong, and the exit status says so.
///
/// # Errors
/// What was said instead.
pub fn no_finding(answer: &CheckOutput) -> Result<()> {
    nothing_wrong(&[], answer)
}

/// Nothing is wrong: there are no findings but these, which are only good to know.
///
/// # Errors
/// What was said instead.
pub fn nothing_wrong(infos: &[&str], answer: &CheckOutput) -> Result<()> {
    let findings = answer.json["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_info = |finding: &Value| {
        finding["severity"] == Severity::Info.name()
            && infos.iter().any(|code| finding["code"] == *code)
    };
    ensure!(findings.iter().all(is_info), "finds {:?}", findings_in_short(answer));
    status(answer, FINE)
}

/// The findings are these and no others: code and subject of each, most severe first.
///
/// # Errors
/// What was said instead.
pub fn only(expected: &[(&str, &str)], answer: &CheckOutput) -> Result<()> {
    let (findings, drops) = (&answer.json["findings"], &answer.json["drops"]);
    ensure!(
        answer.findings() == expected,
        "not {expected:?}: {findings:#}\nunseen: {:#}\ndrops: {drops:#}",
        answer.json["unseen"]
    );
    Ok(())
}

/// The peers are exactly `others` in every family, all of them `ok`.
///
/// # Errors
/// What was said instead.
pub fn peers_are_ok(plan: &Plan, others: &[usize], answer: &CheckOutput) -> Result<()> {
    let ends = others.iter().flat_map(|other| ends(plan, *other));
    let mut expected: Vec<(String, String)> =
        ends.map(|(node, family)| (subnet(plan, node, family), "ok".to_owned())).collect();
    expected.sort();
    let mut states = peer_states(answer)?;
    states.sort();
    ensure!(states == expected, "says of the peers {states:?}, not {expected:?}");
    Ok(())
}

/// Tables and stages were both observed.
///
/// # Errors
/// What was not.
pub fn observed(answer: &CheckOutput) -> Result<()> {
    for what in ["tables", "stages"] {
        let unseen = &answer.json["unseen"];
        ensure!(
            answer.json["coverage"][what] == true,
            "coverage.{what} is not true; unseen: {unseen}"
        );
    }
    Ok(())
}

// === impl Said ===

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Itself => "itself",
            Self::Likely => "likely",
            Self::Lesser => "lesser",
            Self::Nothing => "nothing",
        })
    }
}

// === impl Injected ===

impl Injected<'_> {
    /// Holds an answer from one of the nodes against the fault. A node that talks to the victim
    /// must say a lesser code.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn judge(&self, node: usize, intent: Intent, answer: &CheckOutput) -> Result<Said> {
        observed(answer)?;
        let is_proven = intent == Intent::PeersFile || self.fault.without_peers.is_empty();
        if node == self.site.victim && !is_proven {
            self.judge_lessers(self.site.peer, self.fault.without_peers, answer)?;
            return Ok(Said::Lesser);
        }
        if node == self.site.victim && self.is_unread(answer) {
            return self.judge_without_drops(answer);
        }
        if node == self.site.victim {
            self.judge_victim(intent, answer)?;
            return Ok(Said::Itself);
        }
        let affected = self.fault.affected(self.plan, self.site).contains(&node);
        let may_be = self.fault.reach == Reach::OnePod && !answer.findings().is_empty();
        if affected || may_be {
            let expected = self.fault.told_there(self.plan);
            self.judge_lessers(self.site.victim, &expected, answer)?;
            return Ok(Said::Lesser);
        }
        no_finding(answer)?;
        peers_are_ok(self.plan, &self.plan.others(node), answer)?;
        Ok(Said::Nothing)
    }

    /// Whether drops prove the fault, and are not read as far as that.
    fn is_unread(&self, answer: &CheckOutput) -> bool {
        let release = answer.json["node"]["kernel"].as_str().unwrap_or_default();
        let has_no_reasons = kernel::is_older(release, FIRST_WITH_REASONS);
        self.fault.by_drops && (self.fault.by_reasons && has_no_reasons || !reads_drops(answer))
    }

    /// The node that has a fault which drops prove, and cannot read whose packets they are: where
    /// stages miss them it tells the likely cause, else nothing. Of a pod it may be either.
    fn judge_without_drops(&self, answer: &CheckOutput) -> Result<Said> {
        let is_silent = self.fault.reach == Reach::OnePod && answer.findings().is_empty();
        if self.fault.reach == Reach::Nobody || is_silent {
            no_finding(answer)?;
            return Ok(Said::Nothing);
        }
        let (finding, expected) = (only_finding(answer)?, self.fault.here(self.plan, self.site));
        let told = (text(finding, "code")?, text(&finding["subject"], "key")?);
        ensure!(told == (expected.code, expected.key.as_str()), "finds {told:?}, not {expected:?}");
        let confidence = text(finding, "confidence")?;
        ensure!(confidence == "likely", "is {confidence} of it without the drops, not likely");
        has_words(finding)?;
        status(answer, FINDINGS)?;
        Ok(Said::Likely)
    }

    /// The node that has the fault: its finding and no other.
    fn judge_victim(&self, intent: Intent, answer: &CheckOutput) -> Result<()> {
        let struck = self.by_family();
        for finding in findings_up_to(struck.len(), answer)? {
            let key = text(&finding["subject"], "key")?;
            let is_its = |it: &&Self| it.fault.here(it.plan, it.site).key == key;
            struck.iter().find(is_its).unwrap_or(&struck[0]).judge_finding(intent, finding)?;
        }
        let expected: HashSet<String> =
            struck.iter().map(|it| it.fault.here(it.plan, it.site).key).collect();
        let found = findings_up_to(struck.len(), answer)?.len();
        ensure!(found == expected.len(), "finds {found} of what is about {expected:?}");
        status(answer, self.fault.exit_status())?;
        self.victim_peers(intent, answer)
    }

    /// The fault in each of the families that it strikes.
    fn by_family(&self) -> Vec<Self> {
        let struck = self.fault.struck(self.plan, self.site).into_iter();
        struck.map(|family| Self { site: Site { family, ..self.site }, ..*self }).collect()
    }

    /// The finding of the node that has the fault, in the site's family.
    fn judge_finding(&self, intent: Intent, finding: &Value) -> Result<()> {
        let expected = self.fault.here(self.plan, self.site);
        let (code, key) = (text(finding, "code")?, text(&finding["subject"], "key")?);
        ensure!(
            (code, key) == (expected.code, expected.key.as_str()),
            "finds {code} about {key}, not {} about {}: {}",
            expected.code,
            expected.key,
            finding["evidence"]
        );
        is_proven(finding, self.fault.severity)?;
        match self.fault.subject {
            Subject::Node => ensure!(
                finding["subject"]["kind"] == "node",
                "subject.kind is {}",
                finding["subject"]["kind"]
            ),
            Subject::Peer => {
                names_peer(self.plan, self.site.peer, self.site.family, finding)?;
                let known = &finding["subject"]["peer"];
                ensure!(intent != Intent::PeersFile || known.is_string(), "subject.peer is null");
                let packets = finding["impact"]["packets"].as_u64().unwrap_or(0);
                let loses = self.fault.severity == Severity::Critical;
                ensure!(packets > 0 || !loses, "says that no packet was lost");
            }
            Subject::PodAddress => ensure!(
                ["flow", "dns-server"].iter().any(|kind| finding["subject"]["kind"] == *kind)
                    && finding["subject"]["address"] == *expected.key,
                "subject is {}",
                finding["subject"]
            ),
            _ => names_interface(&expected.key, finding)?,
        }
        Ok(())
    }

    /// Broken are the peers that the fault cuts off, in the families that it strikes; the others are
    /// ok. Without a peers file a peer of which nothing is left may be unknown.
    fn victim_peers(&self, intent: Intent, answer: &CheckOutput) -> Result<()> {
        let affected = self.fault.affected(self.plan, self.site);
        let struck = self.fault.struck(self.plan, self.site);
        let states = peer_states(answer)?;
        let others = self.plan.others(self.site.victim);
        let ends: Vec<_> = others.iter().flat_map(|other| ends(self.plan, *other)).collect();
        for (key, state) in &states {
            let is_peer =
                |(node, family): &&(usize, Family)| subnet(self.plan, *node, *family) == *key;
            let Some((peer, family)) = ends.iter().find(is_peer) else {
                bail!("lists a peer {key}, which does not exist")
            };
            let critical = self.fault.severity == Severity::Critical;
            let cut_off = affected.contains(peer) && struck.contains(family);
            let expected = if critical && cut_off { "broken" } else { "ok" };
            ensure!(state == expected, "says that peer {key} is {state}, not {expected}");
        }
        let all_needed = intent == Intent::PeersFile || self.fault.subject == Subject::Peer;
        ensure!(!all_needed || states.len() == ends.len(), "lists only the peers {states:?}");
        Ok(())
    }

    /// A lesser code about a node: the victim, from one that talks to it, or the peer from a victim
    /// that does not know enough; in each family that is struck.
    fn judge_lessers(&self, about: usize, expected: &[&str], answer: &CheckOutput) -> Result<()> {
        let struck = self.by_family();
        let key_of = |it: &Self| subnet(it.plan, about, it.site.family);
        let mut broken = Vec::new();
        for finding in findings_up_to(struck.len(), answer)? {
            let key = text(&finding["subject"], "key")?;
            let its = struck.iter().find(|it| key_of(it) == key).unwrap_or(&struck[0]);
            its.judge_lesser(about, expected, finding)?;
            if finding["severity"] == "critical" {
                broken.push(key);
            }
        }
        let found = answer.json["findings"].as_array().map_or(0, Vec::len);
        let missed = struck.len();
        // Of one pod the node may have told by ICMP in one family, which is an answer.
        let is_enough = found == missed || self.fault.reach == Reach::OnePod && found > 0;
        ensure!(is_enough, "finds {found} of {missed}: {:?}", findings_in_short(answer));
        status(answer, FINDINGS)?;
        let about: Vec<String> = struck.iter().map(key_of).collect();
        for (key, state) in peer_states(answer)? {
            let expected = match about.contains(&key) {
                true if broken.contains(&key.as_str()) => "broken",
                true => state_by_packets(answer, &key)?,
                false => "ok",
            };
            ensure!(state == expected, "says that peer {key} is {state}, not {expected}");
        }
        Ok(())
    }

    /// One of the lesser codes about a node, in the site's family. Of a peer the victim knows but
    /// the address that its wrong table names.
    fn judge_lesser(&self, about: usize, expected: &[&str], finding: &Value) -> Result<()> {
        let code = text(finding, "code")?;
        ensure!(
            expected.contains(&code),
            "finds {code}, not {expected:?}: {}",
            finding["evidence"]
        );
        let mut finding = finding.clone();
        if about != self.site.victim {
            finding["subject"]["peer"] = Value::Null;
        }
        names_peer(self.plan, about, self.site.family, &finding)?;
        let finding = &finding;
        has_words(finding)?;
        let confidence = if NAMES_NO_CAUSE.contains(&code) { "likely" } else { "certain" };
        let told = text(finding, "confidence")?;
        ensure!(told == confidence, "is {told} of it, not {confidence}");
        Ok(())
    }
}

/// Whether the tracer could read whose packets the kernel dropped.
#[must_use]
pub fn reads_drops(answer: &CheckOutput) -> bool {
    let drops = &answer.json["coverage"]["drops"];
    drops != "off" && drops != "degraded"
}

/// The finding of an answer that has one and no more.
///
/// # Errors
/// What was found instead.
pub fn only_finding(answer: &CheckOutput) -> Result<&Value> {
    findings_up_to(1, answer)?.first().context("finds nothing")
}

/// The findings of an answer that has at least one and at most so many, each about another subject.
fn findings_up_to(most: usize, answer: &CheckOutput) -> Result<&[Value]> {
    let findings = answer.json["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
    if findings.is_empty() {
        bail!("finds nothing (exit {}); unseen: {}", answer.status, answer.json["unseen"])
    }
    let keys = findings.iter().map(|it| it["subject"]["key"].to_string());
    let subjects = keys.collect::<HashSet<_>>().len();
    let is_right = subjects == findings.len() && findings.len() <= most;
    ensure!(is_right, "finds {:?}", findings_in_short(answer));
    Ok(findings)
}

/// State of every peer by its key.
///
/// # Errors
/// When an entry has none.
pub fn peer_states(answer: &CheckOutput) -> Result<Vec<(String, String)>> {
    let peers = answer.json["peers"].as_array().context("peers is no list")?;
    let state = |peer| Ok((text(peer, "key")?.to_owned(), text(peer, "state")?.to_owned()));
    peers.iter().map(state).collect()
}

/// What the packets of a peer say about it, where no critical finding does.
fn state_by_packets(answer: &CheckOutput, key: &str) -> Result<&'static str> {
    let peers = answer.json["peers"].as_array().context("peers is no list")?;
    let peer = peers.iter().find(|peer| peer["key"] == key).context("no such peer")?;
    let any = |stage: &str| peer["packets"][stage].as_u64().is_some_and(|packets| packets > 0);
    Ok(match (any("wire_out"), any("overlay_in")) {
        (true, true) => "ok",
        (true, false) => "one-way-out",
        (false, true) => "one-way-in",
        (false, false) => "unverified",
    })
}

/// As severe as the fault, certain, with evidence and remedy.
fn is_proven(finding: &Value, severity: Severity) -> Result<()> {
    for (key, expected) in [("severity", severity.name()), ("confidence", "certain")] {
        let value = text(finding, key)?;
        ensure!(value == expected, "{key} is {value}, not {expected}");
    }
    has_words(finding)
}

fn has_words(finding: &Value) -> Result<()> {
    ensure!(!text(finding, "title")?.is_empty(), "title is empty");
    for key in ["evidence", "remedy"] {
        let lines = finding[key].as_array().with_context(|| format!("{key} is no list"))?;
        ensure!(!lines.is_empty(), "{key} is empty");
        let said = |line: &Value| line.as_str().is_some_and(|line| !line.trim().is_empty());
        ensure!(lines.iter().all(said), "{key} has an empty line");
    }
    Ok(())
}

/// The subject is a peer, with everything that is known of it.
fn names_peer(plan: &Plan, peer: usize, family: Family, finding: &Value) -> Result<()> {
    let subject = &finding["subject"];
    let end = plan.nodes[peer].end(family);
    let (cidr, overlay) = (end.subnet.to_string(), plan.overlay(family));
    for (key, expected) in [
        ("kind", "peer"),
        ("key", cidr.as_str()),
        ("cidr", cidr.as_str()),
        ("interface", overlay.as_str()),
    ] {
        let value = text(subject, key)?;
        ensure!(value == expected, "subject.{key} is {value}, not {expected}");
    }
    for (key, truth) in [("peer", end.ip.to_string()), ("vtep_mac", end.vtep_mac.to_string())] {
        let value = &subject[key];
        ensure!(value.is_null() || *value == truth, "subject.{key} is {value}, not {truth}");
    }
    Ok(())
}

fn names_interface(name: &str, finding: &Value) -> Result<()> {
    let subject = &finding["subject"];
    ensure!(subject["kind"] == "interface", "subject.kind is {}", subject["kind"]);
    ensure!(subject["interface"] == name, "subject.interface is {}", subject["interface"]);
    Ok(())
}

fn status(answer: &CheckOutput, expected: i32) -> Result<()> {
    let status = answer.status;
    ensure!(
        status == expected,
        "exit status is {status}, not {expected}; unseen: {}; it said: {}",
        answer.json["unseen"],
        answer.stderr
    );
    Ok(())
}

/// A node in every family.
fn ends(plan: &Plan, node: usize) -> impl Iterator<Item = (usize, Family)> {
    plan.families().iter().map(move |family| (node, *family))
}

fn subnet(plan: &Plan, node: usize, family: Family) -> String {
    plan.nodes[node].subnet.of(family).to_string()
}

fn text<'v>(value: &'v Value, key: &str) -> Result<&'v str> {
    value[key].as_str().with_context(|| format!("{key} is {}, not text", value[key]))
}

/// Code, subject and evidence of every finding, for a reader of a failure.
fn findings_in_short(answer: &CheckOutput) -> Vec<String> {
    let findings = answer.json["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
    findings
        .iter()
        .map(|it| format!("{} about {}: {}", it["code"], it["subject"]["key"], it["evidence"]))
        .collect()
}
