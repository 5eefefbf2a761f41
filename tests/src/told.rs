//! What single nodes tell in labs where one thing is played after the other.

use anyhow::{Context as _, Result};

use crate::{
    expect,
    lab::Lab,
    plan::{Family, Stack},
    sample::{OF_LAB, Sample},
    size,
    tracer::Intent,
};

/// How long each check looks.
const WINDOW: &str = "4s";
/// The same where programs are interpreted and packets are fewer.
const LONG_WINDOW: &str = "6s";

/// A finding: its code and its subject's key.
pub type Told<'a> = (&'a str, &'a str);

/// What `judge` calls wrong in one lab of a change, and in labs of IPv4 and of IPv6 with `--all`.
///
/// # Errors
/// All that is wrong, or when the environment's sample is none.
pub fn in_labs(lab: impl Fn(Stack) -> Lab, judge: impl Fn(&Lab, Family) -> String) -> Result<()> {
    let stacks = Sample::of_environment(OF_LAB)?.turn_of([Stack::V4, Stack::V6]);
    let wrong: String = stacks
        .into_iter()
        .map(|stack| {
            let wrong = judge(&lab(stack), stack.families()[0]);
            if wrong.is_empty() { wrong } else { format!("{stack:?}: {wrong}\n") }
        })
        .collect();
    anyhow::ensure!(wrong.is_empty(), "\n{wrong}");
    Ok(())
}

/// What is wrong with a node's answer: nothing when these are its findings and no others.
#[must_use]
pub fn wrong(lab: &Lab, node: usize, expected: &[Told<'_>]) -> String {
    wrong_by_drops(lab, node, expected, expected)
}

/// The same where the node tells one of these, and nothing else.
#[must_use]
pub fn wrong_unless_one_of(lab: &Lab, node: usize, these: &[Told<'_>]) -> String {
    let window = ["--duration", size::of(WINDOW, LONG_WINDOW)];
    let told = lab.check(node, Intent::SubnetEnv, &window).and_then(|answer| {
        let rights = these.iter().map(|told| expect::only(&[*told], &answer));
        rights.reduce(Result::or).context("nothing is expected")?
    });
    let name = &lab.plan().nodes[node].name;
    told.err().map_or_else(String::new, |error| format!("{name}: {error:#}\n"))
}

/// The same where drops prove the findings; `unread` are those without, where nothing tells whose
/// packets the kernel drops.
#[must_use]
pub fn wrong_by_drops(
    lab: &Lab,
    node: usize,
    expected: &[Told<'_>],
    unread: &[Told<'_>],
) -> String {
    let window = ["--duration", size::of(WINDOW, LONG_WINDOW)];
    let told = lab.check(node, Intent::SubnetEnv, &window).and_then(|answer| {
        let expected = if expect::reads_drops(&answer) { expected } else { unread };
        expect::only(expected, &answer)
    });
    let name = &lab.plan().nodes[node].name;
    told.err().map_or_else(String::new, |error| format!("{name}: {error:#}\n"))
}
