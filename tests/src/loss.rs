//! Where and why the packets of a fault were lost, as a tracer told it: a line of the table fault,
//! stage, reason, symbol, cause. In a guest it is a line that the host reads back.
//!
//! ```text
//! vm NONCE loss {"case":"fdb-entry-missing","cause":"fdb-entry-missing","reason":"NO_TX_TARGET",…}
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cell::{line_of, said_of, tell_host};

/// What the lines to the host begin with.
const WORD: &str = "loss";
/// What is not known, in a table.
const UNKNOWN: &str = "–";

/// What became of the packets of one fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The fault that was injected.
    pub case: String,
    /// The code that was told: the fault's own, if any node told that.
    pub cause: Option<String>,
    /// The last stage that saw the lost flow.
    pub stage: Option<String>,
    /// The kernel's drop reason; before 5.17 there are none.
    pub reason: Option<String>,
    /// The kernel's function that dropped.
    pub symbol: Option<String>,
}

// === impl Loss ===

impl Loss {
    /// What the answers of a fault's nodes say of it, that of the node that has it first: the place
    /// that dropped most of what was told as lost by it, and the last stage before that. Where no
    /// node has dropped anything itself, the last stage of the busiest flow that was lost.
    #[must_use]
    pub fn of(case: &str, code: &str, answers: &[&Value]) -> Self {
        let tells = |answer: &&&Value, code: &str| codes(answer).any(|it| it == code);
        let is_told = answers.iter().any(|answer| tells(&answer, code));
        let first = || answers.iter().find_map(|answer| codes(answer).next());
        let cause = if is_told { Some(code) } else { first() };
        let own = |text: &str| text.to_owned();
        let mut loss = Self {
            case: own(case),
            cause: cause.map(own),
            stage: None,
            reason: None,
            symbol: None,
        };
        let Some(cause) = cause else { return loss };
        let drop = answers.iter().find_map(|answer| Some((*answer, busiest_drop(answer, cause)?)));
        if let Some((answer, drop)) = drop {
            [loss.reason, loss.symbol] =
                ["reason", "symbol"].map(|key| drop[key].as_str().map(own));
            loss.stage = lost(answer).find(|flow| is_of(flow, &drop["flow"])).and_then(stage);
        } else {
            let mut told = answers.iter().filter(|answer| tells(answer, cause));
            loss.stage = told.find_map(|answer| lost(answer).next()).and_then(stage);
        }
        loss
    }

    /// Says it to the host of this guest; elsewhere it says nothing.
    ///
    /// # Panics
    /// When standard error cannot be written to.
    pub fn say(&self) {
        tell_host(WORD, &json!(self).to_string());
    }

    /// The line for the console of the guest with this nonce.
    #[must_use]
    pub fn line(&self, nonce: &str) -> String {
        line_of(nonce, WORD, &json!(self).to_string())
    }

    /// Reads a line of the console of the guest with this nonce.
    #[must_use]
    pub fn read(line: &str, nonce: &str) -> Option<Self> {
        serde_json::from_str(said_of(line, nonce, WORD)?).ok()
    }

    /// Stage, reason, symbol, cause: the columns of a table.
    #[must_use]
    pub fn words(&self) -> [&str; 4] {
        [&self.stage, &self.reason, &self.symbol, &self.cause]
            .map(|it| it.as_deref().unwrap_or(UNKNOWN))
    }
}

/// A line for each loss, in columns; one for labs of a fault that lose alike.
#[must_use]
pub fn table(losses: &[Loss]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for loss in losses {
        let [stage, reason, symbol, cause] = loss.words();
        let case = &loss.case;
        let line = format!("{case:<41} {stage:<12} {reason:<22} {symbol:<28} {cause}\n");
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.concat()
}

/// The codes of an answer's findings, the most severe first.
fn codes(answer: &Value) -> impl Iterator<Item = &str> {
    let findings = answer["findings"].as_array().into_iter().flatten();
    findings.filter_map(|finding| finding["code"].as_str())
}

/// Of a cause's drops at the place with most of them, that of the busiest flow.
fn busiest_drop<'a>(answer: &'a Value, cause: &str) -> Option<&'a Value> {
    let place = |drop: &Value| [&drop["reason"], &drop["symbol"]].map(Value::to_string);
    let packets = |drop: &Value| drop["packets"].as_u64().unwrap_or(0);
    let of_cause =
        || answer["drops"].as_array().into_iter().flatten().filter(|it| it["cause"] == cause);
    let mut places: BTreeMap<[String; 2], u64> = BTreeMap::new();
    of_cause().for_each(|drop| *places.entry(place(drop)).or_default() += packets(drop));
    let (busiest, _) = places.into_iter().max_by_key(|(_, packets)| *packets)?;
    of_cause().filter(|drop| place(drop) == busiest).max_by_key(|drop| packets(drop))
}

/// The flows that were lost, most packets first.
fn lost(answer: &Value) -> impl Iterator<Item = &Value> {
    let flows = answer["flows"].as_array().into_iter().flatten();
    flows.filter(|flow| flow["lost_after"].is_string())
}

/// Whether a flow is that of a drop, which may know a service by its pod.
fn is_of(flow: &Value, dropped: &Value) -> bool {
    let to = &dropped["destination"];
    flow["source"] == dropped["source"]
        && (flow["destination"] == *to || flow["translated_destination"] == *to)
}

fn stage(flow: &Value) -> Option<String> {
    flow["lost_after"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(drops: Value, told: &str) -> Value {
        let flow = |source: &str, stage: &str| {
            json!({"source": source, "destination": "10.96.0.10", "lost_after": stage,
                   "translated_destination": "10.244.3.5"})
        };
        json!({"findings": [{"code": told}], "drops": drops, "flows": [
            flow("10.244.4.9", "pod_out"), flow("10.244.4.8", "overlay_out")]})
    }

    fn drop(cause: &str, packets: u64, symbol: &str) -> Value {
        json!({"cause": cause, "packets": packets, "symbol": symbol, "reason": null,
               "flow": {"source": "10.244.4.8", "destination": "10.244.3.5"}})
    }

    #[test]
    fn the_place_that_drops_most_is_told_with_the_stage_of_its_flow() {
        let drops = json!([
            drop("unexplained", 99, "ip_forward"),
            drop("fdb-entry-missing", 4, "vxlan_rcv"),
            drop("fdb-entry-missing", 3, "vxlan_xmit"),
            drop("fdb-entry-missing", 2, "vxlan_xmit"),
        ]);
        let answers = [&answer(json!([]), "other"), &answer(drops, "fdb-entry-missing")];
        let loss = Loss::of("fdb", "fdb-entry-missing", &answers);
        assert_eq!(loss.words(), ["overlay_out", UNKNOWN, "vxlan_xmit", "fdb-entry-missing"]);
        assert_eq!(Loss::read(&(loss.line("7af3") + "\r\n"), "7af3"), Some(loss.clone()));
        assert_eq!(Loss::read(&loss.line("7af3"), "0000"), None);
    }

    #[test]
    fn a_drop_of_a_flow_that_no_stage_has_lost_has_no_stage() {
        let mut drop = drop("fw-drops", 4, "nf_hook_slow");
        drop["flow"]["source"] = "10.244.4.7".into();
        let loss = Loss::of("fw", "fw-drops", &[&answer(json!([drop]), "fw-drops")]);
        assert_eq!(loss.words(), [UNKNOWN, UNKNOWN, "nf_hook_slow", "fw-drops"]);
    }

    #[test]
    fn a_lesser_code_is_told_with_its_own_drop_and_only_where_nobody_tells_the_fault() {
        let drops = json!([drop("tunnel-one-way", 4, "vxlan_rcv")]);
        let lesser = answer(drops, "tunnel-one-way");
        let loss = Loss::of("fw", "fw-drops", &[&lesser]);
        assert_eq!(loss.words(), ["overlay_out", UNKNOWN, "vxlan_rcv", "tunnel-one-way"]);
        let loss = Loss::of("fw", "fw-drops", &[&lesser, &answer(json!([]), "fw-drops")]);
        assert_eq!(loss.words(), ["pod_out", UNKNOWN, UNKNOWN, "fw-drops"]);
    }

    #[test]
    fn where_nothing_is_told_or_lost_that_is_said() {
        let mut answer = answer(json!([]), "tunnel-one-way");
        answer["flows"] = json!([]);
        let loss = Loss::of("silent", "peer-node-silent", &[&answer]);
        assert_eq!(loss.words(), [UNKNOWN, UNKNOWN, UNKNOWN, "tunnel-one-way"]);
        assert_eq!(Loss::of("silent", "peer-node-silent", &[]).words(), [UNKNOWN; 4]);
    }
}
