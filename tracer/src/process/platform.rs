//! What runs Kubernetes on this node.

use super::{
    flannel::distribution_role,
    scan::{HostFiles, Seen, View},
};
use crate::evidence::Platform;

/// Decides by the most telling sign first: Talos and RKE2 also have kubelets.
pub(super) fn decide(view: &View, files: &HostFiles) -> Platform {
    // A machine may hold other nodes (labs, k3d) in other network namespaces.
    let ours = |seen: &&Seen| {
        seen.network_namespace.is_none() || seen.network_namespace == view.network_namespace
    };
    let role = |program| {
        view.processes.iter().filter(ours).find_map(|seen| distribution_role(seen, program))
    };
    let any = |name| view.processes.iter().filter(ours).any(|seen: &Seen| seen.name == name);
    if is_talos(&files.os_release) || any("machined") {
        return Platform::Talos;
    }
    match (role("k3s"), role("rke2")) {
        (Some("server"), _) => Platform::K3sServer,
        (Some(_), _) => Platform::K3sAgent,
        (None, Some("server")) => Platform::Rke2Server,
        (None, Some(_)) => Platform::Rke2Agent,
        (None, None) if files.kubelet_conf || kubelet_by_kubeadm(view, ours) => Platform::Kubeadm,
        (None, None) => Platform::Unknown,
    }
}

fn is_talos(os_release: &str) -> bool {
    os_release.lines().any(|line| {
        line.strip_prefix("ID=").is_some_and(|id| id.trim_matches(['"', '\'']) == "talos")
    })
}

/// kubeadm's unit starts the kubelet with this kubeconfig.
fn kubelet_by_kubeadm(view: &View, ours: impl Fn(&&Seen) -> bool) -> bool {
    view.processes.iter().filter(ours).any(|seen| {
        seen.name == "kubelet" && seen.command_line.contains("/etc/kubernetes/kubelet.conf")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(name: &str, command_line: &str, files: &HostFiles) -> Platform {
        let seen = Seen {
            name: name.to_owned(),
            command_line: command_line.to_owned(),
            network_namespace: Some(7),
            ..Seen::default()
        };
        let view = View { processes: vec![seen], network_namespace: Some(7), ..View::default() };
        decide(&view, files)
    }

    #[test]
    fn k3s_and_rke2_are_told_by_their_processes() {
        let none = HostFiles::default();
        for (name, command_line, expected) in [
            ("k3s-server", "/usr/local/bin/k3s server", Platform::K3sServer),
            ("k3s-agent", "/usr/local/bin/k3s agent", Platform::K3sAgent),
            ("rke2", "/usr/local/bin/rke2 server", Platform::Rke2Server),
            ("rke2", "/usr/local/bin/rke2 agent", Platform::Rke2Agent),
            ("bash", "bash server", Platform::Unknown),
        ] {
            assert_eq!(decided(name, command_line, &none), expected, "{command_line}");
        }
    }

    #[test]
    fn talos_is_told_by_its_release_or_its_init() {
        let quoted = HostFiles { os_release: "NAME=Talos\nID=\"talos\"".to_owned(), ..default() };
        let plain = HostFiles { os_release: "ID=talos\n".to_owned(), kubelet_conf: true };
        assert_eq!(decided("kubelet", "kubelet", &quoted), Platform::Talos);
        assert_eq!(decided("kubelet", "kubelet", &plain), Platform::Talos);
        assert_eq!(decided("machined", "/sbin/init", &default()), Platform::Talos);
        let like = HostFiles { os_release: "ID_LIKE=talos".to_owned(), ..default() };
        assert_eq!(decided("bash", "bash", &like), Platform::Unknown);
    }

    #[test]
    fn kubeadm_is_told_by_its_kubelet_or_its_file() {
        let by_file = HostFiles { kubelet_conf: true, ..default() };
        assert_eq!(decided("kubelet", "kubelet", &by_file), Platform::Kubeadm);
        let command_line = "/usr/bin/kubelet --kubeconfig=/etc/kubernetes/kubelet.conf";
        assert_eq!(decided("kubelet", command_line, &default()), Platform::Kubeadm);
        assert_eq!(decided("kubelet", "/usr/bin/kubelet", &default()), Platform::Unknown);
    }

    #[test]
    fn a_distribution_in_another_network_namespace_is_another_node() {
        let seen = Seen {
            name: "k3s-server".to_owned(),
            command_line: "k3s server".to_owned(),
            network_namespace: Some(8),
            ..Seen::default()
        };
        let view = View { processes: vec![seen], network_namespace: Some(7), ..View::default() };
        assert_eq!(decide(&view, &default()), Platform::Unknown);
    }

    fn default() -> HostFiles {
        HostFiles::default()
    }
}
