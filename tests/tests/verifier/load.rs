//! Loading a program with the verifier's statistics asked for. aya asks for a log only after a
//! refusal.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use aya_obj::{Function, Program};
use tracer_tests::bpf;

use crate::{effort::Effort, kind::Told};

const PROG_LOAD: i64 = 5;
/// BPF_LOG_STATS (include/linux/bpf_verifier.h, from 5.2): statistics and errors, no instructions.
const STATISTICS: u32 = 4;
/// The statistics are three lines, a refusal a few more.
const LOG: usize = 64 << 10;

/// What became of a program.
#[derive(Debug)]
pub(crate) enum Outcome {
    Loaded(Effort),
    /// The kernel's words, the last line of the verifier's before its statistics first.
    Refused(String),
}

/// The beginning of `union bpf_attr` for BPF_PROG_LOAD (include/uapi/linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct LoadProgram {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    device: u32,
    attach_type: u32,
    btf: u32,
    function_size: u32,
    functions: u64,
    function_count: u32,
    line_size: u32,
    lines: u64,
    line_count: u32,
    hook: u32,
    hook_program: u32,
    _pad: u32,
}

/// Loads a program and forgets it again.
pub(crate) fn load(
    program: &Program,
    function: &Function,
    btf: Option<&OwnedFd>,
    told: Told,
) -> Result<Outcome> {
    let functions = function.func_info.func_info_bytes();
    let lines = function.line_info.line_info_bytes();
    let mut log = vec![0_u8; LOG];
    let mut attributes = LoadProgram {
        program_type: told.program_type,
        instruction_count: u32::try_from(function.instructions.len())?,
        instructions: function.instructions.as_ptr() as u64,
        license: program.license.as_ptr() as u64,
        log_level: STATISTICS,
        log_size: LOG as u32,
        log: log.as_mut_ptr() as u64,
        attach_type: told.attach_type,
        hook: told.hook,
        ..LoadProgram::default()
    };
    if let Some(btf) = btf {
        attributes.btf = btf.as_raw_fd() as u32;
        attributes.function_size = u32::try_from(function.func_info_rec_size)?;
        attributes.functions = functions.as_ptr() as u64;
        attributes.function_count = u32::try_from(function.func_info.len())?;
        attributes.line_size = u32::try_from(function.line_info_rec_size)?;
        attributes.lines = lines.as_ptr() as u64;
        attributes.line_count = u32::try_from(function.line_info.len())?;
    }
    // SAFETY: these are the attributes of the command, and every buffer in them outlives the call.
    let loaded = unsafe { bpf::descriptor(PROG_LOAD, &mut attributes) };
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    let log = String::from_utf8_lossy(&log[..end]);
    match loaded {
        Ok(_) => Effort::read(&log, &function.instructions)
            .map(Outcome::Loaded)
            .with_context(|| format!("no statistics of this program in the log:\n{log}")),
        Err(error) if error.downcast_ref::<io::Error>().is_some() => {
            Ok(Outcome::Refused(format!("{} ({error:#})", last_words(&log))))
        }
        Err(error) => Err(error),
    }
}

/// The line in which the verifier says why.
fn last_words(log: &str) -> &str {
    let statistics = |line: &&str| {
        !["verification time ", "stack depth ", "processed "]
            .iter()
            .any(|start| line.starts_with(start))
    };
    log.lines().rfind(statistics).unwrap_or("(the verifier says nothing)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_those_before_the_statistics() {
        let log = "R1 is bad\nR3 pointer comparison prohibited\nverification time 1 usec\n\
                   stack depth 0+0\nprocessed 12 insns\n";
        assert_eq!(last_words(log), "R3 pointer comparison prohibited");
        assert_eq!(last_words("stack depth 0"), "(the verifier says nothing)");
    }
}
