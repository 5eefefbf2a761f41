//! Words about the memory of flannel's process.

use super::case::Case;
use crate::evidence::{FlannelMemory, FlannelProcess, Platform};

/// The program that contains flannel.
pub(super) const fn program(case: &Case<'_>) -> &'static str {
    match case.evidence.flannel.process {
        FlannelProcess::K3s => "k3s, which contains flannel,",
        FlannelProcess::Rke2 => "rke2, which contains flannel,",
        _ => "flanneld",
    }
}

/// What its cgroup holds, and what it may.
pub(super) fn words(memory: &FlannelMemory) -> String {
    let used = format!("its cgroup {} uses {}", memory.cgroup, mebibytes(memory.bytes));
    match memory.limit_bytes {
        Some(limit) => format!("{used} of {}, inactive file pages left out", mebibytes(limit)),
        None => format!("{used}, without a limit"),
    }
}

/// The commands that give it more.
pub(super) fn raise_limit(case: &Case<'_>) -> Vec<String> {
    let evidence = case.evidence;
    let of_unit = |unit: &str| format!("systemctl set-property {unit} MemoryMax=…");
    let of_pods = |namespace: &str, name: &str| {
        format!("kubectl -n {namespace} set resources daemonset {name} --limits=memory=…")
    };
    let command = match (evidence.flannel.process, evidence.node.platform) {
        (FlannelProcess::K3s, Platform::K3sAgent) => of_unit("k3s-agent"),
        (FlannelProcess::K3s, _) => of_unit("k3s"),
        (FlannelProcess::Rke2, Platform::Rke2Agent) => of_unit("rke2-agent"),
        (FlannelProcess::Rke2, _) => of_unit("rke2-server"),
        (_, Platform::Rke2Server | Platform::Rke2Agent) => of_pods("kube-system", "rke2-canal"),
        (_, Platform::Talos) => of_pods("kube-system", "kube-flannel"),
        _ => of_pods("kube-flannel", "kube-flannel-ds"),
    };
    let note = "(raise the limit, or remove it; routes do not vanish by a kill alone, but changes of \
                peers are missed until flannel runs again)";
    vec![command, note.to_owned()]
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
