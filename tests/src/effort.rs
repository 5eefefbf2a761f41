//! What a kernel's verifier took for a program: what the suite `verifier` says in a guest, in a line
//! that the host reads back.
//!
//! ```text
//! vm NONCE effort overlay_in 53121 344
//! ```

use std::{env, io::Write as _};

use serde::{Deserialize, Serialize};

use crate::cell::NONCE_VARIABLE;

/// What the verifier took for one program, with those privileges for which it took most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effort {
    /// The program's name in the object.
    pub program: String,
    /// Instructions that it went through, on all paths together.
    pub instructions: u64,
    /// Bytes of stack of the deepest chain of calls.
    pub stack: u64,
}

// === impl Effort ===

impl Effort {
    /// Says it on standard error to the host of this guest; elsewhere it says nothing.
    ///
    /// # Panics
    /// When standard error cannot be written to.
    pub fn say(&self) {
        let Ok(nonce) = env::var(NONCE_VARIABLE) else { return };
        #[expect(clippy::expect_used, reason = "a result that nobody hears of is none")]
        std::io::stderr()
            .write_all(format!("\n{}\n", self.line(&nonce)).as_bytes())
            .expect("standard error is open");
    }

    /// The line for the console of the guest with this nonce.
    #[must_use]
    pub fn line(&self, nonce: &str) -> String {
        format!("{}{} {} {}", head(nonce), self.program, self.instructions, self.stack)
    }

    /// Reads a line of the console of the guest with this nonce.
    #[must_use]
    pub fn read(line: &str, nonce: &str) -> Option<Self> {
        let words: Vec<&str> = line.trim_end().strip_prefix(&head(nonce))?.split(' ').collect();
        let [program, instructions, stack] = words[..] else { return None };
        let (instructions, stack) = (instructions.parse().ok()?, stack.parse().ok()?);
        Some(Self { program: program.to_owned(), instructions, stack })
    }
}

fn head(nonce: &str) -> String {
    format!("vm {nonce} effort ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read_back_and_nothing_else_is() {
        let effort = Effort { program: "wire_in".to_owned(), instructions: 53_121, stack: 344 };
        let line = effort.line("7af3");
        assert_eq!(Effort::read(&format!("{line}\r\n"), "7af3"), Some(effort));
        for other in [format!(" {line}"), format!("{line} 1"), line.replace("344", "x")] {
            assert_eq!(Effort::read(&other, "7af3"), None, "{other}");
        }
        assert_eq!(Effort::read(&line, "0000"), None);
    }
}
