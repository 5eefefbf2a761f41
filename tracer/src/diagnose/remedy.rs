//! The words of "restart flannel" on each platform.

use crate::evidence::{Evidence, Family, FlannelProcess, Platform};

/// The commands that restart flannel on this node; never empty. They are printed, not run.
pub(super) fn restart_flannel(evidence: &Evidence) -> Vec<String> {
    let node = &evidence.node.name;
    let in_pod = evidence.flannel.process == FlannelProcess::Flanneld;
    match evidence.node.platform {
        Platform::K3sServer => vec!["systemctl restart k3s".to_owned()],
        Platform::K3sAgent => vec!["systemctl restart k3s-agent".to_owned()],
        Platform::Rke2Server | Platform::Rke2Agent if in_pod => vec![
            delete_pod("kube-system", node, "k8s-app=canal"),
            format!(
                "({}, where RKE2 runs `cni: flannel`)",
                delete_pod("kube-system", node, "app=flannel")
            ),
        ],
        Platform::Rke2Server => vec!["systemctl restart rke2-server".to_owned()],
        Platform::Rke2Agent => vec!["systemctl restart rke2-agent".to_owned()],
        Platform::Talos => vec![delete_pod("kube-system", node, "k8s-app=flannel")],
        Platform::Kubeadm => vec![delete_pod("kube-flannel", node, "app=flannel")],
        Platform::Unknown => vec![
            delete_pod("kube-flannel", node, "app=flannel"),
            "(with k3s: systemctl restart k3s, on an agent k3s-agent)".to_owned(),
        ],
    }
}

/// [`restart_flannel`] with a note behind it.
pub(super) fn restart_with_note(evidence: &Evidence, note: &str) -> Vec<String> {
    let mut lines = restart_flannel(evidence);
    lines.push(format!("({note})"));
    lines
}

/// The program that lists and changes routes, rules and neighbours of an IP version.
pub(super) const fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip -6",
    }
}

/// The command that changes a setting of the kernel, as `sysctl` spells its name. A device's name
/// may hold dots: then the parts of the setting's are divided by slashes.
pub(super) fn set_sysctl(evidence: &Evidence, name: &str, value: u8) -> String {
    set_sysctl_to(evidence, name, value.into())
}

/// [`set_sysctl`] for a larger number.
pub(super) fn set_sysctl_to(evidence: &Evidence, name: &str, value: u64) -> String {
    if evidence.node.platform == Platform::Talos {
        let patch = format!("{{\"machine\":{{\"sysctls\":{{\"{name}\":\"{value}\"}}}}}}");
        return format!(
            "talosctl patch machineconfig --nodes {} --patch '{patch}'",
            evidence.node.name
        );
    }
    format!("sysctl -w {name}={value}")
}

fn delete_pod(namespace: &str, node: &str, label: &str) -> String {
    format!("kubectl -n {namespace} delete pod --field-selector spec.nodeName={node} -l {label}")
}
