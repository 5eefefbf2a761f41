//! Where and why the packets of a fault were lost, as a tracer told it: a line of the table fault,
//! stage, reason, symbol, cause. In a guest it is a line that the host reads back.
//!
//! ```text
//! vm NONCE loss {"case":"fdb-entry-missing","cause":"fdb-entry-missing","stage":"overlay_out",…}
//! ```

use std::{env, io::Write as _};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cell::NONCE_VARIABLE;

/// What is not known, in a table.
const UNKNOWN: &str = "–";

/// What became of the packets of one fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The fault that was injected.
    pub case: String,
    /// The code that was told.
    pub cause: String,
    /// The last stage that saw a lost flow.
    pub stage: Option<String>,
    /// The kernel's drop reason; before 5.17 there are none.
    pub reason: Option<String>,
    /// The kernel's function that dropped.
    pub symbol: Option<String>,
}

// === impl Loss ===

impl Loss {
    /// What the answers of a fault's nodes say of it, that of the node that has it first: the busiest
    /// drop of the fault's own code, or of what was told instead. `None` where nothing was lost that
    /// was told.
    #[must_use]
    pub fn of(case: &str, code: &str, answers: &[&Value]) -> Option<Self> {
        let told = answers.iter().find_map(|answer| answer["findings"][0]["code"].as_str());
        let causes = || [Some(code), told].into_iter().flatten();
        let dropped = causes().find_map(|cause| {
            answers.iter().find_map(|answer| Some((cause, *answer, dropped(answer, cause)?)))
        });
        if let Some((cause, answer, drop)) = dropped {
            let text = |key: &str| drop[key].as_str().map(str::to_owned);
            let (reason, symbol) = (text("reason"), text("symbol"));
            let (case, cause) = (case.to_owned(), cause.to_owned());
            return Some(Self { case, cause, stage: stage(answer, Some(drop)), reason, symbol });
        }
        let stage = answers.iter().find_map(|answer| stage(answer, None))?;
        let (case, cause) = (case.to_owned(), told?.to_owned());
        Some(Self { case, cause, stage: Some(stage), reason: None, symbol: None })
    }

    /// Says it on standard error to the host of this guest; elsewhere it says nothing.
    ///
    /// # Panics
    /// When standard error cannot be written to.
    pub fn say(&self) {
        let Ok(nonce) = env::var(NONCE_VARIABLE) else { return };
        #[expect(clippy::expect_used, reason = "a result that nobody hears of is none")]
        std::io::stderr()
            .write_all(format!("\n{}\n", self.line(&nonce)).as_bytes())
            .expect("standard error is open");
    }

    /// The line for the console of the guest with this nonce.
    #[must_use]
    pub fn line(&self, nonce: &str) -> String {
        format!("{}{}", head(nonce), json!(self))
    }

    /// Reads a line of the console of the guest with this nonce.
    #[must_use]
    pub fn read(line: &str, nonce: &str) -> Option<Self> {
        serde_json::from_str(line.trim_end().strip_prefix(&head(nonce))?).ok()
    }

    /// Stage, reason, symbol, cause: the columns of a table.
    #[must_use]
    pub fn words(&self) -> [&str; 4] {
        let [stage, reason, symbol] =
            [&self.stage, &self.reason, &self.symbol].map(|it| it.as_deref().unwrap_or(UNKNOWN));
        [stage, reason, symbol, &self.cause]
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

fn head(nonce: &str) -> String {
    format!("vm {nonce} loss ")
}

/// The busiest drop of a cause.
fn dropped<'a>(answer: &'a Value, cause: &str) -> Option<&'a Value> {
    let drops = answer["drops"].as_array()?.iter();
    drops.filter(|drop| drop["cause"] == cause).max_by_key(|drop| drop["packets"].as_u64())
}

/// The last stage that saw the flow of a drop, else the busiest flow of those that were lost.
fn stage(answer: &Value, drop: Option<&Value>) -> Option<String> {
    let ends = |flow: &Value| [&flow["source"], &flow["destination"]].map(Value::to_string);
    let dropped = drop.map(|drop| ends(&drop["flow"]));
    let lost = || {
        answer["flows"].as_array().into_iter().flatten().filter(|it| it["lost_after"].is_string())
    };
    let own = lost().find(|flow| dropped.as_ref().is_some_and(|it| *it == ends(flow)));
    let seen = |flow: &&Value| {
        let stages = flow["packets"].as_object().into_iter().flatten();
        stages.filter_map(|(_, packets)| packets.as_u64()).max()
    };
    let flow = own.or_else(|| lost().max_by_key(seen))?;
    flow["lost_after"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(drops: Value, told: &str) -> Value {
        let flow = |source: &str, stage: &str, packets: u64| {
            json!({"source": source, "destination": "10.244.3.5", "lost_after": stage,
                   "packets": {"pod_out": packets, "overlay_out": 0}})
        };
        json!({"findings": [{"code": told}], "drops": drops, "flows": [
            flow("10.244.4.8", "overlay_out", 3), flow("10.244.4.9", "pod_out", 9)]})
    }

    fn drop(cause: &str, packets: u64, symbol: &str) -> Value {
        json!({"cause": cause, "packets": packets, "symbol": symbol, "reason": null,
               "flow": {"source": "10.244.4.8", "destination": "10.244.3.5"}})
    }

    #[test]
    fn the_busiest_drop_of_the_fault_is_told_with_the_stage_of_its_flow() {
        let drops = json!([
            drop("fdb-entry-missing", 4, "vxlan_xmit"),
            drop("fdb-entry-missing", 2, "vxlan_rcv"),
            drop("unexplained", 99, "ip_forward"),
        ]);
        let answers = [&answer(json!([]), "other"), &answer(drops, "fdb-entry-missing")];
        let loss = Loss::of("fdb", "fdb-entry-missing", &answers).unwrap();
        assert_eq!(loss.words(), ["overlay_out", UNKNOWN, "vxlan_xmit", "fdb-entry-missing"]);
        assert_eq!(Loss::read(&(loss.line("7af3") + "\r\n"), "7af3"), Some(loss.clone()));
        assert_eq!(Loss::read(&loss.line("7af3"), "0000"), None);
    }

    #[test]
    fn a_lesser_code_is_told_with_its_own_drop() {
        let drops = json!([drop("tunnel-one-way", 4, "vxlan_rcv")]);
        let loss = Loss::of("fw", "fw-drops", &[&answer(drops, "tunnel-one-way")]).unwrap();
        assert_eq!(loss.words(), ["overlay_out", UNKNOWN, "vxlan_rcv", "tunnel-one-way"]);
    }

    #[test]
    fn without_a_drop_the_stage_of_the_busiest_flow_is_told_and_without_that_nothing() {
        let mut answer = answer(json!([]), "tunnel-one-way");
        let loss = Loss::of("silent", "peer-node-silent", &[&answer]).unwrap();
        assert_eq!(loss.words(), ["pod_out", UNKNOWN, UNKNOWN, "tunnel-one-way"]);
        answer["flows"] = json!([]);
        assert_eq!(Loss::of("silent", "peer-node-silent", &[&answer]), None);
    }
}
