//! `check`: look at this node, or at saved evidence, and say what is wrong.

mod joined;

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::Path,
};

use anyhow::{Context as _, anyhow};
use tracer::{
    diagnose::{Diagnosis, diagnose_but, exit_status},
    evidence::{Evidence, SCHEMA},
    export::{json, text},
    filter::Chosen,
    topology::{RoleProblem, detect_roles},
};

use super::{Failure, Status, collect::collect, not_built, say, usage};
use crate::cli::{CheckArgs, Format};

pub(crate) fn run(args: &CheckArgs) -> Result<Status, Failure> {
    if let Some(option) = args.not_built() {
        return Err(not_built(option));
    }
    if args.sample.is_some() {
        return Err(usage(anyhow!(
            "--sample is for watch and run: check tells of no single packet"
        )));
    }
    if args.from.len() > 1 {
        return joined::run(args);
    }
    let saved = args.save.as_deref().map(create).transpose()?;
    let evidence = match args.from.as_slice() {
        [] => collect(args)?,
        [one, ..] => load(one)?,
    };
    if let Some(file) = saved {
        save(&evidence, file)?;
    }
    let mut diagnosis = diagnose_but(&evidence, &args.look.ignore);
    let mut status = exit_status(&diagnosis, &evidence, args.fail_on);
    if let Some(problem) = no_vxlan(&evidence) {
        diagnosis.unseen.insert(0, problem.to_string());
        if status == Status::Fine as u8 {
            status = Status::Unobserved as u8;
        }
    }
    if let Some(filter) = &args.flow {
        let unknown = Chosen::of(filter, &diagnosis).unknown(&evidence);
        diagnosis.unseen.push(filter.note(unknown));
    }
    print(args, &diagnosis, &evidence, status)?;
    Ok(ended(status))
}

const fn ended(status: u8) -> Status {
    match status {
        0 => Status::Fine,
        1 => Status::Findings,
        _ => Status::Unobserved,
    }
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

/// The file for the evidence, made before the node is looked at: a verdict must not be lost to a
/// path that cannot be written.
fn create(path: &Path) -> Result<File, Failure> {
    File::create(path).with_context(|| format!("writing {}", path.display())).map_err(usage)
}

fn save(evidence: &Evidence, file: File) -> Result<(), Failure> {
    let mut file = BufWriter::new(file);
    serde_json::to_writer(&mut file, evidence).context("writing the evidence").map_err(usage)?;
    file.flush().context("writing the evidence").map_err(usage)
}

/// Why this node has no tunnel to look at: for saved evidence as for this node.
fn no_vxlan(evidence: &Evidence) -> Option<RoleProblem> {
    let tables = evidence.tables.as_ref()?;
    detect_roles(tables, &evidence.intent)
        .err()
        .filter(|it| matches!(it, RoleProblem::OtherBackend(_) | RoleProblem::NoFlannel))
}

fn print(
    args: &CheckArgs,
    diagnosis: &Diagnosis,
    evidence: &Evidence,
    status: u8,
) -> Result<(), Failure> {
    say(|out| {
        match args.format {
            Format::Json => {
                let json = json::render(diagnosis, evidence, args.flow.as_ref())?;
                out.write_all(json.as_bytes())?;
            }
            Format::Text => text::write(out, diagnosis, evidence, status)?,
        }
        Ok(())
    })
}
