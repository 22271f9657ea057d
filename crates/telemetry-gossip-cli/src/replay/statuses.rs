//! Since when a replayed node holds each member in its status, as its events tell.

use std::collections::BTreeMap;
use std::time::Duration;

use telemetry_gossip_core::{Event, NodeId, Status};

/// The status of each member of which the record tells when it began, and that time in
/// microseconds since 1970.
#[derive(Debug, Default)]
pub(super) struct Statuses {
    since: BTreeMap<NodeId, (Status, u64)>,
}

impl Statuses {
    /// Begins anew with an instance of the node called `id`.
    pub(super) fn begin(&mut self, id: NodeId, at: u64) {
        self.since = [(id, (Status::Alive, at))].into();
    }

    /// Takes in an event of this time.
    pub(super) fn learn<A>(&mut self, event: &Event<A>, at: u64) {
        let (id, status) = match event {
            Event::Joined { id, .. } | Event::Alive { id, .. } => (id, Status::Alive),
            Event::Suspected { id, .. } => (id, Status::Suspected),
            Event::Dead { id, .. } => (id, Status::Dead),
            Event::Left { id, .. } => (id, Status::Left),
            Event::Removed { id, .. } => {
                self.since.remove(id);
                return;
            }
            _ => return,
        };
        if self.since.get(id).is_none_or(|&(known, _)| known != status) {
            self.since.insert(*id, (status, at));
        }
    }

    /// Returns how long the member has had this status at time `now`; `None` if it began before
    /// the record.
    pub(super) fn age(&self, id: &str, status: Status, now: u64) -> Option<Duration> {
        let &(known, since) = self.since.get(&NodeId::new(id).ok()?)?;
        (known == status).then(|| Duration::from_micros(now.saturating_sub(since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use telemetry_gossip_core::Generation;

    #[test]
    fn a_status_begins_with_its_first_event() {
        let id = |id: &str| id.parse::<NodeId>().unwrap();
        let mut statuses = Statuses::default();
        statuses.begin(id("a"), 1_000);
        let age = |statuses: &Statuses, id, status| {
            statuses.age(id, status, 10_000_000).map(|age| age.as_micros())
        };
        // A record that begins while the node runs does not tell of what was before.
        assert_eq!(age(&statuses, "b", Status::Alive), None);
        let events: [(u64, Event<u32>); 3] = [
            (2_000, Event::joined(id("b"), None, Generation(1))),
            (3_000, Event::alive(id("b"), Generation(2))),
            (4_000, Event::dead(id("c"), Generation(1))),
        ];
        for (at, event) in &events {
            statuses.learn(event, *at);
        }
        assert_eq!(age(&statuses, "a", Status::Alive), Some(9_999_000));
        assert_eq!(age(&statuses, "b", Status::Alive), Some(9_998_000), "a new generation only");
        assert_eq!(age(&statuses, "b", Status::Dead), None);
        assert_eq!(age(&statuses, "c", Status::Dead), Some(9_996_000));
    }
}
