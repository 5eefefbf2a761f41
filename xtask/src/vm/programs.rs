//! Programs of this machine and the libraries that they load, for a guest.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::cpio::Archive;
use crate::{setup, shell};

/// What a guest needs beside the lab's programs.
const OTHERS: [&str; 8] = [
    "env",
    "ip6tables-restore",
    "ip6tables-save",
    "iptables-restore",
    "iptables-save",
    "modprobe",
    "seq",
    "sh",
];
/// Of the lab's programs, the one that no suite calls.
const HOST_ONLY: &str = "jq";
/// Where a kernel looks for the program that loads modules.
const MODPROBE: &str = "/sbin/modprobe";
/// Names of protocols and tables, if the machine has them.
const TABLES: [&str; 4] =
    ["/etc/protocols", "/etc/services", "/etc/iproute2/rt_protos", "/usr/share/iproute2/rt_protos"];

/// Adds every program at its own path.
pub(super) fn add_all(archive: &mut Archive<impl Write>) -> Result<()> {
    let names = setup::LAB_PROGRAMS.iter().map(|(program, _)| *program).chain(OTHERS);
    for name in names.filter(|name| *name != HOST_ONLY) {
        let path = shell::find(name)
            .with_context(|| format!("no program {name}: run `cargo xtask setup`"))?;
        add(archive, &path, &path.display().to_string())?;
        if name == "modprobe" {
            archive.link(MODPROBE, &path.display().to_string())?;
        }
        if name == "iptables" {
            extensions(archive, &path)?;
        }
    }
    for table in TABLES {
        if let Ok(content) = fs::read(table) {
            archive.file(table, &content)?;
        }
    }
    Ok(())
}

/// Adds a program, and the libraries that it names.
pub(super) fn add(archive: &mut Archive<impl Write>, program: &Path, at: &str) -> Result<()> {
    libraries(archive, program)?;
    let content =
        fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    Ok(archive.file(at, &content)?)
}

/// The libraries of a program; a static one has none.
pub(super) fn libraries(archive: &mut Archive<impl Write>, program: &Path) -> Result<()> {
    let Ok(said) = shell::output(shell::command("ldd").arg(program)) else { return Ok(()) };
    for path in paths(&said) {
        if !archive.has(path) {
            let content = fs::read(path).with_context(|| format!("cannot read {path}"))?;
            archive.file(path, &content)?;
        }
    }
    Ok(())
}

/// The paths in what ldd(1) says.
fn paths(said: &str) -> impl Iterator<Item = &str> {
    said.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':'))
}

/// iptables loads its extensions by name.
fn extensions(archive: &mut Archive<impl Write>, iptables: &Path) -> Result<()> {
    let said = shell::output(shell::command("ldd").arg(iptables))?;
    let beside = paths(&said).find(|path| path.contains("xtables")).map(Path::new);
    let folder = beside.and_then(Path::parent).map(|libraries| libraries.join("xtables"));
    let folder = folder.context("iptables names no libxtables")?;
    for entry in fs::read_dir(&folder).context("the extensions of iptables")? {
        let path = entry.context("the extensions of iptables")?.path();
        add(archive, &path, &path.display().to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_counts_as_a_library_and_addresses_do_not() {
        let said = "\tlinux-vdso.so.1 (0x7ffc)\n\tlibc.so.6 => /lib/libc.so.6 (0x7f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x7f)\n";
        let found: Vec<&str> = paths(said).collect();
        assert_eq!(found, ["/lib/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
    }
}
