//! What is known of the node beside its tables, read again now and then.

use std::time::{Duration, Instant};

use tracer::{
    evidence::{Flannel, Intent, Node},
    process::FlannelWatch,
};

use super::super::{Failure, collect};
use crate::cli::NodeArgs;

/// How long it is good for: reading every process costs some milliseconds.
const GOOD_FOR: Duration = Duration::from_secs(30);

/// What files and processes say.
pub(super) struct Known {
    /// Who this node is.
    pub(super) node: Node,
    /// What flannel means the tables to hold.
    pub(super) intent: Intent,
    /// flannel's process.
    pub(super) flannel: Flannel,
    /// What could not be told.
    pub(super) unseen: Vec<String>,
    /// What could not be opened when there were privileges.
    never_seen: Vec<String>,
    watch: FlannelWatch,
    read: Instant,
}

impl Known {
    /// Reads everything for the first time.
    pub(super) fn read(args: &NodeArgs) -> Result<Self, Failure> {
        let mut unseen = Vec::new();
        let intent = collect::read_intent(args, &mut unseen)?;
        let node = collect::node(args);
        let mut never_seen = Vec::new();
        let mut watch = FlannelWatch::new(&mut never_seen);
        let flannel = watch.find(&mut unseen);
        unseen.extend(never_seen.clone());
        Ok(Self { node, intent, flannel, unseen, never_seen, watch, read: Instant::now() })
    }

    /// Reads it again when it has grown old. What can no longer be read, as after privileges were
    /// given up, stays as it was. Whether it was read.
    pub(super) fn refresh(&mut self, args: &NodeArgs) -> bool {
        if self.read.elapsed() < GOOD_FOR {
            return false;
        }
        self.read = Instant::now();
        let mut unseen = Vec::new();
        match collect::read_intent(args, &mut unseen) {
            Ok(mut intent) => {
                if intent.subnet_env.is_none() {
                    intent.subnet_env = self.intent.subnet_env.take();
                }
                self.intent = intent;
            }
            Err(failure) => tracing::warn!("keeping what was read before: {:#}", failure.error),
        }
        self.flannel = self.watch.find_again(&self.flannel, &mut unseen);
        unseen.extend(self.never_seen.clone());
        self.unseen = unseen;
        true
    }
}
