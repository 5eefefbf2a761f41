//! One function a rule: the sources in, the places where it is broken out.

use super::Source;

/// The name of a rule, and the rule.
type Rule = (&'static str, fn(&[Source]) -> Vec<String>);

/// Every rule.
pub(super) const RULES: [Rule; 9] = [
    ("every crate inherits the workspace's lints", lints_are_inherited),
    ("no file of code is longer than 500 lines", files_are_short),
    ("foo.rs beside foo/, no mod.rs", no_mod_rs),
    ("one module of the tracer names aya, one names netlink", one_module_names_it),
    ("nothing is left to do", nothing_left_to_do),
    ("lints are expected with a reason, tests are not ignored", no_silent_exceptions),
    ("tests do not sleep", tests_do_not_sleep),
    ("every fault is tested and documented", faults_are_covered),
    ("README.md names every command", commands_are_documented),
];

/// The longest that a file of code may be.
const LINES: usize = 500;

/// A crate's name in code, and the module of the tracer that alone may use it.
const OWNERS: [(&str, &str); 7] = [
    ("aya", "tracer/src/kernel"),
    ("aya_log", "tracer/src/kernel"),
    ("netlink_packet_core", "tracer/src/netlink"),
    ("netlink_packet_netfilter", "tracer/src/netlink"),
    ("netlink_packet_route", "tracer/src/netlink"),
    ("netlink_packet_sock_diag", "tracer/src/netlink"),
    ("netlink_sys", "tracer/src/netlink"),
];

fn lints_are_inherited(sources: &[Source]) -> Vec<String> {
    let packages = sources.iter().filter(|source| {
        // A package with a workspace of its own (a fuzz target) has nothing to inherit.
        source.path.ends_with("Cargo.toml")
            && source.text.contains("[package]")
            && !source.text.contains("[workspace]")
    });
    packages
        .filter(|source| !source.text.contains("[lints]\nworkspace = true"))
        .map(|source| source.path.clone())
        .collect()
}

fn files_are_short(sources: &[Source]) -> Vec<String> {
    let long = |source: &&Source| source.is_rust() && source.text.lines().count() > LINES;
    let length = |source: &Source| format!("{}: {}", source.path, source.text.lines().count());
    sources.iter().filter(long).map(length).collect()
}

fn no_mod_rs(sources: &[Source]) -> Vec<String> {
    let paths = sources.iter().map(|source| &source.path);
    // Shared code of integration tests has to be a mod.rs, or cargo takes it for a suite.
    paths.filter(|path| path.ends_with("/mod.rs") && !path.contains("/tests/")).cloned().collect()
}

fn one_module_names_it(sources: &[Source]) -> Vec<String> {
    let tracer = || code(sources).filter(|source| source.path.starts_with("tracer/src/"));
    let foreign = |(name, owner): (&str, &str)| {
        tracer()
            .filter(|source| !source.path.starts_with(owner))
            .flat_map(|source| source.lines_where(|line| names_crate(line, name)))
            .collect::<Vec<_>>()
    };
    OWNERS.into_iter().flat_map(foreign).collect()
}

/// Whether a line of code has a path that starts with this crate.
fn names_crate(line: &str, name: &str) -> bool {
    let (line, path) = (line.trim_start(), format!("{name}::"));
    let is_part_of_word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let starts_a_path = |at: usize| !line[..at].ends_with(is_part_of_word);
    !line.starts_with("//") && line.match_indices(&path).any(|(at, _)| starts_a_path(at))
}

fn nothing_left_to_do(sources: &[Source]) -> Vec<String> {
    containing(code(sources), &["TODO", "FIXME", "XXX", "todo!", "unimplemented!"])
}

fn no_silent_exceptions(sources: &[Source]) -> Vec<String> {
    containing(code(sources), &["#[allow(", "#![allow(", "#[ignore"])
}

fn tests_do_not_sleep(sources: &[Source]) -> Vec<String> {
    let suites = code(sources).filter(|source| source.path.starts_with("tests/tests/"));
    containing(suites, &["thread::sleep", "time::sleep"])
}

fn faults_are_covered(sources: &[Source]) -> Vec<String> {
    let texts_of = |prefix: &str| -> String {
        let matching = sources.iter().filter(|source| source.path.starts_with(prefix));
        matching.map(|source| source.text.as_str()).collect()
    };
    let places = ["tracer/src/diagnose/tests", "README.md"].map(|place| (place, texts_of(place)));
    let rules = code(sources).filter(|source| source.path.starts_with("tracer/src/diagnose/"));
    let codes = rules.filter_map(|rule| fault_code(&rule.text));
    codes
        .flat_map(|code| {
            let forgetful = places.iter().filter(move |(_, text)| !text.contains(code));
            forgetful.map(move |(place, _)| format!("{place} does not name {code}"))
        })
        .collect()
}

/// The code of the fault that a file of `diagnose/` is about.
fn fault_code(text: &str) -> Option<&str> {
    let (_, rule) = text.split_once("const RULE: Rule = Rule {")?;
    let (_, code) = rule.split_once("code: \"")?;
    code.split_once('"').map(|(code, _)| code)
}

fn commands_are_documented(sources: &[Source]) -> Vec<String> {
    let find = |path: &str| sources.iter().find(|source| source.path == path);
    let Some(readme) = find("README.md") else { return vec!["README.md is missing".to_owned()] };
    let commands = |file: &str, prefix: &str| {
        find(file).map(|source| subcommands(&source.text, prefix)).unwrap_or_default()
    };
    let of_xtask = commands("xtask/src/main.rs", "cargo xtask");
    let of_tracer = commands("tracer/src/cli.rs", "flannel-tracer");
    let all = of_xtask.into_iter().chain(of_tracer);
    all.filter(|command| !readme.text.contains(command.as_str())).collect()
}

/// The subcommands that the text of a clap enum `Command` declares, as they are typed.
fn subcommands(text: &str, prefix: &str) -> Vec<String> {
    let body = text.split_once("enum Command {").map_or("", |(_, rest)| rest);
    let body = body.split_once("\n}").map_or("", |(body, _)| body);
    let names = body.lines().filter_map(|line| {
        let name: String = line.trim().chars().take_while(char::is_ascii_alphanumeric).collect();
        name.starts_with(|c: char| c.is_ascii_uppercase()).then(|| name.to_lowercase())
    });
    names.map(|name| format!("{prefix} {name}")).collect()
}

/// The Rust files, without those that must spell out what they forbid.
fn code(sources: &[Source]) -> impl Iterator<Item = &Source> {
    sources.iter().filter(|source| source.is_rust() && !source.path.starts_with("xtask/src/tidy"))
}

fn containing<'a>(sources: impl Iterator<Item = &'a Source>, words: &[&str]) -> Vec<String> {
    let is_hit = |line: &str| words.iter().any(|word| line.contains(word));
    sources.flat_map(|source| source.lines_where(is_hit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_crate_without_the_lints_is_named() {
        let good = source("a/Cargo.toml", "[package]\n[lints]\nworkspace = true\n");
        let bad = source("b/Cargo.toml", "[package]\n");
        let own = source("c/Cargo.toml", "[package]\n[workspace]\n");
        assert_eq!(lints_are_inherited(&[good, bad, own]), ["b/Cargo.toml"]);
    }

    #[test]
    fn a_file_may_have_500_lines_and_not_one_more() {
        let sources =
            [source("good.rs", &"//\n".repeat(500)), source("bad.rs", &"//\n".repeat(501))];
        assert_eq!(files_are_short(&sources), ["bad.rs: 501"]);
    }

    #[test]
    fn a_mod_rs_is_named() {
        let sources = [source("a/src/b/mod.rs", ""), source("a/src/mode.rs", "")];
        assert_eq!(no_mod_rs(&sources), ["a/src/b/mod.rs"]);
    }

    #[test]
    fn a_crate_is_named_by_its_module_only() {
        let line = "use aya::maps::Array;\n";
        let sources = [
            source("tracer/src/kernel/load.rs", line),
            source("tracer/src/export/text.rs", line),
            source("tracer/src/netlink/dump.rs", "use netlink_sys::Socket;\n"),
            source("tracer/src/app.rs", "// not aya::Ebpf\nuse kernel::aya::x; let maya::y;\n"),
        ];
        let expected = ["tracer/src/export/text.rs:1: use aya::maps::Array;"];
        assert_eq!(one_module_names_it(&sources), expected);
    }

    #[test]
    fn what_is_left_to_do_is_named_by_its_line() {
        let sources = [source("a.rs", "fn a() {}\n// TODO more\n"), source("a.md", "TODO")];
        assert_eq!(nothing_left_to_do(&sources), ["a.rs:2: // TODO more"]);
    }

    #[test]
    fn a_silent_exception_is_named() {
        let sources = [source("a.rs", "#[allow(dead_code)]\n#[expect(dead_code, reason = \"\")]")];
        assert_eq!(no_silent_exceptions(&sources), ["a.rs:1: #[allow(dead_code)]"]);
    }

    #[test]
    fn a_suite_that_sleeps_is_named() {
        let sleeps = "std::thread::sleep(second);\n";
        let sources = [source("tests/tests/a.rs", sleeps), source("tests/src/poll.rs", sleeps)];
        assert_eq!(tests_do_not_sleep(&sources).len(), 1);
    }

    #[test]
    fn a_fault_without_a_test_or_a_line_in_the_readme_is_named() {
        let rule = "const RULE: Rule = Rule {\n    code: \"cni0-down\",\n};\n";
        let mut sources = vec![
            source("tracer/src/diagnose/cni0_down.rs", rule),
            source("tracer/src/diagnose/merge.rs", "fn merge() {}"),
            source("tracer/src/diagnose/tests/faults.rs", "\"cni0-down\""),
        ];
        assert_eq!(faults_are_covered(&sources), ["README.md does not name cni0-down"]);
        sources.push(source("README.md", "| `cni0-down` |"));
        assert!(faults_are_covered(&sources).is_empty());
    }

    #[test]
    fn a_command_that_the_readme_forgets_is_named() {
        let cli =
            "enum Command {\n    /// Look\n    Check(Check),\n    Record,\n}\nenum Other {}\n";
        let sources =
            [source("README.md", "`flannel-tracer check`"), source("tracer/src/cli.rs", cli)];
        assert_eq!(commands_are_documented(&sources), ["flannel-tracer record"]);
    }
}
