//! How deep the stack gets: the verifier says what each function takes, and which calls which stands
//! in the program.

use aya_obj::generated::bpf_insn;

/// BPF_JMP | BPF_CALL with BPF_PSEUDO_CALL as its source: to a function of the program.
const CALL: u8 = 0x85;
const PSEUDO_CALL: u8 = 1;
/// What a function takes is rounded up to a multiple of this (kernel/bpf/verifier.c,
/// check_max_stack_depth, 5.10; newer kernels round up to 16 for most processors).
const ROUND: u64 = 32;

/// A function of a program.
#[derive(Debug, PartialEq, Eq)]
struct Function {
    start: usize,
    /// By number.
    calls: Vec<usize>,
}

/// Bytes of the deepest chain of calls. `frames` are those of each function, in the order in which
/// they stand in the program; `None` when that are not as many.
pub(crate) fn deepest(instructions: &[bpf_insn], frames: &[u64]) -> Option<u64> {
    let targets: Vec<Option<usize>> = (0..).zip(instructions).map(target).collect();
    let functions = functions(&targets);
    (functions.len() == frames.len()).then(|| below(&functions, frames, 0))
}

/// Where an instruction calls to.
fn target((at, instruction): (usize, &bpf_insn)) -> Option<usize> {
    (instruction.code == CALL && instruction.src_reg() == PSEUDO_CALL)
        .then(|| at.wrapping_add_signed(instruction.imm as isize + 1))
}

fn functions(targets: &[Option<usize>]) -> Vec<Function> {
    let mut starts: Vec<usize> = targets.iter().flatten().copied().chain([0]).collect();
    starts.sort_unstable();
    starts.dedup();
    let number = |start: &usize| starts.binary_search(start).ok();
    let ends = starts[1..].iter().copied().chain([targets.len()]);
    let calls = |start, end| targets.get(start..end).into_iter().flatten().flatten();
    let function =
        |(&start, end)| Function { start, calls: calls(start, end).filter_map(number).collect() };
    starts.iter().zip(ends).map(function).collect()
}

/// Of a function and what it calls. The verifier lets no function call itself.
fn below(functions: &[Function], frames: &[u64], number: usize) -> u64 {
    let called = functions[number].calls.iter().map(|call| below(functions, frames, *call));
    frames[number].max(1).next_multiple_of(ROUND) + called.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(start: usize, calls: &[usize]) -> Function {
        Function { start, calls: calls.to_vec() }
    }

    #[test]
    fn functions_begin_where_calls_go() {
        let mut targets = vec![None; 10];
        (targets[1], targets[2], targets[5]) = (Some(8), Some(4), Some(8));
        let expected = [function(0, &[2, 1]), function(4, &[2]), function(8, &[])];
        assert_eq!(functions(&targets), expected);
    }

    #[test]
    fn the_deepest_chain_counts_and_not_the_sum() {
        let functions =
            [function(0, &[1, 2]), function(9, &[]), function(12, &[3]), function(15, &[])];
        assert_eq!(below(&functions, &[472, 24, 0, 8], 0), 480 + 32 + 32);
        assert_eq!(below(&functions[..2], &[472, 24], 1), 32);
    }

    #[test]
    fn another_number_of_frames_is_no_answer() {
        assert_eq!(deepest(&[], &[8, 8]), None);
        assert_eq!(deepest(&[], &[8]), Some(32));
    }
}
