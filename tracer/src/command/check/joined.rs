//! `check --from A --from B`: the evidence of several nodes, judged together.

use anyhow::anyhow;
use tracer::{
    diagnose::{Joined, diagnose_joined, exit_status_joined},
    evidence::Evidence,
    export::{json, text},
    filter::Chosen,
};

use super::{Failure, Status, ended, load, no_vxlan};
use crate::{
    cli::{CheckArgs, Format},
    command::{say, usage},
};

pub(super) fn run(args: &CheckArgs) -> Result<Status, Failure> {
    if args.save.is_some() {
        return Err(usage(anyhow!("--save writes the evidence of one node: give --from once")));
    }
    let evidence: Vec<Evidence> =
        args.from.iter().map(|path| load(path)).collect::<Result<_, _>>()?;
    let mut joined = diagnose_joined(&evidence, &args.look.ignore).map_err(usage)?;
    let mut status = exit_status_joined(&joined, &evidence, args.fail_on);
    for (place, evidence) in evidence.iter().enumerate() {
        let Some(problem) = no_vxlan(evidence) else { continue };
        joined.unseen.insert(0, format!("{}: {problem}", joined.nodes[place].label));
        if status == Status::Fine as u8 {
            status = Status::Unobserved as u8;
        }
    }
    if let Some(filter) = &args.flow {
        let each = joined.nodes.iter().zip(&evidence);
        let unknown = each.map(|it| Chosen::of(filter, &it.0.diagnosis).unknown(it.1)).sum();
        joined.unseen.push(filter.note(unknown));
    }
    print(args, &joined, &evidence, status)?;
    Ok(ended(status))
}

fn print(
    args: &CheckArgs,
    joined: &Joined,
    evidence: &[Evidence],
    status: u8,
) -> Result<(), Failure> {
    say(|out| {
        match args.format {
            Format::Json => {
                let json = json::render_joined(joined, evidence, args.flow.as_ref())?;
                out.write_all(json.as_bytes())?;
            }
            Format::Text => text::write_joined(out, joined, evidence, status)?,
        }
        Ok(())
    })
}
