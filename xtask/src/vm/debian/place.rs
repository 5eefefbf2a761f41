//! Where Debian's packages are to be had, and which of several is taken. Pure.

use std::fmt;

use anyhow::{Result, bail};
use jiff::Span;
use jiff::civil::Date;

/// One of Debian's archives, by its name, and what follows a release's name in it.
pub(super) type Archive = (&'static str, &'static str);

/// How many days ago the archive is asked for as it was: its index names some packages that are gone
/// from it for a while, and a line ends with its release, or when a newer one takes its place in the
/// backports.
const AGES: [i64; 3] = [7, 60, 365];

/// A place that has archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Debian's mirrors, with what is there now.
    Mirror,
    /// snapshot.debian.org, which keeps what was there on a day, index and packages.
    Snapshot(Date),
}

/// All of them, the best first.
pub(super) fn places(today: Date) -> Vec<Place> {
    let ago = |days: &i64| Place::Snapshot(today.saturating_sub(Span::new().days(*days)));
    [Place::Mirror].into_iter().chain(AGES.iter().map(ago)).collect()
}

/// What the first choice gives that gives anything; else what each said.
pub(in crate::vm) fn first<C: fmt::Display, T>(
    choices: &[C],
    mut get: impl FnMut(&C) -> Result<T>,
) -> Result<T> {
    let mut said = Vec::new();
    for choice in choices {
        match get(choice) {
            Ok(found) => return Ok(found),
            Err(error) => said.push(format!("{choice}: {error:#}")),
        }
    }
    bail!("{}", said.join("; "))
}

// === impl Place ===

impl Place {
    /// The line of sources.list(5) for a release in an archive, whose signatures must be of `keys`.
    pub(super) fn source(self, (archive, suffix): Archive, release: &str, keys: &str) -> String {
        match self {
            Self::Mirror => format!(
                "deb [signed-by={keys}] http://deb.debian.org/{archive} {release}{suffix} main\n"
            ),
            // An index says until when it is valid; one of those days is not valid any more.
            Self::Snapshot(day) => format!(
                "deb [signed-by={keys} check-valid-until=no] \
                 http://snapshot.debian.org/archive/{archive}/{}T000000Z {release}{suffix} main\n",
                day.strftime("%Y%m%d")
            ),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mirror => write!(f, "deb.debian.org"),
            Self::Snapshot(day) => write!(f, "snapshot.debian.org of {day}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;
    use jiff::civil::date;

    use super::*;

    /// What a fetch takes where each place has the versions that `index` names and those for which
    /// `is_there` holds can be downloaded; and in which order it asked.
    fn taken(
        index: impl Fn(&Place) -> Vec<&'static str>,
        is_there: impl Fn(&Place, &str) -> bool,
    ) -> (Result<String>, Vec<String>) {
        let mut asked = Vec::new();
        let got = first(&places(date(2026, 3, 5)), |place| {
            first(&index(place), |version| {
                asked.push(format!("{version} {place}"));
                let gone = || anyhow!("404");
                is_there(place, version).then(|| (*version).to_owned()).ok_or_else(gone)
            })
        });
        (got, asked)
    }

    #[test]
    fn a_version_that_is_gone_from_the_mirror_gives_way_to_the_next_one_there() {
        let (got, asked) = taken(|_| vec!["6.1.9", "6.1.8"], |_, version| version == "6.1.8");
        assert_eq!(got.expect("it is there"), "6.1.8");
        assert_eq!(asked, ["6.1.9 deb.debian.org", "6.1.8 deb.debian.org"]);
    }

    #[test]
    fn a_line_that_is_gone_from_the_mirror_is_taken_from_the_latest_snapshot_that_has_it() {
        let kept = Place::Snapshot(date(2026, 1, 4));
        let (got, asked) = taken(|_| vec!["6.1.9"], |place, _| *place == kept);
        assert_eq!(got.expect("it is there"), "6.1.9");
        let snapshots =
            ["6.1.9 snapshot.debian.org of 2026-02-26", "6.1.9 snapshot.debian.org of 2026-01-04"];
        assert_eq!(asked, [["6.1.9 deb.debian.org"].as_slice(), &snapshots].concat());
        // A place whose index does not name it is no end either.
        let of_kept = |place: &Place| if *place == kept { vec!["6.1.9"] } else { vec![] };
        assert_eq!(taken(of_kept, |_, _| true).1, ["6.1.9 snapshot.debian.org of 2026-01-04"]);
    }

    #[test]
    fn what_no_place_has_is_told_with_what_each_said() {
        let error = taken(|_| vec!["6.1.9"], |_, _| false).0.expect_err("it is nowhere");
        let said = error.to_string();
        assert!(said.starts_with("deb.debian.org: 6.1.9: 404; snapshot.debian.org of "), "{said}");
        assert_eq!(said.matches("404").count(), 1 + AGES.len(), "{said}");
    }

    #[test]
    fn a_snapshot_is_the_same_archive_of_a_day() {
        let source =
            |place: Place| place.source(("debian-security", "-security"), "bookworm", "/k");
        assert_eq!(
            source(Place::Mirror),
            "deb [signed-by=/k] http://deb.debian.org/debian-security bookworm-security main\n"
        );
        assert_eq!(
            source(Place::Snapshot(date(2026, 1, 4))),
            "deb [signed-by=/k check-valid-until=no] http://snapshot.debian.org/archive/\
             debian-security/20260104T000000Z bookworm-security main\n"
        );
    }
}
