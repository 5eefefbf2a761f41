//! What a kernel's verifier took for a program: what the suite `verifier` says in a guest, in a line
//! that the host reads back.
//!
//! ```text
//! vm NONCE effort overlay_in 53121 344
//! ```

use serde::{Deserialize, Serialize};

use crate::cell::{line_of, said_of, tell_host};

/// What the lines to the host begin with.
const WORD: &str = "effort";

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
    /// Says it to the host of this guest; elsewhere it says nothing.
    ///
    /// # Panics
    /// When standard error cannot be written to.
    pub fn say(&self) {
        tell_host(WORD, &self.words());
    }

    /// The line for the console of the guest with this nonce.
    #[must_use]
    pub fn line(&self, nonce: &str) -> String {
        line_of(nonce, WORD, &self.words())
    }

    fn words(&self) -> String {
        format!("{} {} {}", self.program, self.instructions, self.stack)
    }

    /// Reads a line of the console of the guest with this nonce.
    #[must_use]
    pub fn read(line: &str, nonce: &str) -> Option<Self> {
        let words: Vec<&str> = said_of(line, nonce, WORD)?.split(' ').collect();
        let [program, instructions, stack] = words[..] else { return None };
        let (instructions, stack) = (instructions.parse().ok()?, stack.parse().ok()?);
        Some(Self { program: program.to_owned(), instructions, stack })
    }
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
