//! Drops at the end of a window: counted, and told where that is asked for.

use tracer::{
    daemon::event,
    evidence::{Drop, Evidence},
    filter::Chosen,
    kernel::DropReading,
};

use super::{Rounds, Told, dropped::Counted};

impl<'a> Rounds<'a> {
    /// Counts and tells what was dropped until a reading, that of a window's end.
    pub(super) fn count_drops(
        &mut self,
        reading: &DropReading,
        judged: Option<&(Evidence, Vec<&'static str>)>,
    ) {
        let entries = judged.into_iter().flat_map(|(evidence, causes)| {
            let drops = evidence.drops.iter().flat_map(|drops| &drops.entries);
            drops.zip(causes.iter().copied())
        });
        self.count_until(reading, entries);
    }

    /// The same since the last window, before the program that counts goes: what is dropped as it was
    /// then has the cause that it had then.
    pub(super) fn count_last_drops(&mut self) {
        let Some(reading) = self.dropping.read() else { return };
        let last = self.dropped.take_last();
        self.count_until(&reading, last.iter().flat_map(Counted::entries));
    }

    /// The flows that are asked for, as far as not all are.
    pub(super) fn chosen(&self) -> Option<Chosen<'a>> {
        let Told::Drops(Some(filter)) = self.wanted.told else { return None };
        let judged = &self.judged;
        Some(Chosen::new(filter, judged.node_ip, &judged.pod_cidrs, &judged.peers))
    }

    fn count_until<'b>(
        &mut self,
        reading: &DropReading,
        judged: impl Iterator<Item = (&'b Drop, &'static str)>,
    ) {
        let chosen = self.chosen();
        let interfaces = &self.judged.interfaces;
        let devices: Vec<&str> = interfaces.iter().map(|it| it.name.as_str()).collect();
        let overlays = interfaces.iter().filter(|it| it.role == "overlay");
        let overlays: Vec<String> = overlays.map(|it| it.name.clone()).collect();
        let counted = self.dropped.count(&self.dropping, reading, judged, &devices, &overlays);
        let (Some(counted), Told::Drops(_)) = (counted, self.wanted.told) else { return };
        for (what, count) in event::of_drops(&counted.drops, &counted.causes, chosen.as_ref()) {
            self.tell(what, count);
        }
    }
}
