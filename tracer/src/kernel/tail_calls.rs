//! Programs that are called by other programs, through an array that names them.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::ProgramArray,
    programs::{ProgramFd, SchedClassifier},
};
use tracer_common::names;

/// Loads programs and puts each into the array that the others call it by, at its place among the names;
/// those of uplinks without an Ethernet header only where there are such. None of them is in it when one
/// is refused.
///
/// # Errors
/// When one of them cannot be loaded.
pub(super) fn load(ebpf: &mut Ebpf, callees: &[&str], array: &str, has_layer3: bool) -> Result<()> {
    let mut programs = Vec::new();
    let is_needed = |name: &str| has_layer3 || !names::is_layer3(name);
    for (number, name) in (0..).zip(callees).filter(|(_, name)| is_needed(name)) {
        let program = load_one(ebpf, name).with_context(|| format!("the program {name}"))?;
        programs.push((number, name, program));
    }
    let map = ebpf.map_mut(array).context("the object has no array of programs")?;
    let mut places: ProgramArray<_> = map.try_into()?;
    for (number, name, program) in &programs {
        places.set(*number, program, 0).with_context(|| format!("telling of {name}"))?;
    }
    Ok(())
}

fn load_one(ebpf: &mut Ebpf, name: &str) -> Result<ProgramFd> {
    let program = ebpf.program_mut(name).context("the object has none")?;
    let program: &mut SchedClassifier = program.try_into()?;
    program.load()?;
    Ok(program.fd()?.try_clone()?)
}
