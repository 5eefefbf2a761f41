//! The kernel's symbols, which turn an address into the name of a function.

use std::{
    fs::{self, File},
    io::{self, BufReader},
};

use crate::{
    evidence::Capability,
    kernel::privileges::{Privilege, Privileges},
};

const FEATURE: &str = "symbols";
const LOST: &str = "the function that dropped a packet";
const SYMBOLS: &str = "/proc/kallsyms";
/// 2 hides the addresses from everybody (kernel/kallsyms.c, `kallsyms_show_value`, 5.10).
const RESTRICTION: &str = "/proc/sys/kernel/kptr_restrict";
/// The first symbols of a kernel may be at 0: those of the per-CPU section.
const FIRST: usize = 512;

pub(super) fn rung() -> Capability {
    let shown = File::open(SYMBOLS).and_then(|file| shows_addresses(BufReader::new(file)));
    let restriction = fs::read_to_string(RESTRICTION).unwrap_or_default();
    judge(shown, restriction.trim(), Privileges::effective().has(Privilege::Syslog))
}

/// Whether an address of the first symbols is other than zero.
fn shows_addresses(symbols: impl io::BufRead) -> io::Result<bool> {
    for line in symbols.lines().take(FIRST) {
        let line = line?;
        let address = line.split(' ').next().unwrap_or_default();
        if !address.is_empty() && address.bytes().any(|digit| digit != b'0') {
            return Ok(true);
        }
    }
    Ok(false)
}

fn judge(shown: io::Result<bool>, restriction: &str, may: bool) -> Capability {
    let because = match shown {
        Ok(true) => return super::on(FEATURE, format!("{SYMBOLS} shows addresses")),
        Ok(false) if restriction == "2" => {
            format!("{SYMBOLS} hides addresses from everybody: kernel.kptr_restrict is 2")
        }
        Ok(false) if !may => format!("{SYMBOLS} hides addresses without the capability SYSLOG"),
        Ok(false) => format!("{SYMBOLS} hides addresses"),
        Err(error) => format!("{SYMBOLS} cannot be read: {error}"),
    };
    super::off(FEATURE, &because, LOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_addresses_are_zeros() {
        let hidden = "0000000000000000 A __per_cpu_start\n0000000000000000 T _text\n";
        assert!(!shows_addresses(hidden.as_bytes()).unwrap());
        let shown = "0000000000000000 A __per_cpu_start\nffffffff81000000 T _text\n";
        assert!(shows_addresses(shown.as_bytes()).unwrap());
        assert!(!shows_addresses(&b""[..]).unwrap());
    }

    #[test]
    fn who_hides_them_is_told() {
        let because = |restriction, may| judge(Ok(false), restriction, may).because;
        assert!(because("2", true).contains("kptr_restrict is 2; lost: "));
        assert!(because("1", false).contains("without the capability SYSLOG; lost: "));
        let missing = judge(Err(io::Error::from(io::ErrorKind::NotFound)), "", true);
        assert!(missing.because.contains("cannot be read"), "{}", missing.because);
    }
}
