//! `check`: look at this node, or at saved evidence, and say what is wrong.

use std::{fs, path::Path};

use anyhow::Context as _;
use tracer::{
    diagnose::{Diagnosis, diagnose, exit_status},
    evidence::{Evidence, SCHEMA},
    export::{json, text},
    topology::{RoleProblem, detect_roles},
};

use super::{Failure, Status, collect::collect, not_built, say, usage};
use crate::cli::{CheckArgs, Format};

pub(crate) fn run(args: &CheckArgs) -> Result<Status, Failure> {
    if let Some(option) = args.later.first() {
        return Err(not_built(option));
    }
    let evidence = match args.from.as_slice() {
        [] => collect(args)?,
        [one] => load(one)?,
        _ => {
            return Err(not_built("judging the evidence of several nodes together (--from twice)"));
        }
    };
    if let Some(path) = &args.save {
        save(&evidence, path)?;
    }
    let mut diagnosis = diagnose(&evidence);
    leave_out(&mut diagnosis, &args.ignore);
    let mut status = exit_status(&diagnosis, &evidence, args.fail_on);
    if let Some(problem) = no_vxlan(&evidence) {
        diagnosis.unseen.insert(0, problem.to_string());
        if status == Status::Fine as u8 {
            status = Status::Unobserved as u8;
        }
    }
    print(args.format, &diagnosis, &evidence, status)?;
    Ok(match status {
        0 => Status::Fine,
        1 => Status::Findings,
        _ => Status::Unobserved,
    })
}

fn load(path: &Path) -> Result<Evidence, Failure> {
    let read = || -> anyhow::Result<Evidence> {
        let text =
            fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let evidence: Evidence = serde_json::from_str(&text).with_context(|| {
            format!("{} is not evidence as `check --save` writes it", path.display())
        })?;
        anyhow::ensure!(
            evidence.schema == SCHEMA,
            "{} has schema {}; this version reads {SCHEMA}",
            path.display(),
            evidence.schema
        );
        Ok(evidence)
    };
    read().map_err(usage)
}

fn save(evidence: &Evidence, path: &Path) -> Result<(), Failure> {
    let text = serde_json::to_string(evidence).context("writing the evidence").map_err(usage)?;
    fs::write(path, text).with_context(|| format!("writing {}", path.display())).map_err(usage)
}

/// Takes out the findings that `--ignore` names, and says so.
fn leave_out(diagnosis: &mut Diagnosis, ignored: &[String]) {
    for rule in ignored {
        let (code, subject) = match rule.split_once('=') {
            Some((code, subject)) => (code, Some(subject)),
            None => (rule.as_str(), None),
        };
        let before = diagnosis.findings.len();
        diagnosis.findings.retain(|finding| {
            finding.code != code || subject.is_some_and(|subject| finding.subject.key != subject)
        });
        let taken = before - diagnosis.findings.len();
        if taken > 0 {
            diagnosis.unseen.push(format!("{taken} findings left out by --ignore {rule}"));
        }
    }
}

/// Why this node has no tunnel to look at: for saved evidence as for this node.
fn no_vxlan(evidence: &Evidence) -> Option<RoleProblem> {
    let tables = evidence.tables.as_ref()?;
    detect_roles(tables, &evidence.intent)
        .err()
        .filter(|it| matches!(it, RoleProblem::OtherBackend(_) | RoleProblem::NoFlannel))
}

fn print(
    format: Format,
    diagnosis: &Diagnosis,
    evidence: &Evidence,
    status: u8,
) -> Result<(), Failure> {
    say(|out| {
        match format {
            Format::Json => out.write_all(json::render(diagnosis, evidence)?.as_bytes())?,
            Format::Text => text::write(out, diagnosis, evidence, status)?,
        }
        Ok(())
    })
}
