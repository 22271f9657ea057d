//! The history of each member: the evidence that led to its status, for `explain`.
//!
//! Only members with incidents have a history: at most [`MAX_MEMBERS`] members with at most
//! [`MAX_INCIDENTS`] incidents each. The oldest are dropped first. A quiet cluster has no history.
//! No rule of the protocol reads it.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use serde::{Deserialize, Deserializer, Serialize};

use super::Detector;
use crate::address::Address;
use crate::bounded::list;
use crate::config::Mode;
use crate::cx::Cx;
use crate::evidence::{Evidence, Incident};
use crate::membership::Slot;
use crate::time::{Instant, TimeRules};

/// The largest number of members with a history.
const MAX_MEMBERS: usize = 1_024;

/// The largest number of incidents per member.
const MAX_INCIDENTS: usize = 32;

/// The incidents of each member, oldest first.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct History {
    #[serde(deserialize_with = "read_members")]
    members: BTreeMap<Slot, VecDeque<Incident>>,
}

/// Reads the histories with both bounds: an incident takes a hundred times its bytes.
fn read_members<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<Slot, VecDeque<Incident>>, D::Error> {
    #[derive(Deserialize)]
    struct Incidents(
        #[serde(deserialize_with = "list::<_, _, _, MAX_INCIDENTS>")] VecDeque<Incident>,
    );

    // In bytes, a map is a list of pairs.
    let members: Vec<(Slot, Incidents)> = list::<_, _, _, MAX_MEMBERS>(deserializer)?;
    Ok(members.into_iter().map(|(slot, incidents)| (slot, incidents.0)).collect())
}

impl History {
    /// Adds an incident, in place of earlier ones that it supersedes.
    pub(crate) fn add(&mut self, slot: Slot, incident: Incident) {
        if self.members.len() >= MAX_MEMBERS && !self.members.contains_key(&slot) {
            let stale = self
                .members
                .iter()
                .min_by_key(|(_, incidents)| incidents.back().map(|last| last.at));
            if let Some(stale) = stale.map(|(&slot, _)| slot) {
                self.members.remove(&stale);
            }
        }
        let incidents = self.members.entry(slot).or_default();
        while incidents.back().is_some_and(|last| incident.evidence.supersedes(&last.evidence)) {
            incidents.pop_back();
        }
        if incidents.len() >= MAX_INCIDENTS {
            incidents.pop_front();
        }
        incidents.push_back(incident);
    }

    /// The incidents of one member, oldest first.
    pub(crate) fn of(&self, slot: Slot) -> impl DoubleEndedIterator<Item = &Incident> {
        self.members.get(&slot).into_iter().flatten()
    }

    /// Forgets the history of a member.
    pub(crate) fn forget(&mut self, slot: Slot) {
        self.members.remove(&slot);
    }

    /// Whether the history is within both bounds.
    pub(crate) fn is_bounded(&self) -> bool {
        self.members.len() <= MAX_MEMBERS
            && self.members.values().all(|incidents| incidents.len() <= MAX_INCIDENTS)
    }

    /// Whether all restored incidents are of the past. The bounds are invariants.
    pub(super) fn is_past(&self, times: TimeRules) -> bool {
        let Self { members } = self;
        members.values().flatten().all(|incident| times.is_past(incident.at))
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.members.values().map(|incidents| incidents.capacity() * size_of::<Incident>()).sum()
    }
}

impl<A: Address> Detector<A> {
    /// Adds to the history of this node itself. An accusation that is repeated until this node can
    /// refute it is kept once.
    pub(crate) fn add_own_incident(&mut self, at: Instant, evidence: Evidence, cx: &Cx<A>) {
        let me = cx.this.slot;
        let is_accusation =
            matches!(evidence, Evidence::Accused { .. } | Evidence::Confirmed { .. });
        let known = self.history.of(me).rev().map(|known| known.evidence);
        let mut open = known.take_while(|known| !matches!(known, Evidence::Refuted { .. }));
        let repeats = is_accusation && open.any(|known| known == evidence);
        drop(open);
        if cx.config.mode != Mode::ProbeOnly && !repeats {
            self.history.add(me, Incident { at, evidence });
        }
    }
}
