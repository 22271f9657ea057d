//! The read view: the membership as readers see it, without ever waiting for the protocol.
//!
//! The task publishes a new [`View`] after each batch of inputs. Members that did not change are
//! shared with the view before, so that publishing costs one pointer per member. A reader loads the
//! current view atomically and may keep it for any time: it is consistent, and never changes except
//! for the times of last observation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use telemetry_gossip_core::{Generation, Instance, Member, NodeId, Status};

use crate::clock::{Clock, now};
use crate::events::Event;
use crate::peer_addr::PeerAddr;

/// All members at one moment, in the order of their ids.
///
/// ```
/// use telemetry_gossip_core::Status;
/// use telemetry_gossip_tokio::{Agent, MemoryNetwork, Options};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let transport = MemoryNetwork::new(1).transport("edge-17")?;
/// # let agent = Agent::spawn(Options::new("edge-17".parse()?), transport)?;
/// let view = agent.view();
/// let alive = view.iter().filter(|member| member.status == Status::Alive);
/// assert_eq!(alive.count(), view.alive());
/// assert!(view.get("edge-17").is_some() && view.get("edge-18").is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct View {
    members: Vec<Arc<MemberView>>,
    /// The key of the member at the same index, so that a search reads few members beside the one
    /// that it finds.
    keys: Arc<Vec<Key>>,
    alive: usize,
    isolation: Option<Isolation>,
    /// The node whose view this is, if it has been isolated.
    itself: Option<NodeId>,
}

/// That a node cannot reach more than half of the members that it knew as alive. While it lasts,
/// the node declares no member dead, so that a member that is Alive in the view may be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Isolation {
    /// When the isolation began, by the clock of this host.
    pub since: Instant,
    /// The number of members that did not answer when it began.
    pub lost: u32,
    /// The number of members that were asked when it began.
    pub of: u32,
}

/// The first 16 bytes of an id, in the order of the ids.
type Key = u128;

fn key(id: &str) -> Key {
    let mut bytes = [0; size_of::<Key>()];
    let len = id.len().min(bytes.len());
    bytes[..len].copy_from_slice(&id.as_bytes()[..len]);
    Key::from_be_bytes(bytes)
}

/// One member of a [`View`].
#[derive(Debug)]
#[non_exhaustive]
pub struct MemberView {
    /// The id of the member.
    pub id: NodeId,
    /// The address of the member, if known.
    pub address: Option<PeerAddr>,
    /// The status of the member, as this node knows it.
    pub status: Status,
    /// Since when this node has held it in this status, by the clock of this host.
    pub since: Instant,
    /// The members that accuse it, as far as they are known here; empty unless it is Suspected.
    pub accusers: Vec<NodeId>,
    /// The generation of its record.
    pub generation: Generation,
    /// The instance of the member, which changes when it restarts.
    pub instance: Instance,
    /// The version up to which its telemetry is known; 0 if none is.
    pub telemetry_version: u64,
    /// Its telemetry, one entry per key, in the order of publication.
    pub telemetry: Vec<TelemetryValue>,
    /// The keys that it has removed, each with the version that removed it, as long as that is
    /// remembered.
    pub removed: Vec<(String, u64)>,
    clock: Clock,
    observed_micros: AtomicU64,
    /// [`NEVER`] if it was not heard from.
    heard_micros: AtomicU64,
}

/// In place of the time at which a member was heard from that never was.
const NEVER: u64 = u64::MAX;

/// One entry of the telemetry of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TelemetryValue {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// The version of the owner's telemetry that set it.
    pub version: u64,
    /// When the owner published it, by the clock of this host and to the millisecond. Carriers
    /// report the age of a value, so that clocks need not agree. The time on the network is not
    /// counted; an age beyond 366 days is taken for 366 days.
    pub published: Instant,
    /// Whether the owner published it as urgent.
    pub urgent: bool,
}

impl TelemetryValue {
    /// The age of the value now. In a tokio runtime whose time is paused, that is the runtime's
    /// time, by which the node counts, too.
    #[must_use]
    pub fn age(&self) -> Duration {
        now().saturating_duration_since(self.published)
    }
}

impl View {
    /// The member called `id`.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<MemberView>> {
        self.find(id).ok().and_then(|at| self.members.get(at))
    }

    /// All members in the order of their ids, including dead members that are not forgotten yet.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<MemberView>> {
        self.members.iter()
    }

    /// The number of known members, in any status.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether no member is known. A running node knows at least itself.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The number of members that are Alive.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.alive
    }

    /// The isolation of this node; `None` while it reaches at least half of the members.
    #[must_use]
    pub fn isolation(&self) -> Option<Isolation> {
        self.isolation
    }

    /// Whether the status of this member may be out of date: it is Alive or Suspected for this
    /// node, which is isolated and has not heard from it since.
    #[must_use]
    pub fn is_unconfirmed(&self, member: &MemberView) -> bool {
        self.isolation.is_some_and(|isolation| {
            member.status.is_live()
                && member.last_observed() < isolation.since
                && Some(member.id) != self.itself
        })
    }

    /// Takes over what an event says of the isolation of the node called `itself`, which began at
    /// `since` if it lasts.
    pub(crate) fn set_isolation(&mut self, event: &Event, itself: &str, since: Option<Instant>) {
        self.itself = NodeId::new(itself).ok();
        self.isolation = match *event {
            Event::Isolated { lost, of, .. } => since.map(|since| Isolation { since, lost, of }),
            _ => None,
        };
    }

    fn find(&self, id: &str) -> Result<usize, usize> {
        let key = key(id);
        let start = self.keys.partition_point(|&other| other < key);
        let alike = self.keys[start..].partition_point(|&other| other == key);
        match self.members[start..start + alike]
            .binary_search_by(|member| member.id.as_str().cmp(id))
        {
            Ok(at) => Ok(start + at),
            Err(at) => Err(start + at),
        }
    }

    /// Replaces, adds or (with `None`) removes one member.
    pub(crate) fn set(&mut self, id: &NodeId, member: Option<MemberView>) {
        let is_alive = |member: &MemberView| usize::from(member.status == Status::Alive);
        let found = self.find(id.as_str());
        if let Ok(at) = found {
            self.alive -= is_alive(&self.members[at]);
        }
        if let Some(member) = &member {
            self.alive += is_alive(member);
        }
        match (found, member) {
            (Ok(at), Some(member)) => self.members[at] = Arc::new(member),
            (Ok(at), None) => {
                self.members.remove(at);
                Arc::make_mut(&mut self.keys).remove(at);
            }
            (Err(at), Some(member)) => {
                self.members.insert(at, Arc::new(member));
                Arc::make_mut(&mut self.keys).insert(at, key(id.as_str()));
            }
            (Err(_), None) => {}
        }
    }
}

impl<'a> IntoIterator for &'a View {
    type Item = &'a Arc<MemberView>;
    type IntoIter = std::slice::Iter<'a, Arc<MemberView>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl MemberView {
    /// A member as it is now, after it was as `before`.
    pub(crate) fn new(
        member: &Member<'_, PeerAddr>,
        clock: Clock,
        id: NodeId,
        before: Option<&Arc<Self>>,
        accusers: Vec<NodeId>,
    ) -> Self {
        let at = |instant: telemetry_gossip_core::Instant| clock.to_host(instant);
        let telemetry = member.telemetry().map(|entry| TelemetryValue {
            key: entry.key.to_owned(),
            value: entry.value.to_owned(),
            version: entry.version,
            published: at(entry.published),
            urgent: entry.urgent,
        });
        let status = member.status();
        // A task that lags behind shows a change late, and dates it by when it was seen.
        let since = before.filter(|before| before.status == status).map(|before| before.since);
        Self {
            id,
            address: member.address(),
            since: since.unwrap_or_else(now),
            accusers,
            status,
            generation: member.generation(),
            instance: member.instance(),
            telemetry_version: member.telemetry_version(),
            telemetry: telemetry.collect(),
            removed: member.removed().map(|(key, version)| (key.to_owned(), version)).collect(),
            clock,
            observed_micros: AtomicU64::new(member.last_observed().as_micros()),
            heard_micros: AtomicU64::new(heard_micros(member)),
        }
    }

    /// When its record last changed here, or this node last received a datagram from it. Updated
    /// once per second while the node has something to do.
    #[must_use]
    pub fn last_observed(&self) -> Instant {
        let micros = self.observed_micros.load(Ordering::Relaxed);
        self.clock.to_host(telemetry_gossip_core::Instant::from_micros(micros))
    }

    /// When this node last heard from the member itself: a datagram came from its address, or an
    /// answer of it through a helper. `None` if there was none. What others say of the member does
    /// not count. Updated once per second while the node has something to do.
    #[must_use]
    pub fn last_heard(&self) -> Option<Instant> {
        let micros = Some(self.heard_micros.load(Ordering::Relaxed)).filter(|&at| at != NEVER);
        micros.map(|at| self.clock.to_host(telemetry_gossip_core::Instant::from_micros(at)))
    }

    /// The telemetry under `key`; `None` if the member has not published it, or has removed it.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&TelemetryValue> {
        self.telemetry.iter().find(|entry| entry.key == key)
    }

    /// The telemetry under `key`, if it is not older than `limit`.
    #[must_use]
    pub fn fresh_value(&self, key: &str, limit: Duration) -> Option<&TelemetryValue> {
        self.value(key).filter(|value| value.age() <= limit)
    }

    /// Takes over when the member was last observed and heard from.
    pub(crate) fn observe(&self, member: &Member<'_, PeerAddr>) {
        self.observed_micros.store(member.last_observed().as_micros(), Ordering::Relaxed);
        self.heard_micros.store(heard_micros(member), Ordering::Relaxed);
    }
}

fn heard_micros(member: &Member<'_, PeerAddr>) -> u64 {
    member.last_heard().map_or(NEVER, telemetry_gossip_core::Instant::as_micros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn member(id: NodeId, status: Status) -> MemberView {
        MemberView {
            since: Instant::now(),
            accusers: Vec::new(),
            id,
            address: None,
            status,
            generation: Generation(0),
            instance: Instance(0),
            telemetry_version: 0,
            telemetry: Vec::new(),
            removed: Vec::new(),
            clock: Clock::starting(Instant::now()),
            observed_micros: AtomicU64::new(0),
            heard_micros: AtomicU64::new(NEVER),
        }
    }

    #[test]
    fn a_view_is_a_map_in_the_order_of_ids() {
        // Ids that are prefixes of each other, and ids that differ only behind the key.
        let stem = "n".repeat(20);
        let ids: Vec<NodeId> = (1..=20)
            .map(|len| stem[..len].to_owned())
            .chain((0..20).map(|tail| format!("{stem}-{tail}")))
            .map(|id| id.parse().unwrap())
            .collect();
        let (mut view, mut plain) = (View::default(), BTreeMap::new());
        for step in 0..400_usize {
            let id = ids[step * 17 % ids.len()];
            let status = match step % 7 {
                0..3 => Some(Status::Alive),
                3..5 => Some(Status::Dead),
                _ => None,
            };
            let before = view.clone();
            let were: Vec<_> = before.iter().map(|member| (member.id, member.status)).collect();
            view.set(&id, status.map(|status| member(id, status)));
            match status {
                Some(status) => plain.insert(id, status),
                None => plain.remove(&id),
            };
            assert!(
                view.iter()
                    .map(|member| (member.id, member.status))
                    .eq(plain.iter().map(|(id, status)| (*id, *status)))
            );
            assert!(ids.iter().all(|id| view.get(id.as_str()).map(|member| member.id)
                == plain.get_key_value(id).map(|(id, _)| *id)));
            assert_eq!(
                view.alive(),
                plain.values().filter(|status| **status == Status::Alive).count()
            );
            assert!(
                before.iter().map(|member| (member.id, member.status)).eq(were),
                "a view never changes"
            );
        }
        assert!(!view.is_empty() && view.get("n\0").is_none() && view.get("").is_none());
    }
}
