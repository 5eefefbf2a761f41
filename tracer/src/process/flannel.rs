//! Which process is flannel.

use super::scan::{Seen, View};
use crate::evidence::{Flannel, FlannelProcess};

/// Short names of programs that only a Kubernetes node runs: who sees one sees the node.
const NODE_PROGRAMS: [&str; 5] = ["kubelet", "containerd", "crio", "dockerd", "machined"];

/// flannel's process, and a sentence for `unseen` when it is not certain.
///
/// flanneld wins over k3s and RKE2, which contain flannel but need not use it.
pub(super) fn find(view: &View) -> (Flannel, Option<String>) {
    let mut candidates: Vec<(FlannelProcess, &Seen)> =
        view.processes.iter().filter_map(|seen| Some((contains_flannel(seen)?, seen))).collect();
    candidates.sort_by_key(|(kind, seen)| (rank(*kind), seen.since, seen.pid));
    let ours = |seen: &Seen| {
        seen.network_namespace.is_some() && seen.network_namespace == view.network_namespace
    };
    if let Some((process, seen)) = candidates.iter().find(|(_, seen)| ours(seen)) {
        let (pid, since) = (Some(seen.pid), seen.since);
        return (Flannel { pid, since, ..absent(*process) }, None);
    }
    if let Some((_, seen)) = candidates.iter().find(|(_, seen)| seen.network_namespace.is_none()) {
        let doubt = format!(
            "flannel's process: {} (pid {}) may be this node's, but its network namespace cannot \
             be read without the capability SYS_PTRACE",
            seen.name, seen.pid
        );
        return (absent(FlannelProcess::Unknown), Some(doubt));
    }
    if sees_node(view) {
        return (absent(FlannelProcess::None), None);
    }
    let doubt = "flannel's process: the node's processes are not visible here (hostPID: true, or \
                 kubectl debug --profile=sysadmin, shows them)";
    (absent(FlannelProcess::Unknown), Some(doubt.to_owned()))
}

/// Whether a process of this short name contains flannel, whatever it was started as.
pub(super) fn is_flannels_name(name: &str) -> bool {
    matches!(name, "flanneld" | "kube-flannel" | "k3s" | "k3s-server" | "k3s-agent" | "rke2")
}

/// `server` or `agent`: what k3s or RKE2 was started as.
pub(super) fn distribution_role<'a>(seen: &'a Seen, program: &str) -> Option<&'a str> {
    let role = |role: &str| matches!(role, "server" | "agent");
    // k3s names itself after its role, RKE2 does not.
    if let Some((name, suffix)) = seen.name.split_once('-')
        && name == program
        && role(suffix)
    {
        return Some(suffix);
    }
    let argument = seen.command_line.split_whitespace().nth(1)?;
    (seen.name == program && role(argument)).then_some(argument)
}

/// Whether the node's own processes are visible, so that one that is not seen is not there.
fn sees_node(view: &View) -> bool {
    // Without process 1 /proc hides the processes of others (mount option hidepid).
    let sees_others = view.processes.iter().any(|seen| seen.pid == 1);
    let sees_node_program = || {
        view.processes.iter().any(|seen| {
            NODE_PROGRAMS.contains(&seen.name.as_str())
                || distribution_role(seen, "k3s").is_some()
                || distribution_role(seen, "rke2").is_some()
        })
    };
    sees_others && (view.in_initial_pid_namespace || sees_node_program())
}

fn contains_flannel(seen: &Seen) -> Option<FlannelProcess> {
    if matches!(seen.name.as_str(), "flanneld" | "kube-flannel") {
        return Some(FlannelProcess::Flanneld);
    }
    if distribution_role(seen, "k3s").is_some() {
        return Some(FlannelProcess::K3s);
    }
    distribution_role(seen, "rke2").map(|_| FlannelProcess::Rke2)
}

const fn rank(process: FlannelProcess) -> u8 {
    match process {
        FlannelProcess::Flanneld => 0,
        FlannelProcess::K3s => 1,
        _ => 2,
    }
}

const fn absent(process: FlannelProcess) -> Flannel {
    Flannel { process, pid: None, since: None, memory: None, last_kill: None }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    const OURS: Option<u64> = Some(7);
    const OTHER: Option<u64> = Some(8);

    fn seen(pid: u32, name: &str, command_line: &str, namespace: Option<u64>) -> Seen {
        Seen {
            pid,
            name: name.to_owned(),
            command_line: command_line.to_owned(),
            network_namespace: namespace,
            since: Some(Timestamp::from_second(1_000 + i64::from(pid)).unwrap()),
        }
    }

    /// A machine seen from its first PID namespace.
    fn machine(mut processes: Vec<Seen>) -> View {
        processes.push(seen(1, "systemd", "/sbin/init", OURS));
        View { processes, network_namespace: OURS, in_initial_pid_namespace: true }
    }

    fn found(view: &View) -> (FlannelProcess, Option<u32>) {
        let (flannel, doubt) = find(view);
        assert_eq!(doubt, None);
        (flannel.process, flannel.pid)
    }

    #[test]
    fn flanneld_in_our_network_namespace_is_found_with_its_start() {
        let view = machine(vec![
            seen(20, "flanneld", "/opt/bin/flanneld", OTHER),
            seen(21, "flanneld", "/opt/bin/flanneld", OURS),
        ]);
        assert_eq!(found(&view), (FlannelProcess::Flanneld, Some(21)));
        assert_eq!(find(&view).0.since, Some(Timestamp::from_second(1_021).unwrap()));
    }

    #[test]
    fn the_elder_of_two_is_taken() {
        let mut younger = seen(20, "flanneld", "flanneld", OURS);
        younger.since = Some(Timestamp::from_second(9_000).unwrap());
        let view = machine(vec![younger, seen(21, "flanneld", "flanneld", OURS)]);
        assert_eq!(found(&view), (FlannelProcess::Flanneld, Some(21)));
    }

    #[test]
    fn k3s_and_rke2_are_told_by_name_and_arguments() {
        for (name, command_line, expected) in [
            ("k3s-server", "/usr/local/bin/k3s server", FlannelProcess::K3s),
            ("k3s-agent", "/usr/local/bin/k3s agent", FlannelProcess::K3s),
            ("k3s", "k3s server --flannel-iface eth1", FlannelProcess::K3s),
            ("rke2", "/usr/local/bin/rke2 agent", FlannelProcess::Rke2),
        ] {
            let view = machine(vec![seen(20, name, command_line, OURS)]);
            assert_eq!(found(&view), (expected, Some(20)), "{name}");
        }
        let tool = machine(vec![seen(20, "k3s", "k3s kubectl get nodes", OURS)]);
        assert_eq!(found(&tool), (FlannelProcess::None, None));
    }

    #[test]
    fn flanneld_wins_over_what_merely_contains_flannel() {
        let view = machine(vec![
            seen(20, "rke2", "rke2 server", OURS),
            seen(21, "k3s-server", "k3s server", OURS),
            seen(30, "flanneld", "/opt/bin/flanneld", OURS),
        ]);
        assert_eq!(found(&view), (FlannelProcess::Flanneld, Some(30)));
    }

    #[test]
    fn who_sees_the_node_and_no_flannel_says_that_none_runs() {
        let elsewhere = machine(vec![seen(20, "flanneld", "flanneld", OTHER)]);
        assert_eq!(found(&elsewhere), (FlannelProcess::None, None));
        let mut nested = machine(vec![seen(20, "kubelet", "/usr/bin/kubelet", OURS)]);
        nested.in_initial_pid_namespace = false;
        assert_eq!(found(&nested), (FlannelProcess::None, None));
    }

    #[test]
    fn who_sees_only_a_container_does_not_know() {
        let mut container = machine(vec![]);
        container.in_initial_pid_namespace = false;
        let (flannel, doubt) = find(&container);
        assert_eq!(flannel.process, FlannelProcess::Unknown);
        assert!(doubt.unwrap().contains("hostPID"));
        let mut hidden = machine(vec![]);
        hidden.processes.clear();
        assert_eq!(find(&hidden).0.process, FlannelProcess::Unknown);
    }

    #[test]
    fn a_namespace_that_cannot_be_read_leaves_a_doubt() {
        let view = machine(vec![seen(20, "flanneld", "flanneld", None)]);
        let (flannel, doubt) = find(&view);
        assert_eq!((flannel.process, flannel.pid), (FlannelProcess::Unknown, None));
        assert!(doubt.unwrap().contains("flanneld (pid 20)"));
        let mut blind = view;
        blind.network_namespace = None;
        assert_eq!(find(&blind).0.process, FlannelProcess::Unknown);
    }
}
