//! `capabilities`: what works on this kernel with these privileges.

use anyhow::Context as _;
use serde::Serialize;
use tracer::{
    evidence::{Capability, CapabilityState, Intent, Roles, Tables},
    kernel, netlink, process,
    topology::Topologies,
};

use super::{Failure, Status, say, unobserved};
use crate::cli::{CapabilitiesArgs, Format};

/// Columns of the text.
const WIDTH: u16 = 100;

/// The answer in JSON.
#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    features: Vec<Capability>,
}

pub(crate) fn run(args: &CapabilitiesArgs) -> Result<Status, Failure> {
    kernel::require_kernel(&process::kernel_release()).map_err(unobserved)?;
    let features = features();
    let stages_on = features
        .iter()
        .any(|feature| feature.feature == "stages" && feature.state == CapabilityState::On);
    match args.format {
        Format::Json => print_json(features)?,
        Format::Text => print_text(&features)?,
    }
    Ok(if stages_on { Status::Fine } else { Status::Unobserved })
}

fn features() -> Vec<Capability> {
    let (state, because, tables) = match netlink::dump_tables() {
        Ok(tables) => (CapabilityState::On, "read by netlink".to_owned(), tables),
        Err(error) => {
            let because = format!("{error}; lost: every cause that tables prove");
            (CapabilityState::Off, because, Tables::default())
        }
    };
    let mut features = vec![Capability { feature: "tables".to_owned(), state, because }];
    let (intent, roles) = (Intent::default(), Roles::default());
    let topologies = Topologies::from_parts(Some(&tables), &intent, &roles, None);
    features.extend(kernel::probe(&kernel::plan(&topologies, &tables)));
    features
}

fn print_json(features: Vec<Capability>) -> Result<(), Failure> {
    let answer = Answer { schema: "flannel-tracer/capabilities/v1", features };
    let text = serde_json::to_string(&answer).context("writing JSON").map_err(unobserved)?;
    say(|out| Ok(writeln!(out, "{text}")?))
}

fn print_text(features: &[Capability]) -> Result<(), Failure> {
    say(|out| Ok(writeln!(out, "{}", text(features))?))
}

/// A line a feature, wrapped.
fn text(features: &[Capability]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic).set_width(WIDTH);
    for Capability { feature, state, because } in features {
        let state = match state {
            CapabilityState::On => "on",
            CapabilityState::Degraded => "degraded",
            CapabilityState::Off => "off",
        };
        table.add_row([feature, state, because.as_str()]);
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_reasons_are_wrapped_beside_their_feature() {
        let capability = |feature: &str, because: String| Capability {
            feature: feature.to_owned(),
            state: CapabilityState::Degraded,
            because,
        };
        let long = "a reason of many words ".repeat(20);
        let text = text(&[capability("stages", long), capability("btf", "short".to_owned())]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() <= usize::from(WIDTH)), "{text}");
        assert!(lines[0].trim_start().starts_with("stages  degraded  a reason of"), "{text}");
        assert!(lines[1].starts_with("                 "), "{text}");
        assert!(lines.last().is_some_and(|line| line.trim_start().starts_with("btf ")), "{text}");
    }
}
