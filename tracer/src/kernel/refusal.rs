//! Why the kernel refused a map or a program: one sentence, with what helps.

use std::io;

use aya::{EbpfError, maps::MapError, programs::ProgramError};

use super::{
    memlock::Memlock,
    minimum::is_before,
    privileges::{Privilege, Privileges, phrase},
};
use crate::process;

/// The first kernel whose verifier does not refuse what only speculation could misuse: it puts a
/// barrier there (kernel/bpf/verifier.c, 6.17). Before, it takes such programs with PERFMON only.
const BARRIERS: (u32, u32) = (6, 17);

/// Why the kernel refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// This process lacks a privilege.
    #[error(
        "the kernel does not let this process load eBPF programs ({error}): run as root, or with \
         {needed} (in Kubernetes: kubectl debug --profile=sysadmin)"
    )]
    Privileges {
        /// The Linux capabilities that it takes, in words.
        needed: String,
        /// The kernel's answer.
        error: io::Error,
    },
    /// It has every privilege, and is refused all the same.
    #[error(
        "the kernel does not let this process load eBPF programs ({error}), though it has {needed}: \
         a user namespace, seccomp, lockdown or a security module forbids it"
    )]
    Forbidden {
        /// The Linux capabilities that it takes, in words.
        needed: String,
        /// The kernel's answer.
        error: io::Error,
    },
    /// Its maps and programs are more than it may lock in memory; Linux before 5.11 only.
    #[error(
        "RLIMIT_MEMLOCK lets this process lock {} KiB, and before Linux 5.11 eBPF maps count as \
         locked memory: run `ulimit -l unlimited` before (systemd: LimitMEMLOCK=infinity), or give \
         it the capability SYS_RESOURCE",
        limit / 1024
    )]
    Memlock {
        /// The limit, bytes.
        limit: u64,
    },
    /// The verifier refuses a program that it takes from a process with PERFMON; Linux before 6.17
    /// only.
    #[error(
        "program {program} needs CAP_PERFMON before Linux 6.17, and this process lacks it \
         ({reason}): run as root, or with {needed} (in Kubernetes: kubectl debug \
         --profile=sysadmin)"
    )]
    Speculation {
        /// Program of the object.
        program: String,
        /// The Linux capabilities that it takes, in words.
        needed: String,
        /// The verifier's last words.
        reason: String,
    },
    /// The verifier refuses a program, which is our fault.
    #[error(
        "the kernel refuses program {program}: {reason} (please report this, with what \
         --log-level debug says)"
    )]
    Verifier {
        /// Program of the object.
        program: String,
        /// The verifier's last words.
        reason: String,
    },
}

// === impl Refusal ===

impl Refusal {
    /// That of a call that ended with EPERM, and that takes `needed`.
    pub(super) fn of(error: io::Error, needed: &[Privilege]) -> Self {
        let has_all = Privileges::effective().missing(needed).is_empty();
        let needed = phrase(needed);
        match Memlock::applying().and_then(|memlock| memlock.soft) {
            _ if !has_all => Self::Privileges { needed, error },
            Some(limit) => Self::Memlock { limit },
            None => Self::Forbidden { needed, error },
        }
    }

    /// That of a map, when the whole object could not be loaded, or the error if it is none.
    ///
    /// # Errors
    /// When the error is no refusal.
    pub(super) fn of_object(error: EbpfError, needed: &[Privilege]) -> Result<Self, EbpfError> {
        let io_error = match &error {
            EbpfError::MapError(MapError::CreateError { io_error, .. }) => io_error,
            EbpfError::MapError(MapError::SyscallError(call)) => &call.io_error,
            _ => return Err(error),
        };
        match io_error.raw_os_error() {
            Some(code) if is_refusal(io_error) => {
                Ok(Self::of(io::Error::from_raw_os_error(code), needed))
            }
            _ => Err(error),
        }
    }

    /// That of a program, or the error if it is none. The whole of the verifier's log goes to ours.
    ///
    /// # Errors
    /// When the error is no refusal.
    pub(super) fn of_program(
        program: &str,
        error: ProgramError,
        needed: &[Privilege],
    ) -> Result<Self, ProgramError> {
        let ProgramError::LoadError { io_error, verifier_log } = error else { return Err(error) };
        let log = verifier_log.to_string();
        if is_refusal(&io_error) && log.is_empty() {
            return Ok(Self::of(io_error, needed));
        }
        tracing::debug!("the verifier's log of {program}:\n{log}");
        let reason = last_words(&log).map_or_else(|| io_error.to_string(), str::to_owned);
        let (own, release) = (Privileges::effective(), process::kernel_release());
        Ok(Self::of_verifier(program, reason, needed, own, &release))
    }

    /// That of the verifier with these last words, on the kernel of this release.
    fn of_verifier(
        program: &str,
        reason: String,
        needed: &[Privilege],
        own: Privileges,
        release: &str,
    ) -> Self {
        let program = program.to_owned();
        if own.has(Privilege::Perfmon) || !asks_for_perfmon(release) {
            return Self::Verifier { program, reason };
        }
        Self::Speculation { program, needed: phrase(needed), reason }
    }
}

/// Whether the verifier of this kernel asks for PERFMON whatever a program does.
pub(super) fn asks_for_perfmon(release: &str) -> bool {
    is_before(release, BARRIERS)
}

/// Whether the kernel said EPERM or EACCES.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// What the verifier says last before its statistics (kernel/bpf/verifier.c,
/// `print_verification_stats`, 5.10).
fn last_words(log: &str) -> Option<&str> {
    const STATISTICS: [&str; 3] = ["processed ", "stack depth ", "verification time "];
    let lines = log.lines().rev().map(str::trim);
    lines
        .filter(|line| !line.is_empty())
        .find(|line| !STATISTICS.iter().any(|words| line.starts_with(words)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
; *counter += packets;
831: (79) r2 = *(u64 *)(r10 -136)
invalid read from stack R10 off=-136 size=8
verification time 2171582 usec
stack depth 168+18
processed 19913 insns (limit 1000000) max_states_per_insn 15 total_states 1207
";

    #[test]
    fn a_long_log_becomes_the_one_line_that_says_why() {
        assert_eq!(last_words(LOG), Some("invalid read from stack R10 off=-136 size=8"));
        assert_eq!(last_words("processed 1 insns (limit 1000000)\n"), None);
    }

    const ALL: [Privilege; 3] = [Privilege::Bpf, Privilege::NetAdmin, Privilege::Perfmon];

    #[test]
    fn only_an_old_verifier_is_helped_by_perfmon_and_only_who_lacks_it() {
        let refused = |own: &[Privilege], release: &str| {
            let own = Privileges::of(own);
            Refusal::of_verifier("wire_in", "no".to_owned(), &ALL, own, release).to_string()
        };
        let (most, all) = (&ALL[..2], &ALL);
        let said = refused(most, "6.12.117+deb13-cloud-amd64");
        for part in ["needs CAP_PERFMON before Linux 6.17", "BPF, NET_ADMIN and PERFMON", "(no)"] {
            assert!(said.contains(part), "{said}");
        }
        for said in [refused(all, "6.12.117"), refused(most, "6.17.1"), refused(most, "odd")] {
            assert!(said.contains("please report") && !said.contains("PERFMON"), "{said}");
        }
    }

    #[test]
    fn each_refusal_is_one_line_with_what_helps() {
        let error = || io::Error::from(io::ErrorKind::PermissionDenied);
        let (program, needed) = ("wire_in".to_owned(), || "the capability BPF".to_owned());
        for (refusal, helps) in [
            (Refusal::Privileges { needed: needed(), error: error() }, "--profile=sysadmin"),
            (Refusal::Forbidden { needed: needed(), error: error() }, "security module"),
            (Refusal::Memlock { limit: 65_536 }, "64 KiB"),
            (
                Refusal::Speculation {
                    program: program.clone(),
                    needed: needed(),
                    reason: "no".to_owned(),
                },
                "--profile=sysadmin",
            ),
            (Refusal::Verifier { program, reason: "no".to_owned() }, "--log-level debug"),
        ] {
            let said = refusal.to_string();
            assert!(said.contains(helps) && said.lines().count() == 1, "{said}");
        }
    }
}
