//! Names of addresses in the kernel's code.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, BufRead, BufReader, Seek as _},
};

use super::privileges::{Privilege, Privileges};

pub(super) const PATH: &str = "/proc/kallsyms";
/// What changes when functions come or go with a module.
const MODULES: &str = "/proc/modules";
const RESTRICTION: &str = "/proc/sys/kernel/kptr_restrict";
/// The first symbols of a kernel may be at 0: those of the per-CPU section.
const FIRST: usize = 512;
/// In bytes; what lies further behind a symbol belongs to nothing that has a name.
const LONGEST_FUNCTION: u64 = 1 << 20;

/// The kernel's list of functions, kept in few bytes a function: the kernel takes long to write it,
/// and new places drop packets all day.
///
/// It stays open, because the kernel judges who may see addresses when it is opened
/// (`kallsyms_open`, kernel/kallsyms.c, 5.10): a daemon gives up CAP_SYSLOG after its start.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    list: Option<File>,
    table: Table,
    /// The modules when the list was read.
    modules: Option<String>,
    known: BTreeMap<u64, Option<String>>,
}

/// Functions by address.
#[derive(Debug, Default)]
struct Table {
    /// Where each begins.
    starts: Vec<u64>,
    /// Where its name begins.
    at: Vec<u32>,
    /// The names, each with a line's end.
    names: String,
}

// === impl Symbols ===

impl Symbols {
    /// Opens the list; without one nothing has a name.
    pub(super) fn open() -> Self {
        Self { list: File::open(PATH).ok(), ..Self::default() }
    }

    /// Whether the kernel shows addresses to this process: it writes zeros to who may not see them.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub(super) fn are_visible() -> io::Result<bool> {
        shows_addresses(BufReader::new(File::open(PATH)?))
    }

    /// Who hides the addresses from this process: 2 hides them from everybody, 1 and 0 from
    /// processes without CAP_SYSLOG (kernel/kallsyms.c, `kallsyms_show_value`, 5.10).
    pub(super) fn hidden_by() -> String {
        let restriction = fs::read_to_string(RESTRICTION).unwrap_or_default();
        hidden_by(restriction.trim(), Privileges::effective().has(Privilege::Syslog))
    }

    /// Finds the names of `addresses`, for [`Symbols::name`] to give. An address is one that a
    /// call returns to.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub(super) fn find(&mut self, addresses: impl Iterator<Item = u64>) -> io::Result<()> {
        let wanted: BTreeSet<u64> =
            addresses.filter(|address| !self.known.contains_key(address)).collect();
        if !wanted.is_empty() {
            self.read()?;
            let name = |address| (address, self.table.name(address).map(str::to_owned));
            self.known.extend(wanted.into_iter().map(name));
        }
        Ok(())
    }

    /// Reads the list, unless it is that of before.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn read(&mut self) -> io::Result<()> {
        let modules = modules();
        let is_known = modules.is_some() || !self.table.starts.is_empty();
        let is_read = is_known && modules == self.modules;
        if let Some(mut list) = self.list.as_ref().filter(|_| !is_read) {
            list.rewind()?;
            self.table = Table::read(BufReader::new(list))?;
            self.modules = modules;
        }
        Ok(())
    }

    /// The function of an address, without the compiler's suffixes (`.cold`, `.constprop.0`);
    /// `None` when the kernel does not show it, or it was not looked for.
    pub(super) fn name(&self, address: u64) -> Option<&str> {
        self.known.get(&address)?.as_deref()
    }
}

/// Names and sizes of the modules. What else [`MODULES`] says changes all the time: who uses them, and
/// their addresses once the privilege to see them is given up.
fn modules() -> Option<String> {
    let text = fs::read_to_string(MODULES).ok()?;
    let named = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    Some(text.lines().map(named).collect::<Vec<_>>().join("\n"))
}

// === impl Table ===

impl Table {
    fn read(mut list: impl BufRead) -> io::Result<Self> {
        let mut functions = Vec::new();
        let mut names = String::new();
        let mut line = String::new();
        while list.read_line(&mut line)? != 0 {
            if let Some((start, name)) = function(&line) {
                // Names of a kernel take some MiB, not GiB.
                let at = u32::try_from(names.len()).unwrap_or(u32::MAX);
                functions.push((start, at));
                names.push_str(plain(name));
                names.push('\n');
            }
            line.clear();
        }
        // Stable: of several names of one function the first is taken.
        functions.sort_by_key(|(start, _)| *start);
        functions.dedup_by_key(|(start, _)| *start);
        names.shrink_to_fit();
        let (starts, at) = functions.into_iter().unzip();
        Ok(Self { starts, at, names })
    }

    /// The function in which an address lies: the one that begins last before it. A call may be the
    /// last instruction of its function: what it returns to is then the next function's, hence
    /// "before" and not "at".
    fn name(&self, address: u64) -> Option<&str> {
        let place = self.starts.partition_point(|start| *start < address).checked_sub(1)?;
        let is_near = address - self.starts.get(place)? <= LONGEST_FUNCTION;
        let at = *self.at.get(place)? as usize;
        self.names.get(at..)?.lines().next().filter(|_| is_near)
    }
}

/// Whether the first lines have an address.
fn shows_addresses(list: impl BufRead) -> io::Result<bool> {
    for line in list.lines().take(FIRST) {
        if parse(&line?).is_some_and(|(address, ..)| address != 0) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn hidden_by(restriction: &str, may: bool) -> String {
    match (restriction, may) {
        ("2", _) => format!("{PATH} hides addresses from everybody: kernel.kptr_restrict is 2"),
        (_, false) => format!("{PATH} hides addresses without the capability SYSLOG"),
        (_, true) => format!("{PATH} hides addresses"),
    }
}

/// Start and name of a line's function; `None` for data, and where addresses are hidden.
fn function(line: &str) -> Option<(u64, &str)> {
    let (address, kind, name) = parse(line)?;
    (!matches!(address, 0 | u64::MAX) && matches!(kind, "t" | "T" | "w" | "W"))
        .then_some((address, name))
}

/// Address, kind and name of a line: `ffffffff81a0 T kfree_skb`, with a module's name behind.
fn parse(line: &str) -> Option<(u64, &str, &str)> {
    let mut words = line.split_ascii_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    Some((address, words.next()?, words.next()?))
}

/// A name without the compiler's suffixes.
fn plain(name: &str) -> &str {
    match name.find('.') {
        // A name that begins with a point has no other.
        Some(0) | None => name,
        Some(point) => &name[..point],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
0000000000000fff A fixed_percpu_data
0000000000001000 T first
0000000000001040 d some_data
0000000000001080 t second.constprop.0
0000000000003000 t vxlan_xmit\t[vxlan]
0000000000002000 t vxlan_xmit.cold\t[vxlan]
";

    fn names(addresses: &[u64]) -> Vec<Option<String>> {
        let table = Table::read(LIST.as_bytes()).unwrap();
        addresses.iter().map(|address| table.name(*address).map(str::to_owned)).collect()
    }

    #[test]
    fn an_address_belongs_to_the_last_function_that_begins_before_it() {
        let found = names(&[0x1001, 0x1050, 0x1081, 0x2010, 0x4000]);
        let expected = ["first", "first", "second", "vxlan_xmit", "vxlan_xmit"];
        assert_eq!(found, expected.map(|name| Some(name.to_owned())));
    }

    #[test]
    fn a_call_at_the_end_of_a_function_returns_to_its_own() {
        assert_eq!(names(&[0x1080, 0x1000]), [Some("first".to_owned()), None]);
    }

    #[test]
    fn what_is_far_from_every_function_has_no_name() {
        assert_eq!(names(&[0x3000 + LONGEST_FUNCTION + 1]), [None]);
    }

    #[test]
    fn hidden_addresses_give_no_names() {
        let hidden = "0000000000000000 T first\n0000000000000000 T second\n";
        assert!(!shows_addresses(hidden.as_bytes()).unwrap());
        assert!(!shows_addresses(&b""[..]).unwrap());
        assert!(shows_addresses(LIST.as_bytes()).unwrap());
        let first_is_zero = "0000000000000000 A __per_cpu_start\nffffffff81000000 T _text\n";
        assert!(shows_addresses(first_is_zero.as_bytes()).unwrap());
        assert_eq!(Table::read(hidden.as_bytes()).unwrap().name(0x1001), None);
    }

    #[test]
    fn who_hides_them_is_told() {
        for may in [true, false] {
            assert!(hidden_by("2", may).ends_with("kptr_restrict is 2"));
        }
        assert!(hidden_by("1", false).ends_with("without the capability SYSLOG"));
        assert!(hidden_by("0", true).ends_with("hides addresses"));
    }

    #[test]
    fn odd_lines_are_passed_over() {
        let odd = "\n12\nxyz T name\n0000000000001000 T\n0000000000001000 T good\n";
        assert_eq!(Table::read(odd.as_bytes()).unwrap().name(0x1004), Some("good"));
    }
}
