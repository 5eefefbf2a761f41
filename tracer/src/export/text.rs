//! The text of `check`: for a person at a terminal in the middle of an incident.

mod joined;
mod probes;
mod vips;

use std::{
    fmt::Write as _,
    io::{self, Write},
    path::Path,
};

use anstyle::{AnsiColor, Style};
use jiff::{Timestamp, tz::TimeZone};
use textwrap::Options;

pub use self::joined::{render_joined, write_joined};
use super::{dns, words};
use crate::{
    diagnose::{Diagnosis, Finding, PeerState, PeerVerdict, Severity, Since},
    evidence::{Evidence, Family},
    intent::subnet_env,
};

/// Columns of the output.
const WIDTH: usize = 100;
/// Columns of a line's label.
const LABEL: usize = 10;
/// Columns of the label of a finding's line.
const DETAIL: usize = 12;
/// With more peers than this only their number is told.
const MOST_PEERS: usize = 20;

/// Writes the text of `check`. `status` is the exit status that will follow. Styles are written
/// as escape sequences: let `out` be an [`anstream::AutoStream`] to have them only on terminals.
pub fn write(
    out: &mut dyn Write,
    diagnosis: &Diagnosis,
    evidence: &Evidence,
    status: u8,
) -> io::Result<()> {
    out.write_all(render(diagnosis, evidence, status).as_bytes())
}

/// The text of `check`, with styles.
#[must_use]
pub fn render(diagnosis: &Diagnosis, evidence: &Evidence, status: u8) -> String {
    let mut text = wrap("", &header(diagnosis, evidence));
    for one in &diagnosis.findings {
        text.push_str(&finding(one, evidence));
    }
    text.push_str(&labelled("peers", &peers(&diagnosis.peers)));
    for (number, line) in vips::lines(evidence).iter().enumerate() {
        text.push_str(&labelled(if number == 0 { "vips" } else { "" }, line));
    }
    if let Some(servers) = evidence.dns.as_ref().and_then(dns::in_words) {
        text.push_str(&labelled("dns", &servers));
    }
    if let Some(line) = probes::line(evidence) {
        text.push_str(&labelled("probes", &line));
    }
    if !diagnosis.unseen.is_empty() {
        text.push_str(&labelled("not seen", &diagnosis.unseen.join("; ")));
    }
    let _ = writeln!(text, "{}", verdict(diagnosis, evidence, status));
    text
}

/// Who and what.
fn header(diagnosis: &Diagnosis, evidence: &Evidence) -> String {
    let mut parts = vec![format!("node {}", evidence.node.name)];
    parts.extend(diagnosis.node_ip.map(|ip| ip.to_string()));
    if !diagnosis.pod_cidrs.is_empty() {
        let cidrs: Vec<String> = diagnosis.pod_cidrs.iter().map(ToString::to_string).collect();
        parts.push(format!("pods {}", cidrs.join(", ")));
    }
    parts.extend(other_subnet_file(evidence));
    parts.push(format!("kernel {}", evidence.node.kernel));
    parts.push(overlay(evidence));
    parts.extend(words::platform(evidence.node.platform).map(|name| format!("[{name}]")));
    parts.join("  ")
}

/// The subnet file that was read, unless it is the node's own in its usual place.
fn other_subnet_file(evidence: &Evidence) -> Option<String> {
    let path = &evidence.intent.subnet_env.as_ref()?.path;
    (path != Path::new(subnet_env::USUAL_PLACE)).then(|| format!("by {}", path.display()))
}

fn overlay(evidence: &Evidence) -> String {
    let links = words::role_links(evidence);
    let overlays = links.iter().filter(|it| it.role == "overlay").filter_map(|it| {
        let vxlan = it.link.vxlan.as_ref()?;
        Some(format!("{} (VNI {}, UDP {})", it.link.name, vxlan.vni, vxlan.port))
    });
    let overlays: Vec<String> = overlays.collect();
    let overlay = (!overlays.is_empty()).then(|| format!("overlay {}", overlays.join(" and ")));
    let uplinks: Vec<&str> =
        links.iter().filter(|it| it.role == "uplink").map(|it| it.link.name.as_str()).collect();
    let uplinks = uplinks.join(", ");
    match overlay {
        Some(overlay) if uplinks.is_empty() => overlay,
        Some(overlay) => format!("{overlay} via {uplinks}"),
        None if uplinks.is_empty() => "no overlay device".to_owned(),
        None => format!("no overlay device  uplink {uplinks}"),
    }
}

/// The lines of a finding, with styles.
#[must_use]
pub fn finding(finding: &Finding, evidence: &Evidence) -> String {
    finding_on(finding, evidence, None)
}

/// The lines of a finding, with the node where it was found.
fn finding_on(finding: &Finding, evidence: &Evidence, node: Option<&str>) -> String {
    let style = severity_style(finding.severity);
    let severity = finding.severity.name().to_uppercase();
    let bold = Style::new().bold();
    let head =
        format!("{style}{severity}{style:#}  {bold}{}{bold:#}  {}", finding.code, finding.title);
    let mut text = wrap("", &head);
    text.push_str(&node.map(|node| labelled("  on", node)).unwrap_or_default());
    text.push_str(&labelled("  since", &since(&finding.since, evidence)));
    text.push_str(&labelled("  impact", &impact(finding, evidence)));
    for (number, line) in finding.evidence.iter().enumerate() {
        text.push_str(&labelled(if number == 0 { "  evidence" } else { "  " }, line));
    }
    for (number, line) in repairs(finding).iter().enumerate() {
        text.push_str(&repair(if number == 0 { "  repair" } else { "" }, line));
    }
    text
}

fn since(since: &Since, evidence: &Evidence) -> String {
    let start = evidence.window.start;
    if let Some(time) = since.time {
        return format!("{}, {} ago", clock(time, start), ago(time, start));
    }
    let not_after = match since.not_after {
        Some(time) if time <= start => {
            format!("not after {} (before this check)", clock(time, start))
        }
        Some(time) => format!("not after {} (seen in this check)", clock(time, start)),
        None => "unknown".to_owned(),
    };
    match since.not_before {
        Some(time) => {
            format!("{not_after}; not before {}, {} ago", clock(time, start), ago(time, start))
        }
        None => not_after,
    }
}

fn impact(finding: &Finding, evidence: &Evidence) -> String {
    let impact = finding.impact;
    let seconds = evidence.window.seconds;
    let packets = if evidence.traffic.is_none() || seconds == 0.0 {
        "packets were not observed".to_owned()
    } else if impact.flows == 0 {
        format!("{} in {seconds:.1} s", count(impact.packets, "packet"))
    } else {
        let flows = count(impact.flows, "flow");
        format!("{} of {flows} in {seconds:.1} s", count(impact.packets, "packet"))
    };
    if finding.breaks.is_empty() {
        packets
    } else {
        format!("{packets}; breaks: {}", finding.breaks.join(", "))
    }
}

/// A note in parentheses stands behind its command where both fit on one line.
fn repairs(finding: &Finding) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in &finding.remedy {
        match lines.last_mut() {
            Some(last)
                if line.starts_with('(') && DETAIL + last.len() + 2 + line.len() <= WIDTH =>
            {
                last.push_str("  ");
                last.push_str(line);
            }
            _ => lines.push(line.clone()),
        }
    }
    lines
}

fn peers(peers: &[PeerVerdict]) -> String {
    if peers.is_empty() {
        return "none known".to_owned();
    }
    if peers.len() > MOST_PEERS {
        return format!("{}: {}", peers.len(), by_state(peers));
    }
    // A node of both IP versions is told by its networks.
    let is_dual = peers.iter().any(|it| Family::of_net(it.cidr) != Family::of_net(peers[0].cidr));
    let told: Vec<String> = peers.iter().map(|it| peer(it, is_dual)).collect();
    format!("{}: {}", peers.len(), told.join(" · "))
}

fn by_state(peers: &[PeerVerdict]) -> String {
    let states = [
        PeerState::Broken,
        PeerState::OneWayOut,
        PeerState::OneWayIn,
        PeerState::Unverified,
        PeerState::Ok,
    ];
    let counts: Vec<String> = states
        .iter()
        .filter_map(|state| {
            let number = peers.iter().filter(|peer| peer.state == *state).count();
            (number > 0).then(|| format!("{number} {}", state.name()))
        })
        .collect();
    counts.join(", ")
}

fn peer(peer: &PeerVerdict, is_dual: bool) -> String {
    let by_name = || match (peer.name.as_deref()?, is_dual) {
        (name, true) => Some(format!("{name} {}", Family::of_net(peer.cidr).name())),
        (name, false) => Some(name.to_owned()),
    };
    let who = by_name().unwrap_or_else(|| match peer.node_ip {
        Some(ip) => format!("{} ({ip})", peer.cidr),
        None => peer.cidr.to_string(),
    });
    let state = match peer.state {
        PeerState::Broken => "BROKEN (above)",
        PeerState::Ok => "ok (traffic both ways)",
        PeerState::OneWayOut => "one-way-out (packets left, none came)",
        PeerState::OneWayIn => "one-way-in (packets came, none left)",
        PeerState::Unverified => "unverified (no traffic)",
    };
    format!("{who} {state}")
}

fn verdict(diagnosis: &Diagnosis, evidence: &Evidence, status: u8) -> String {
    let number = diagnosis.findings.len() as u64;
    let found = if number == 0 { "no finding".to_owned() } else { count(number, "finding") };
    format!("{found}, {:.1} s, exit {status}", evidence.window.seconds)
}

fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// A time of the day of `start`, else with its date.
fn clock(time: Timestamp, start: Timestamp) -> String {
    let (time, start) = (time.to_zoned(TimeZone::UTC), start.to_zoned(TimeZone::UTC));
    let format = if time.date() == start.date() { "%H:%M:%S UTC" } else { "%Y-%m-%d %H:%M:%S UTC" };
    time.strftime(format).to_string()
}

/// The two greatest units between two times.
fn ago(time: Timestamp, until: Timestamp) -> String {
    let seconds = until.duration_since(time).as_secs().max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// A label and its text, wrapped under the text's first column.
fn labelled(label: &str, text: &str) -> String {
    let width = if label.starts_with(' ') { DETAIL } else { LABEL };
    wrap(&format!("{label:<width$}"), text)
}

/// A command that is too long goes on after a backslash, so that it can be copied as it stands.
fn repair(label: &str, text: &str) -> String {
    let label = format!("{label:<DETAIL$}");
    if text.starts_with('(') || label.len() + text.len() <= WIDTH {
        return wrap(&label, text);
    }
    let lines = textwrap::wrap(text, options(WIDTH - DETAIL - 2));
    format!("{label}{}\n", lines.join(&format!(" \\\n{:DETAIL$}", "")))
}

fn wrap(label: &str, text: &str) -> String {
    let indent = " ".repeat(if label.is_empty() { DETAIL } else { label.len() });
    let options = options(WIDTH).initial_indent(label).subsequent_indent(&indent);
    let mut wrapped = textwrap::fill(text, options);
    wrapped.push('\n');
    wrapped
}

/// Names and commands are broken at spaces alone.
fn options<'a>(width: usize) -> Options<'a> {
    Options::new(width)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .word_separator(textwrap::WordSeparator::AsciiSpace)
        .wrap_algorithm(textwrap::WrapAlgorithm::FirstFit)
        .break_words(false)
}

const fn severity_style(severity: Severity) -> Style {
    let colour = match severity {
        Severity::Critical => AnsiColor::Red,
        Severity::Warning => AnsiColor::Yellow,
        Severity::Info => AnsiColor::Cyan,
    };
    colour.on_default().bold()
}
