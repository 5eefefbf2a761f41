//! The archive that an initramfs is: cpio in its "newc" form
//! (Documentation/driver-api/early-userspace/buffer-format.rst, Linux 6.18).

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Component, Path};

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
/// Links into `/usr`.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// Writes an archive, file by file; directories come by themselves. The first file of a path stays.
pub(super) struct Archive<W: Write> {
    out: W,
    written: u64,
    inode: u32,
    present: BTreeSet<String>,
}

// === impl Archive ===

impl<W: Write> Archive<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, written: 0, inode: 0, present: BTreeSet::new() }
    }

    /// Makes `/bin` and its like links into `/usr`.
    pub(super) fn merge(&mut self) -> io::Result<()> {
        MERGED.iter().try_for_each(|name| self.link(name, &format!("usr/{name}")))
    }

    /// Adds an executable file.
    pub(super) fn file(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        self.entry(path, FILE, content)
    }

    /// Adds a symbolic link.
    pub(super) fn link(&mut self, path: &str, to: &str) -> io::Result<()> {
        self.entry(path, LINK, to.as_bytes())
    }

    /// Adds an empty directory.
    pub(super) fn directory(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, DIRECTORY, &[])
    }

    /// Whether something is there already.
    pub(super) fn has(&self, path: &str) -> bool {
        self.present.contains(&relative(path))
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.record("TRAILER!!!", 0, &[])?;
        self.out.flush()
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let path = relative(path);
        if path.is_empty() || !self.present.insert(path.clone()) {
            return Ok(());
        }
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent)?;
        }
        self.record(&path, mode, content)
    }

    fn record(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.inode += 1;
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        let name_size = name.len() as u32 + 1;
        // inode, mode, uid, gid, links, mtime, size, device (2), rdevice (2), name, checksum
        let numbers = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        let mut head = String::from("070701");
        numbers.iter().for_each(|number| head.push_str(&format!("{number:08x}")));
        self.put(head.as_bytes())?;
        self.put(name.as_bytes())?;
        self.put(&[0])?;
        self.pad()?;
        self.put(content)?;
        self.pad()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// To the next multiple of four.
    fn pad(&mut self) -> io::Result<()> {
        let missing = (4 - self.written % 4) % 4;
        self.put(&[0; 3][..missing as usize])
    }
}

/// `/a/../b` as `b`: archives hold paths below the root. Of a merged system, as Debian's is: what
/// is in `/bin` is in `/usr/bin`.
fn relative(path: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            Component::ParentDir => drop(parts.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if parts.len() > 1 && MERGED.contains(&parts[0].as_str()) {
        parts.insert(0, "usr".to_owned());
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(archive: &[u8]) -> Vec<String> {
        let (mut names, mut at) = (Vec::new(), 0);
        let number = |at: usize| {
            let text = std::str::from_utf8(&archive[at..at + 8]).expect("text");
            usize::from_str_radix(text, 16).expect("a number")
        };
        let aligned = |at: usize| at.div_ceil(4) * 4;
        while at < archive.len() {
            assert_eq!(&archive[at..at + 6], b"070701");
            let (size, name) = (number(at + 54), number(at + 94));
            let text = &archive[at + 110..at + 109 + name];
            names.push(String::from_utf8(text.to_vec()).expect("text"));
            at = aligned(aligned(at + 110 + name) + size);
        }
        names
    }

    #[test]
    fn parents_come_first_and_nothing_comes_twice() {
        let mut bytes = Vec::new();
        let mut archive = Archive::new(&mut bytes);
        archive.file("/a/b/c", b"12345").expect("a vector takes all");
        archive.file("/a/x/../b/c", b"again").expect("a vector takes all");
        archive.link("/a/d", "b/c").expect("a vector takes all");
        archive.file("/bin/e", b"").expect("a vector takes all");
        assert!(archive.has("/a/d") && !archive.has("/d"));
        archive.finish().expect("a vector takes all");
        assert_eq!(
            names(&bytes),
            ["a", "a/b", "a/b/c", "a/d", "usr", "usr/bin", "usr/bin/e", "TRAILER!!!",]
        );
        assert_eq!(bytes.len() % 4, 0);
    }
}
