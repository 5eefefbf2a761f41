//! What the kernel's log says of processes that were killed for want of memory.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
};

use jiff::{SignedDuration, Timestamp};
use nix::time::{ClockId, clock_gettime};

use crate::evidence::OomKill;

const DEVICE: &str = "/dev/kmsg";
/// The largest record (kernel/printk/printk.c, PRINTK_MESSAGE_MAX 2048, 6.18); one that is larger
/// is refused and passed over.
const RECORD: usize = 8192;
/// More records than any log holds: the end of a log that grows as it is read.
const MOST_RECORDS: usize = 1_000_000;

/// The kernel's log, read as far as it goes. It stays readable when the privilege that opened it,
/// SYSLOG, has been given up.
#[derive(Debug)]
pub(super) struct KernelLog {
    file: Option<File>,
    /// The last kill of each name.
    kills: Vec<OomKill>,
}

impl KernelLog {
    /// Opens the log. Where that is not allowed it stays empty, and a line says so.
    pub(super) fn open(unseen: &mut Vec<String>) -> Self {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(DEVICE);
        let file = file.map_err(|error| {
            unseen.push(format!(
                "the kernel's log of processes killed for memory: {DEVICE}: {error}"
            ));
        });
        Self { file: file.ok(), kills: Vec::new() }
    }

    /// The last process with a name that `is_meant` and that the kernel killed.
    pub(super) fn last_kill(&mut self, is_meant: impl Fn(&str) -> bool) -> Option<OomKill> {
        self.read_on();
        self.kills.iter().filter(|kill| is_meant(&kill.name)).max_by_key(|kill| kill.time).cloned()
    }

    /// Reads what was logged since.
    fn read_on(&mut self) {
        let Some(file) = &mut self.file else { return };
        let Some(boot) = boot() else { return };
        let mut record = [0; RECORD];
        for _ in 0..MOST_RECORDS {
            let length = match file.read(&mut record) {
                Ok(0) => return,
                Ok(length) => length,
                // Overwritten before it was read, or too long: the next one follows.
                Err(error) if is_skipped(&error) => continue,
                Err(_) => return,
            };
            let text = String::from_utf8_lossy(&record[..length]);
            if let Some(kill) = parse(&text, boot) {
                self.kills.retain(|known| known.name != kill.name);
                self.kills.push(kill);
            }
        }
    }
}

fn is_skipped(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPIPE | libc::EINVAL | libc::EINTR))
}

/// When the clock of the kernel's log began.
fn boot() -> Option<Timestamp> {
    let up = clock_gettime(ClockId::CLOCK_MONOTONIC).ok()?;
    let up = SignedDuration::new(up.tv_sec(), i32::try_from(up.tv_nsec()).ok()?);
    Timestamp::now().checked_sub(up).ok()
}

/// A record `6,1234,5678901,-;oom-kill:constraint=..,task_memcg=/pod,task=flanneld,pid=7,uid=0`:
/// the third number is microseconds since boot (dump_oom_summary in mm/oom_kill.c, since 5.0).
fn parse(record: &str, boot: Timestamp) -> Option<OomKill> {
    let (prefix, text) = record.split_once(';')?;
    let fields = text.lines().next()?.strip_prefix("oom-kill:")?;
    let field = |name: &str| {
        let mut fields = fields.split(',').filter_map(|field| field.split_once('='));
        fields.find(|(found, _)| *found == name).map(|(_, value)| value)
    };
    let numbers: Vec<&str> = prefix.split(',').collect();
    // A process that writes into the log is of another facility than the kernel's own, 0.
    let is_kernels = numbers.first()?.parse::<u32>().is_ok_and(|priority| priority < 8);
    let microseconds = numbers.get(2)?.parse().ok().filter(|_| is_kernels)?;
    Some(OomKill {
        time: boot.checked_add(SignedDuration::from_micros(microseconds)).ok()?,
        name: field("task")?.to_owned(),
        pid: field("pid")?.parse().ok()?,
        cgroup: field("task_memcg").unwrap_or_default().to_owned(),
        by_limit: field("constraint") == Some("CONSTRAINT_MEMCG"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = "6,901,61000000,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),\
        cpuset=c,mems_allowed=0,oom_memcg=/kubepods/pod1,task_memcg=/kubepods/pod1/c,\
        task=flanneld,pid=4711,uid=0\n SUBSYSTEM=x\n";

    fn boot() -> Timestamp {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_kill_is_read_with_its_time_name_and_cgroup() {
        let expected = OomKill {
            time: "2026-01-01T12:01:01Z".parse().unwrap(),
            name: "flanneld".to_owned(),
            pid: 4711,
            cgroup: "/kubepods/pod1/c".to_owned(),
            by_limit: true,
        };
        assert_eq!(parse(RECORD, boot()), Some(expected));
        let of_node = RECORD.replace("CONSTRAINT_MEMCG", "CONSTRAINT_NONE");
        assert!(!parse(&of_node, boot()).unwrap().by_limit);
    }

    #[test]
    fn other_lines_are_no_kill() {
        for record in [
            "",
            "6,1,2,-;flanneld invoked oom-killer: gfp_mask=0xcc0",
            "6,1,2,-;oom-kill:constraint=CONSTRAINT_MEMCG",
            "6,1;oom-kill:task=flanneld,pid=1",
            "12,1,2,-;oom-kill:constraint=CONSTRAINT_MEMCG,task=flanneld,pid=1",
        ] {
            assert_eq!(parse(record, boot()), None, "{record}");
        }
    }

    #[test]
    fn the_last_kill_of_a_name_is_told() {
        let kill = |name: &str, second: i64| OomKill {
            time: Timestamp::from_second(second).unwrap(),
            name: name.to_owned(),
            pid: 1,
            cgroup: String::new(),
            by_limit: true,
        };
        let kills = vec![kill("flanneld", 5), kill("nginx", 9), kill("kube-flannel", 7)];
        let mut log = KernelLog { file: None, kills };
        let last = log.last_kill(|name| name.contains("flannel")).unwrap();
        assert_eq!(last.time, Timestamp::from_second(7).unwrap());
        assert_eq!(log.last_kill(|name| name == "k3s"), None);
    }
}
