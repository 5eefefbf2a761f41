//! What is wrong with the answers of a DNS server: errors, and answers that come too late.

use crate::{
    evidence::{DnsAnswers, DnsServer},
    export::dns::rcode,
};

pub(super) const SERVFAIL: u8 = 2;
const REFUSED: u8 = 5;
/// What says that a server cannot, or does not want to.
const ERRORS: [u8; 2] = [SERVFAIL, REFUSED];
/// How many errors, and how many late answers, mean something, and as which part of all answers: one
/// name whose own server is slow is no fault of this one.
const ENOUGH_ERRORS: u64 = 5;
const ENOUGH_LATE: u64 = 3;
const ONE_IN: u64 = 10;

/// A server's answers as they matter here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Trouble {
    /// In time and too late.
    pub(super) answers: u64,
    /// Too late, errors among them.
    pub(super) late: u64,
    /// The latencies of these together.
    pub(super) late_seconds: f64,
    /// Errors among these.
    pub(super) late_errors: u64,
    /// Errors, late ones among them, by their codes.
    errors: [u64; 2],
}

// === impl Trouble ===

impl Trouble {
    pub(super) fn of(server: &DnsServer) -> Self {
        let late = || server.late.iter();
        let all = || server.answers.iter().chain(late());
        let is_error = |it: &&DnsAnswers| ERRORS.contains(&it.rcode);
        let of_code = |code| all().filter(|it| it.rcode == code).map(|it| it.answers).sum::<u64>();
        Self {
            answers: all().map(|it| it.answers).sum(),
            late: late().map(|it| it.answers).sum(),
            late_seconds: late().map(|it| it.seconds).sum(),
            late_errors: late().filter(is_error).map(|it| it.answers).sum(),
            errors: ERRORS.map(of_code),
        }
    }

    /// Errors, by their codes: those that there are.
    pub(super) fn errors(&self) -> impl Iterator<Item = (u8, u64)> {
        ERRORS.into_iter().zip(self.errors).filter(|(_, answers)| *answers > 0)
    }

    /// The codes of these, in words.
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.errors().map(|(code, _)| rcode(code)).collect()
    }

    /// Whether that it answers too late is to be told of it. Where it gives up late, that it does.
    pub(super) fn is_late(&self) -> bool {
        self.has_much_late() && !(self.has_many_errors() && self.gives_up_late())
    }

    /// Whether that it errs is to be told of it. Where it mostly answers, and late, that it does.
    pub(super) fn is_erring(&self) -> bool {
        let errs_late = 2 * self.late_errors > self.sum_of_errors();
        let is_of_lateness = self.has_much_late() && errs_late && !self.gives_up_late();
        self.has_many_errors() && !is_of_lateness
    }

    const fn has_much_late(&self) -> bool {
        self.late >= ENOUGH_LATE && self.late * ONE_IN >= self.answers
    }

    fn has_many_errors(&self) -> bool {
        let errors = self.sum_of_errors();
        errors >= ENOUGH_ERRORS && errors * ONE_IN >= self.answers
    }

    /// Whether most of what comes late are errors.
    const fn gives_up_late(&self) -> bool {
        2 * self.late_errors > self.late
    }

    fn sum_of_errors(&self) -> u64 {
        self.errors.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(rcode: u8, answers: u64) -> DnsAnswers {
        DnsAnswers { endpoint: None, rcode, truncated: false, bucket: 3, answers, seconds: 1.0 }
    }

    #[test]
    fn of_one_server_one_thing_is_told_where_both_are_one() {
        // Answers and errors in time, answers and errors too late: late, erring.
        for (counts, expected) in [
            ([90, 10, 0, 0], [false, true]),
            ([90, 0, 10, 0], [true, false]),
            ([0, 0, 0, 4], [true, false]),
            ([0, 0, 0, 50], [false, true]),
            ([0, 0, 2, 4], [true, false]),
            ([0, 0, 4, 6], [false, true]),
            ([0, 2, 6, 4], [true, false]),
            ([0, 16, 6, 4], [true, true]),
            ([200, 4, 2, 0], [false, false]),
        ] {
            let [good, bad, late_good, late_bad] = counts;
            let server = DnsServer {
                answers: vec![answers(0, good), answers(SERVFAIL, bad)],
                late: vec![answers(3, late_good), answers(REFUSED, late_bad)],
                ..DnsServer::default()
            };
            let trouble = Trouble::of(&server);
            assert_eq!([trouble.is_late(), trouble.is_erring()], expected, "{counts:?}");
            assert_eq!(trouble.answers, counts.iter().sum::<u64>());
        }
    }
}
