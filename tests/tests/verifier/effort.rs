//! What the verifier's statistics say, out of its log (BPF_LOG_STATS, kernel/bpf/verifier.c,
//! print_verification_stats):
//!
//! ```text
//! verification time 20751 usec
//! stack depth 112+24
//! processed 4083 insns (limit 1000000) max_states_per_insn 7 total_states 239 …
//! ```

use aya_obj::generated::bpf_insn;

use crate::stack;

/// What the verifier took for a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effort {
    /// Instructions that it went through, on all paths together.
    pub(crate) instructions: u64,
    /// Bytes of stack of the deepest chain of calls.
    pub(crate) stack: u64,
}

impl Effort {
    /// Reads the log of a program; `None` when it has no statistics, or those of another program.
    pub(crate) fn read(log: &str, program: &[bpf_insn]) -> Option<Self> {
        let (instructions, frames) = statistics(log)?;
        Some(Self { instructions, stack: stack::deepest(program, &frames)? })
    }

    /// The larger of both, figure by figure.
    pub(crate) fn or_more(self, other: &Self) -> Self {
        let instructions = self.instructions.max(other.instructions);
        Self { instructions, stack: self.stack.max(other.stack) }
    }

    /// As it is told to the host of a guest.
    pub(crate) fn said_of(self, program: &str) -> tracer_tests::effort::Effort {
        let Self { instructions, stack } = self;
        tracer_tests::effort::Effort { program: program.to_owned(), instructions, stack }
    }
}

/// Instructions, and bytes of stack of each function.
fn statistics(log: &str) -> Option<(u64, Vec<u64>)> {
    let after = |words: &str| log.lines().rev().find_map(|line| line.strip_prefix(words));
    let instructions = after("processed ")?.split(' ').next()?.parse().ok()?;
    let frames = after("stack depth ")?.split(' ').next()?.split('+');
    let frames = frames.map(|frame| frame.parse().ok()).collect::<Option<_>>()?;
    Some((instructions, frames))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statistics_are_found_at_the_end_of_a_log() {
        let log = "0: (95) exit\nstack depth 8\nprocessed 1 insns\nstack depth 112+24\n\
                   processed 4083 insns (limit 1000000) max_states_per_insn 7\n";
        assert_eq!(statistics(log), Some((4083, vec![112, 24])));
    }

    #[test]
    fn a_log_without_statistics_is_none() {
        for log in ["", "processed 5 insns", "stack depth x\nprocessed 5 insns", "stack depth 8"] {
            assert_eq!(statistics(log), None, "{log}");
        }
    }
}
