//! The kernel's own type information: where a structure keeps a field, what an enum's numbers are
//! called, how many arguments a tracepoint has.
//!
//! The format is that of include/uapi/linux/btf.h (Linux 6.18), in the machine's byte order. Only
//! what is asked for is decoded; the rest stays bytes.

use std::{fs, io, path::Path};

/// Where the kernel shows it, if it was built with CONFIG_DEBUG_INFO_BTF.
pub(super) const PATH: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
/// Bytes of `struct btf_type` before what its kind adds.
const TYPE: usize = 12;
/// Bytes of `struct btf_member` and of `struct btf_enum`.
const MEMBER: usize = 12;
const ENUMERATOR: usize = 8;
/// Links from one type to the next that are followed: more than any kernel nests.
const DEPTH: usize = 32;

const PTR: u32 = 2;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const FUNC_PROTO: u32 = 13;
/// BTF_KIND_VOLATILE, CONST, RESTRICT and TYPE_TAG: they change nothing here.
const QUALIFIERS: [u32; 4] = [9, 10, 11, 18];

/// Why the kernel's types cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BtfError {
    /// No file, or no permission.
    #[error("{PATH} cannot be read: {0}")]
    Read(#[from] io::Error),
    /// Not the format that is known.
    #[error("{PATH} is not as expected: {0}")]
    Format(&'static str),
}

/// Type information, decoded as far as where each type begins.
pub(super) struct Btf {
    data: Vec<u8>,
    /// Where each type begins, by its number less one: number 0 is `void`.
    types: Vec<u32>,
    /// Where names begin.
    strings: usize,
}

/// One type.
#[derive(Clone, Copy)]
struct Type<'a> {
    btf: &'a Btf,
    at: usize,
}

/// A member of a structure or union.
struct Member<'a> {
    name: &'a str,
    type_number: u32,
    /// In bytes from the start of its structure.
    offset: u32,
}

// === impl Btf ===

impl Btf {
    /// The running kernel's.
    pub(super) fn of_kernel() -> Result<Self, BtfError> {
        Self::parse(fs::read(Path::new(PATH))?)
    }

    /// Finds where each type begins.
    pub(super) fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        let damaged = BtfError::Format("its header is damaged");
        let mut btf = Self { data, types: Vec::new(), strings: 0 };
        let header = [4, 8, 12, 16].map(|at| btf.word(at));
        let [Some(header), Some(types), Some(length), Some(strings)] = header else {
            return Err(damaged);
        };
        if btf.data.first_chunk().map(|magic| u16::from_ne_bytes(*magic)) != Some(MAGIC) {
            return Err(BtfError::Format("it does not begin as BTF does"));
        }
        let (header, start) = (header as usize, header as usize + types as usize);
        btf.strings = header + strings as usize;
        let (mut at, end) = (start, start + length as usize);
        while at < end {
            btf.types.push(u32::try_from(at).map_err(|_| damaged_type())?);
            at += Type { btf: &btf, at }.size().ok_or_else(damaged_type)?;
        }
        Ok(btf)
    }

    /// Where a member lies in the structure of this name, in bytes. `path` leads through members
    /// that are structures themselves; members of unnamed structures and unions are found as C
    /// finds them.
    pub(super) fn offset(&self, structure: &str, path: &[&str]) -> Option<u32> {
        self.named(STRUCT, structure).find_map(|found| found.offset(path))
    }

    /// Numbers and names of an enum.
    pub(super) fn enumerators(&self, name: &str) -> Option<Vec<(u32, &str)>> {
        let found = self.named(ENUM, name).next()?;
        let entries = (0..found.length()).filter_map(|index| {
            let at = found.at + TYPE + index * ENUMERATOR;
            Some((self.word(at + 4)?, self.text(self.word(at)?)?))
        });
        Some(entries.collect())
    }

    /// How many arguments a tracepoint hands to its programs: those of its `btf_trace_` type
    /// (include/trace/bpf_probe.h) less the first, which is the tracer's own.
    pub(super) fn tracepoint_arguments(&self, tracepoint: &str) -> Option<u32> {
        let typedef = self.named(TYPEDEF, &format!("btf_trace_{tracepoint}")).next()?;
        let pointer = typedef.target().filter(|it| it.kind() == PTR)?;
        let function = pointer.target().filter(|it| it.kind() == FUNC_PROTO)?;
        u32::try_from(function.length()).ok()?.checked_sub(1)
    }

    /// All types of a kind and name: the kernel may have several structures of one name.
    fn named(&self, kind: u32, name: &str) -> impl Iterator<Item = Type<'_>> {
        let all = self.types.iter().map(|at| Type { btf: self, at: *at as usize });
        all.filter(move |it| it.kind() == kind && it.is_named(name))
    }

    fn numbered(&self, number: u32) -> Option<Type<'_>> {
        let index = (number as usize).checked_sub(1)?;
        self.types.get(index).map(|at| Type { btf: self, at: *at as usize })
    }

    fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.data.get(at..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*bytes))
    }

    /// The name that begins at an offset among the names.
    fn text(&self, offset: u32) -> Option<&str> {
        let rest = self.data.get(self.strings + offset as usize..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        str::from_utf8(&rest[..end]).ok()
    }
}

fn damaged_type() -> BtfError {
    BtfError::Format("it has a type that this version does not know")
}

// === impl Type ===

impl<'a> Type<'a> {
    fn info(self) -> u32 {
        self.btf.word(self.at + 4).unwrap_or_default()
    }

    fn kind(self) -> u32 {
        self.info() >> 24 & 0x1f
    }

    /// Of a structure, enum or function: how many entries follow.
    fn length(self) -> usize {
        (self.info() & 0xffff) as usize
    }

    /// Compares bytes: it is asked of every type.
    fn is_named(self, name: &str) -> bool {
        let Some(offset) = self.btf.word(self.at) else { return false };
        let text = self.btf.data.get(self.btf.strings + offset as usize..).unwrap_or_default();
        text.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }

    /// The type that a pointer, typedef or qualifier is about.
    fn target(self) -> Option<Type<'a>> {
        self.btf.numbered(self.btf.word(self.at + 8)?)
    }

    /// In bytes, with what the kind adds; `None` for kinds that are not known.
    fn size(self) -> Option<usize> {
        let added = match self.kind() {
            // Pointer, forward declaration, typedef, qualifiers, function, float.
            2 | 7..=12 | 16 | 18 => 0,
            // Integer, variable, declaration tag.
            1 | 14 | 17 => 4,
            // Array.
            3 => 12,
            STRUCT | UNION => self.length() * MEMBER,
            ENUM | FUNC_PROTO => self.length() * ENUMERATOR,
            // Section, enum of 64 bits.
            15 | 19 => self.length() * 12,
            _ => return None,
        };
        Some(TYPE + added)
    }

    /// This type without typedefs and qualifiers, if that is a structure or a union.
    fn structure(self) -> Option<Type<'a>> {
        let mut found = self;
        for _ in 0..DEPTH {
            match found.kind() {
                STRUCT | UNION => return Some(found),
                kind if kind == TYPEDEF || QUALIFIERS.contains(&kind) => found = found.target()?,
                _ => return None,
            }
        }
        None
    }

    fn members(self) -> impl Iterator<Item = Member<'a>> {
        // With the flag, the upper byte of an offset is the width of a bit field.
        let mask = if self.info() >> 31 == 0 { u32::MAX } else { 0x00ff_ffff };
        (0..self.length()).filter_map(move |index| {
            let at = self.at + TYPE + index * MEMBER;
            let word = |at| self.btf.word(at);
            Some(Member {
                name: self.btf.text(word(at)?)?,
                type_number: word(at + 4)?,
                offset: (word(at + 8)? & mask) / 8,
            })
        })
    }

    fn offset(self, path: &[&str]) -> Option<u32> {
        let Some((first, rest)) = path.split_first() else { return Some(0) };
        self.find(first, DEPTH).and_then(|member| {
            let inner = if rest.is_empty() {
                0
            } else {
                self.btf.numbered(member.type_number)?.structure()?.offset(rest)?
            };
            Some(member.offset + inner)
        })
    }

    /// A member by its name, also in unnamed structures and unions in this one.
    fn find(self, name: &str, depth: usize) -> Option<Member<'a>> {
        self.members().find_map(|member| {
            if member.name == name {
                return Some(member);
            }
            if !member.name.is_empty() || depth == 0 {
                return None;
            }
            let unnamed = self.btf.numbered(member.type_number)?.structure()?;
            let found = unnamed.find(name, depth - 1)?;
            Some(Member { offset: member.offset + found.offset, ..found })
        })
    }
}

#[cfg(test)]
mod tests;
