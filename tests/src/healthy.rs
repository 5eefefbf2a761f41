//! What a tracer must say where nothing is wrong, a look-alike of a fault included. Pure.

use anyhow::{Result, ensure};

use crate::{
    expect::{nothing_wrong, observed, peer_states, peers_are_ok},
    lookalike::LookAlike,
    plan::Plan,
    tracer::CheckOutput,
};

/// The look-alike whose peers are not reached through the tunnel.
const WITHOUT_TUNNEL: &str = "direct-routing";

/// No finding, everything observed, and the peers are exactly the other `members`, all `ok`.
///
/// # Errors
/// What was said instead.
pub fn judge(plan: &Plan, members: &[usize], node: usize, answer: &CheckOutput) -> Result<()> {
    judge_members(plan, members, node, &[], answer)
}

/// As [`judge`], but for findings that are only good to know.
fn judge_members(
    plan: &Plan,
    members: &[usize],
    node: usize,
    infos: &[&str],
    answer: &CheckOutput,
) -> Result<()> {
    nothing_wrong(infos, answer)?;
    observed(answer)?;
    let others: Vec<usize> = members.iter().copied().filter(|member| *member != node).collect();
    peers_are_ok(plan, &others, answer)
}

/// As [`judge`], on a member of a lab in which something looks like a fault.
///
/// # Errors
/// What was said instead.
pub fn judge_look_alike(
    look_alike: &LookAlike,
    plan: &Plan,
    node: usize,
    answer: &CheckOutput,
) -> Result<()> {
    if look_alike.name != WITHOUT_TUNNEL {
        let members = (look_alike.members)(plan);
        return judge_members(plan, &members, node, look_alike.infos, answer);
    }
    nothing_wrong(look_alike.infos, answer)?;
    observed(answer)?;
    no_peer_has_a_tunnel(answer)
}

/// What is not encapsulated is not seen, and what is not seen is not called ok.
fn no_peer_has_a_tunnel(answer: &CheckOutput) -> Result<()> {
    let states = peer_states(answer)?;
    ensure!(!states.is_empty(), "lists no peer");
    ensure!(states.iter().all(|(_, state)| state == "unverified"), "says of the peers {states:?}");
    Ok(())
}
