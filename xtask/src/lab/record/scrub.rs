//! Evidence without what ties it to the machine and the moment of its recording. Pure, but for the
//! machine's own name, which must not be left.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde_json::{Value, json};

/// When everything was recorded.
const START: &str = "2026-01-01T12:00:00Z";
/// Where flannel keeps its files on a node.
const FLANNEL: &str = "/run/flannel";
/// The process id of the lab's flannel.
const PID: u32 = 1000;

/// Saved evidence as it is kept. `node_folder` is where the lab keeps the node's files.
pub(super) fn scrub(text: &str, node_folder: &Path) -> Result<String> {
    let folder = node_folder.to_str().context("the lab's folder is no text")?;
    let mut evidence: Value =
        serde_json::from_str(&text.replace(folder, FLANNEL)).context("not JSON")?;
    let before = move_in_time(&mut evidence["window"]["start"], None)?;
    move_in_time(&mut evidence["flannel"]["since"], before)?;
    if evidence["flannel"]["pid"].is_number() {
        evidence["flannel"]["pid"] = json!(PID);
    }
    // What the machine's kernel can do: no rule asks for it.
    evidence["capabilities"] = json!([]);
    leave_out_nulls(&mut evidence);
    let kernel = evidence["node"]["kernel"].as_str().context("node.kernel")?.to_owned();
    let plain = series(&kernel);
    let scrubbed = serde_json::to_string(&evidence)?.replace(&kernel, &plain) + "\n";
    let name = nix::unistd::gethostname().context("the machine's name")?;
    let name = name.to_string_lossy();
    ensure!(!names(&scrubbed, &name), "it holds this machine's name, {name}");
    Ok(scrubbed)
}

/// A key that is missing reads as one that is null, and takes no room.
fn leave_out_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(leave_out_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(leave_out_nulls),
        _ => {}
    }
}

/// Whether a text has `name` as a word of its own.
fn names(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    text.split(|c| !is_part(c)).any(|word| !word.is_empty() && word == name)
}

/// Moves a time as if the recording had begun at [`START`], and says when it did. Without a
/// `before` the time is that of the beginning itself.
fn move_in_time(time: &mut Value, before: Option<Timestamp>) -> Result<Option<Timestamp>> {
    let Some(text) = time.as_str() else { return Ok(before) };
    let was: Timestamp = text.parse().with_context(|| text.to_owned())?;
    let before = before.unwrap_or(was);
    let start: Timestamp = START.parse().context("a constant")?;
    let moved = start.checked_add(was.duration_since(before)).context("a time")?;
    *time = json!(moved);
    Ok(Some(before))
}

/// `6.18.0` of `6.18.44-cloud-amd64`: what a rule could ask for, and not whose kernel it is.
fn series(kernel: &str) -> String {
    let mut numbers = kernel.split(['.', '-']);
    let mut next = || numbers.next().unwrap_or("0").to_owned();
    format!("{}.{}.0", next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ties_evidence_to_its_recording_is_gone_and_ages_stay() {
        let saved = json!({
            "node": {"name": "n1", "kernel": "6.12.57-host7"},
            "window": {"start": "2031-05-06T07:08:09Z", "seconds": 2.0},
            "flannel": {"pid": 48213, "since": "2031-05-06T07:08:04Z"},
            "intent": {"subnet_env": {"path": "/lab/n1/subnet.env"}},
            "capabilities": [{"because": "2 possible CPUs"}],
            "unseen": ["the modules of 6.12.57-host7"],
            "age": 4.25,
        });
        let scrubbed = scrub(&saved.to_string(), Path::new("/lab/n1")).unwrap();
        let value: Value = serde_json::from_str(&scrubbed).unwrap();
        let expected = json!({
            "node": {"name": "n1", "kernel": "6.12.0"},
            "window": {"start": START, "seconds": 2.0},
            "flannel": {"pid": PID, "since": "2026-01-01T11:59:55Z"},
            "intent": {"subnet_env": {"path": "/run/flannel/subnet.env"}},
            "capabilities": [],
            "unseen": ["the modules of 6.12.0"],
            "age": 4.25,
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn a_machine_is_named_by_a_word_and_not_by_a_part_of_one() {
        assert!(names(r#"{"name":"vm"}"#, "vm") && names("on vm.", "vm"));
        assert!(!names("/sys/kernel/btf/vmlinux, my-vm", "vm") && !names("", "vm"));
    }

    #[test]
    fn a_flannel_without_a_time_has_none() {
        let saved = json!({
            "node": {"kernel": "6.1"},
            "window": {"start": "2031-05-06T07:08:09Z"},
            "flannel": {"pid": null, "since": null},
        });
        let scrubbed = scrub(&saved.to_string(), Path::new("/lab/n1")).unwrap();
        assert!(scrubbed.contains(r#""flannel":{}"#), "{scrubbed}");
        assert!(scrubbed.contains(START), "{scrubbed}");
    }
}
