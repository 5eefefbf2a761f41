//! Bad input is one clear sentence and the right exit status, and attaches nothing.
//!
//! A kernel without type information (BTF) cannot be made here: what `capabilities` says of it is
//! tested beside its code, and the stages do not need it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    fs,
    io::pipe,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;
use tracer_tests::{
    attached::Attached,
    fault::named,
    lab::{LOCK_WAIT, Lab},
    netns,
    plan::{Family, Node, Plan},
    process,
    script::Script,
    seed::Shape,
    state,
    tracer::{CheckOutput, Intent, binary, tracer_command},
};

/// What a run came to.
struct Ran {
    status: i32,
    stdout: String,
    stderr: String,
}

fn lab(seed: u64, nodes: usize) -> Lab {
    let shape = Shape { nodes: Some(nodes), ..Shape::default() };
    Lab::up(Plan::draw(seed, &shape), LOCK_WAIT).unwrap()
}

fn run(namespace: &str, command: &mut Command) -> Ran {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    ran(process::run(namespace, command).unwrap())
}

fn ran(output: Output) -> Ran {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert!(!stderr.contains("panicked"), "{stderr}");
    Ran { status: output.status.code().unwrap(), stdout, stderr }
}

fn tracer(node: &Node, arguments: &[&str]) -> Ran {
    run(&node.namespace, tracer_command(node).unwrap().args(arguments))
}

/// `check` on a healthy node with subnet.env, the tables only; later options win.
fn check(node: &Node, arguments: &[&str]) -> Ran {
    let mut command = tracer_command(node).unwrap();
    command.arg("check");
    if !arguments.contains(&"--duration") {
        command.args(["--duration", "0"]);
    }
    if !arguments.contains(&"--subnet-env") {
        command.args(Intent::SubnetEnv.options(node));
    }
    run(&node.namespace, command.args(arguments))
}

/// One line, which holds all of `parts`, on stderr, and nothing on stdout.
fn assert_refused(what: &str, ran: &Ran, status: i32, parts: &[&str]) {
    let Ran { stdout, stderr, .. } = ran;
    assert_eq!((ran.status, stdout.as_str()), (status, ""), "{what}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{what}: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{what}: no `{part}` in {stderr}");
    }
    println!("{what}: exit {status}: {}", stderr.trim());
}

/// A file of the test's own.
fn file(directory: &TempDir, name: &str, text: &str) -> String {
    let path = directory.path().join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn wrong_options_and_files_are_refused_with_their_reason() {
    let lab = lab(121, 2);
    let node = &lab.plan().nodes[0];
    let before = Attached::on(lab.plan(), node).unwrap();
    let overlay = lab.plan().overlay(Family::V4);
    for option in ["--overlay", "--bridge", "--uplink"] {
        let ran = check(node, &[option, "nope0"]);
        let known = [&overlay, &node.bridge, &node.uplink].map(String::as_str);
        assert_refused(option, &ran, 3, &[&[option, "nope0"], known.as_slice()].concat());
    }
    assert_refused("no VXLAN", &check(node, &["--overlay", &node.uplink]), 3, &[&node.uplink]);

    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str, text: &str| file(&directory, name, text);
    let (own, peer) = (node.subnet.v4, lab.plan().nodes[1].subnet.v4);
    for (what, option, text, line, reason) in [
        ("no CIDR", "--subnet-env", "FLANNEL_MTU=1450\nFLANNEL_SUBNET=10.1.2.3\n", 2, "10.1.2.3"),
        ("no pair", "--subnet-env", "FLANNEL_SUBNET\n", 1, "KEY=value"),
        ("empty", "--subnet-env", "", 1, "FLANNEL_SUBNET"),
        ("no node", "--peers", "# peers\n10.1.2.0/24\n", 2, "NODE_IP"),
        ("no MAC", "--peers", "10.1.2.0/24 192.0.2.1 zz:zz\n", 1, "zz:zz"),
        ("overlap", "--peers", "10.1.0.0/16 192.0.2.1\n10.1.2.0/24 192.0.2.2\n", 2, "overlap"),
    ] {
        let path = at("malformed", text);
        let place = format!("{path} line {line}: ");
        assert_refused(what, &check(node, &[option, &path]), 3, &[&place, reason]);
    }
    let wide = at("wide", &format!("{} 192.0.2.1\n", own.supernet().unwrap()));
    assert_refused("own", &check(node, &["--peers", &wide]), 3, &["overlap", &own.to_string()]);
    let (services, pods) = (peer.to_string(), lab.plan().cluster.v4.to_string());
    let ran = check(node, &["--cluster-cidr", &pods, "--service-cidr", &services]);
    assert_refused("services", &ran, 3, &[&services, &pods, "overlap"]);
    let folder = directory.path().to_str().unwrap();
    for option in ["--subnet-env", "--peers"] {
        assert_refused("a directory", &check(node, &[option, folder]), 3, &["cannot read", folder]);
    }
    assert_refused(
        "no peers file",
        &check(node, &["--peers", "/nonexistent"]),
        3,
        &["/nonexistent"],
    );

    assert_from_is_refused(node, &at);
    assert_eq!(Attached::on(lab.plan(), node).unwrap(), before);
}

fn assert_from_is_refused(node: &Node, at: &dyn Fn(&str, &str) -> String) {
    let schema = at("schema", r#"{"schema": "flannel-tracer/evidence/v0"}"#);
    for (path, reason) in [
        ("/nonexistent", "No such file"),
        (&at("text", "no JSON"), "is not evidence"),
        (&schema, "is not evidence"),
        (&at("list", "[]"), "is not evidence"),
    ] {
        let ran = tracer(node, &["check", "--from", path]);
        assert_refused("--from", &ran, 3, &[path, reason]);
        // The second of two is no better.
        let ran = tracer(node, &["check", "--from", path, "--from", path]);
        assert_refused("--from twice", &ran, 3, &[path, reason]);
    }
    let save = ["check", "--from", "a", "--from", "b", "--save", &at("saved", "")];
    assert_refused("--save of several", &tracer(node, &save), 3, &["--save", "one node"]);
}

#[test]
fn what_is_not_built_or_not_known_says_so() {
    let lab = lab(122, 1);
    let node = &lab.plan().nodes[0];
    let before = Attached::on(lab.plan(), node).unwrap();
    for (option, value) in [
        ("--kubeconfig", "/etc/kubeconfig"),
        ("--config", "/etc/flannel-tracer.toml"),
        ("--listen", "127.0.0.1:9"),
    ] {
        assert_refused(option, &check(node, &[option, value]), 3, &[option, "not built"]);
    }
    for command in ["top", "record"] {
        let ran = tracer(node, &[command, "--listen", "127.0.0.1:9"]);
        assert_refused(command, &ran, 3, &[command, "not built"]);
    }
    let ran = tracer(node, &["watch", "--kubeconfig", "/etc/kubeconfig"]);
    assert_refused("a watch", &ran, 3, &["not built"]);
    let ran = check(node, &["--sample", "10"]);
    assert_refused("--sample of check", &ran, 3, &["--sample", "watch and run"]);
    let ran = tracer(node, &["run", "--flow", "port=53"]);
    assert_refused("--flow of run", &ran, 3, &["--flow", "watch and check"]);
    for wrong in [
        ["check", "--no-such-option"].as_slice(),
        &["check", "--duration", "soon"],
        &["check", "--attach", "xdp"],
        &["check", "--top-flows", "5"],
        &["watch", "--sample", "0"],
        &["run", "--sample", "some"],
        &["check", "--fail-on", "info"],
        &["check", "--platform", "nomad"],
        &["check", "--cluster-cidr", "10.0.0.0/33"],
        &["check", "--flow", "src=192.0.2.1"],
        &["check", "--flow", ""],
        &["watch", "--flow", "port=53 protocol=icmp"],
        &["watch", "--listen", "127.0.0.1:9"],
        &["watch", "--duration", "soon"],
        &["watch", "--overlay", "nope0"],
        &["no-such-command"],
        &[],
    ] {
        let ran = tracer(node, wrong);
        assert_eq!((ran.status, ran.stdout.as_str()), (3, ""), "{wrong:?}: {}", ran.stderr);
        assert!(!ran.stderr.is_empty(), "{wrong:?}");
    }
    assert_eq!(Attached::on(lab.plan(), node).unwrap(), before);
}

#[test]
fn a_healthy_node_with_less_than_everything_is_no_error() {
    let lab = lab(123, 2);
    let node = &lab.plan().nodes[0];
    let tables = lab.check(0, Intent::SubnetEnv, &["--duration", "0"]).unwrap();
    assert_eq!((tables.status, tables.findings()), (0, vec![]));
    assert_eq!(tables.json["coverage"]["stages"], false);
    let missing = lab.check(0, Intent::Nothing, &["--duration", "0"]).unwrap();
    assert_eq!((missing.status, missing.findings()), (0, vec![]));
    let path = state::file("no-such-subnet.env").to_str().unwrap().to_owned();
    assert!(is_unseen(&missing, &[&path, "there is no"]), "{:#}", missing.json["unseen"]);
    assert_eq!(tracer(node, &["check", "--help"]).status, 0);
}

fn is_unseen(check: &CheckOutput, parts: &[&str]) -> bool {
    let lines = check.json["unseen"].as_array().unwrap();
    lines.iter().filter_map(Value::as_str).any(|line| parts.iter().all(|part| line.contains(part)))
}

#[test]
fn a_machine_without_vxlan_says_which_backend_it_has() {
    let lab = lab(124, 3);
    let plan = lab.plan();
    let directory = tempfile::tempdir().unwrap();
    let [gateway, wireguard, ipip] = [0, 1, 2].map(|node| &plan.nodes[node]);
    let no_overlay = || format!("link del {}", plan.overlay(Family::V4));
    let routes = plan.others(0).into_iter().map(|peer| {
        let peer = &plan.nodes[peer];
        format!("route add {} via {} dev {}", peer.subnet.v4, peer.ip.v4, gateway.uplink)
    });
    Script::ip(&gateway.namespace, [no_overlay()].into_iter().chain(routes)).run().unwrap();
    // Neither kind of device is in every kernel; flannel's names for them are the sign.
    for (node, device) in [(wireguard, "flannel-wg"), (ipip, "flannel.ipip")] {
        let device = format!("link add {device} type bridge");
        Script::ip(&node.namespace, [no_overlay(), device]).run().unwrap();
    }
    for (node, backend, overhead) in
        [(gateway, "host-gw", 0), (wireguard, "wireguard", 80), (ipip, "ipip", 20)]
    {
        let mtu = plan.lan.mtu - overhead;
        let text = format!(
            "FLANNEL_NETWORK={}\nFLANNEL_SUBNET={}\nFLANNEL_MTU={mtu}\nFLANNEL_IPMASQ=true\n",
            plan.cluster.v4,
            node.end(Family::V4).bridge_address(),
        );
        let env = file(&directory, "subnet.env", &text);
        let mut command = tracer_command(node).unwrap();
        command.args(["check", "--format", "json", "--duration", "1s", "--subnet-env", &env]);
        let ran = run(&node.namespace, &mut command);
        assert_exit_2(&ran, &[backend, "backend", "only the VXLAN"]);
    }
    let mut command = netns::command_in(netns::CLIENT, binary().unwrap());
    command.args(["check", "--format", "json", "--duration", "1s"]);
    command.args(["--subnet-env", "/nonexistent/subnet.env"]);
    let client = run(netns::CLIENT, &mut command);
    assert_exit_2(&client, &["no VXLAN device", "no sign of flannel"]);
}

/// Nothing wrong, nothing observed, and a line that says why.
fn assert_exit_2(ran: &Ran, parts: &[&str]) {
    assert_eq!(ran.status, 2, "{}{}", ran.stdout, ran.stderr);
    let json: Value = serde_json::from_str(&ran.stdout).unwrap();
    let check = CheckOutput { status: 2, json, stderr: ran.stderr.clone() };
    assert_eq!(check.findings(), []);
    assert_eq!(check.json["coverage"]["stages"], false);
    assert!(is_unseen(&check, parts), "{parts:?} in {:#}", check.json["unseen"]);
    println!("exit 2: {}", check.json["unseen"][0]);
}

#[test]
fn several_overlay_devices_are_listed_and_one_can_be_chosen() {
    let lab = lab(125, 2);
    let (plan, node) = (lab.plan(), &lab.plan().nodes[0]);
    let second = format!(
        "link add flannel.4094 type vxlan id 4094 local {} dev {} dstport 4789 nolearning",
        node.ip.v4, node.uplink
    );
    Script::ip(&node.namespace, [second]).run().unwrap();
    let before = Attached::on(plan, node).unwrap();
    let none = state::file("no-such-subnet.env");
    let none = none.to_str().unwrap();
    let ran = check(node, &["--subnet-env", none, "--duration", "1s"]);
    assert_refused(
        "two overlays",
        &ran,
        2,
        &[&plan.overlay(Family::V4), "flannel.4094", "--overlay"],
    );
    let extra = ["--overlay", &plan.overlay(Family::V4), "--duration", "1s"];
    let chosen = lab.check(0, Intent::Nothing, &extra).unwrap();
    assert_eq!((chosen.status, chosen.findings()), (0, vec![]), "{}", chosen.stderr);
    assert_eq!(Attached::on(plan, node).unwrap(), before);
}

/// A copy of the binary that everybody may run.
fn public_binary(directory: &TempDir) -> PathBuf {
    let path = directory.path().join("flannel-tracer");
    fs::copy(binary().unwrap(), &path).unwrap();
    for path in [directory.path(), &path] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    path
}

#[test]
fn without_privileges_the_tables_are_judged() {
    let lab = lab(126, 2);
    let (plan, site) = (lab.plan(), lab.plan().site);
    let node = plan.victim();
    let directory = tempfile::tempdir().unwrap();
    let tracer = public_binary(&directory);
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"];
    let dropped =
        ["--inh-caps=-bpf,-net_admin,-sys_admin", "--bounding-set=-bpf,-net_admin,-sys_admin"];
    for (who, options) in [("nobody", nobody.as_slice()), ("root without capabilities", &dropped)] {
        let before = Attached::on(plan, node).unwrap();
        let check = |intent: Intent| {
            let mut command = netns::command_in(&node.namespace, "setpriv");
            command.args(options).arg(&tracer);
            observed_with(node, &mut command, intent)
        };
        let healthy = check(Intent::SubnetEnv);
        assert_eq!((healthy.status, healthy.findings()), (2, vec![]), "{who}: {}", healthy.stderr);
        assert_tables_only(who, &healthy);
        let fault = named("neigh-entry-missing").unwrap();
        let injection = lab.inject(&fault, site).unwrap();
        let broken = check(Intent::PeersFile);
        let expected = fault.here(plan, site);
        assert_eq!(broken.findings(), [(expected.code, expected.key.as_str())], "{who}");
        assert_eq!(broken.status, 1, "{who}");
        assert_tables_only(who, &broken);
        injection.heal().unwrap();
        assert_eq!(Attached::on(plan, node).unwrap(), before, "{who}");
        println!("{who}: exit 2 healthy, exit 1 with {}", fault.name);
    }
}

fn observed_with(node: &Node, command: &mut Command, intent: Intent) -> CheckOutput {
    command.args(["check", "--format", "json", "--duration", "1s"]).args(intent.options(node));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    CheckOutput::of(&process::run(&node.namespace, command).unwrap()).unwrap()
}

fn assert_tables_only(who: &str, check: &CheckOutput) {
    assert_eq!(check.json["coverage"]["tables"], true, "{who}");
    assert_eq!(check.json["coverage"]["stages"], false, "{who}");
    let refused = is_unseen(check, &["packets", "does not let this process load eBPF programs"]);
    assert!(refused, "{who}: {:#}", check.json["unseen"]);
    assert!(!check.stderr.contains("panicked"), "{who}: {}", check.stderr);
}

#[test]
fn a_reader_that_goes_away_is_no_reason_to_panic() {
    let lab = lab(127, 2);
    let node = &lab.plan().nodes[0];
    let before = Attached::on(lab.plan(), node).unwrap();
    let options = Intent::SubnetEnv.options(node);
    for command in ["check", "capabilities", "cleanup"] {
        for json in [false, true] {
            let mut gone = tracer_command(node).unwrap();
            gone.arg(command);
            if command == "check" {
                gone.args(&options).args(["--duration", "1s"]);
            }
            if json && command != "cleanup" {
                gone.args(["--format", "json"]);
            }
            let (reader, writer) = pipe().unwrap();
            drop(reader);
            gone.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
            let gone = ran(process::run(&node.namespace, &mut gone).unwrap());
            assert_eq!((gone.status, gone.stderr.as_str()), (0, ""), "{command}");
        }
    }
    // Nobody reads the log either: the tracer says something while it is attached.
    let mut deaf = tracer_command(node).unwrap();
    deaf.args(["--log-level", "trace", "check", "--duration", "1s"]).args(&options);
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    deaf.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer);
    assert_eq!(ran(process::run(&node.namespace, &mut deaf).unwrap()).status, 0);
    // A full disk is no reader that has gone.
    let mut full = tracer_command(node).unwrap();
    full.args(["check", "--duration", "0"]).args(&options);
    let device = fs::OpenOptions::new().write(true).open(Path::new("/dev/full")).unwrap();
    full.stdin(Stdio::null()).stdout(device).stderr(Stdio::piped());
    let full = ran(process::run(&node.namespace, &mut full).unwrap());
    assert_eq!(full.status, 2);
    assert!(full.stderr.contains("No space left"), "{}", full.stderr);
    assert_eq!(Attached::on(lab.plan(), node).unwrap(), before);
}
