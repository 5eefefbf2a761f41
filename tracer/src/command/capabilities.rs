//! `capabilities`: what works on this kernel with these privileges.

use anyhow::Context as _;
use serde::Serialize;
use tracer::{
    evidence::{Capability, CapabilityState, Intent, Roles, Tables},
    kernel, netlink, process,
    topology::Topology,
};

use super::{Failure, Status, say, unobserved};
use crate::cli::{CapabilitiesArgs, Format};

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
    let topology = Topology::from_parts(Some(&tables), &intent, &roles, None);
    features.extend(kernel::probe(&kernel::plan(&topology, &tables)));
    features
}

fn print_json(features: Vec<Capability>) -> Result<(), Failure> {
    let answer = Answer { schema: "flannel-tracer/capabilities/v1", features };
    let text = serde_json::to_string(&answer).context("writing JSON").map_err(unobserved)?;
    say(|out| Ok(writeln!(out, "{text}")?))
}

fn print_text(features: &[Capability]) -> Result<(), Failure> {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    for Capability { feature, state, because } in features {
        let state = match state {
            CapabilityState::On => "on",
            CapabilityState::Degraded => "degraded",
            CapabilityState::Off => "off",
        };
        table.add_row([feature, state, because.as_str()]);
    }
    say(|out| Ok(writeln!(out, "{}", table.trim_fmt())?))
}
