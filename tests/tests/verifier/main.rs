//! What the verifier takes for the programs of the production binary, on the kernel that this runs
//! on: instructions and stack, held under the limits of `limits.toml`, once with all privileges and
//! once with no more than the kernel asks for. `cargo xtask vm` runs it on other kernels.

mod effort;
mod kind;
mod limits;
mod load;
mod machine;
mod object;
mod privileges;
mod stack;

use std::io::Write as _;

use anyhow::Result;
use aya_obj::{Function, Program};
use tracer::kernel::{Object, objects};

use self::{
    effort::Effort,
    kind::Kind,
    limits::Limits,
    load::{Outcome, load},
    machine::{Machine, raise_locked_memory},
    object::Prepared,
    privileges::Privileges,
};

#[test]
fn every_program_loads_within_its_limits() {
    raise_locked_memory();
    let mut account = Account {
        limits: Limits::read().unwrap(),
        machine: Machine::this().unwrap(),
        programs: Vec::new(),
        lines: "\n".to_owned(),
        complaints: Vec::new(),
    };
    for object in objects() {
        account.object(&object).unwrap();
    }
    // Not by println, which the harness keeps to itself when all is well.
    std::io::stderr().write_all(account.lines.as_bytes()).unwrap();
    let strangers = account.limits.strangers(&account.programs);
    assert!(strangers.is_empty(), "limits.toml names what is no program: {strangers:?}");
    assert!(account.complaints.is_empty(), "\n{}", account.complaints.join("\n"));
}

/// What was seen so far.
struct Account {
    limits: Limits,
    machine: Machine,
    programs: Vec<String>,
    /// One for each program and its privileges.
    lines: String,
    complaints: Vec<String>,
}

// === impl Account ===

impl Account {
    fn object(&mut self, object: &Object) -> Result<()> {
        let prepared = Prepared::new(object)?;
        if let Err(words) = &prepared.btf {
            let (release, name) = (&self.machine.release, object.name);
            self.lines += &format!("verifier: {release} {name} without its BTF: {words}\n");
        }
        for (name, program, function) in prepared.programs() {
            let mut most: Option<Effort> = None;
            for privileges in Privileges::BOTH {
                let outcome = attempt(object, &prepared, (program, function), privileges)?;
                if let Outcome::Loaded(effort) = &outcome {
                    let so_far = most.take().unwrap_or_else(|| effort.clone());
                    most = Some(so_far.or_more(effort));
                }
                let label = format!("{} {name} with {privileges:?}", self.machine.release);
                let length = function.instructions.len();
                let said = match self.judge(name, privileges, &outcome) {
                    Ok(said) => said,
                    Err(said) => {
                        self.complaints.push(format!("{label}: {said}"));
                        said
                    }
                };
                self.lines += &format!("verifier: {label}: {said}, {length} long\n");
            }
            if let Some(effort) = most {
                effort.said_of(name).say();
            }
            self.programs.push(name.to_owned());
        }
        Ok(())
    }

    fn judge(&self, name: &str, privileges: Privileges, seen: &Outcome) -> Result<String, String> {
        match seen {
            Outcome::Loaded(_) if self.limits.is_forbidden(name, &self.machine) => {
                Err("loaded, although the kernel is locked down".to_owned())
            }
            Outcome::Loaded(effort) => {
                let Some(limit) = self.limits.of(name) else {
                    return Err(format!("{effort:?}, and limits.toml has no limit for it"));
                };
                let said = format!(
                    "instructions {} of {}, stack {} of {}",
                    effort.instructions, limit.instructions, effort.stack, limit.stack
                );
                match (limit.holds(effort), limit.is_loose(effort)) {
                    (false, _) => Err(said),
                    (true, true) if self.machine.is_greediest() => {
                        Err(format!("{said}, too loose"))
                    }
                    (true, true) => Ok(format!("{said}, which is loose for this kernel")),
                    (true, false) => Ok(said),
                }
            }
            Outcome::Refused(words) => {
                match self.limits.refusal(name, privileges, &self.machine, words) {
                    Some(refusal) => Ok(format!("refused, as expected: {}", refusal.reason)),
                    None => Err(format!("refused: {words}")),
                }
            }
        }
    }
}

/// Loads one program. A hook that this kernel does not have is a refusal too.
fn attempt(
    object: &Object,
    prepared: &Prepared,
    (program, function): (&Program, &Function),
    privileges: Privileges,
) -> Result<Outcome> {
    let kind = Kind::of(&program.section)?;
    let told = match kind.told(object.hook) {
        Ok(told) => told,
        Err(error) => return Ok(Outcome::Refused(format!("{error:#}"))),
    };
    let btf = match &prepared.btf {
        Ok(btf) => Some(btf),
        Err(words) if kind.is_typed() => {
            return Ok(Outcome::Refused(format!("the object's BTF: {words}")));
        }
        Err(_) => None,
    };
    privileges.with(kind.capabilities(), || load(program, function, btf, told))
}
