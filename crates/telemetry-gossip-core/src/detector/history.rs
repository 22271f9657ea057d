//! The history of each member: the evidence that led to its status, for `explain`.
//!
//! It is kept only for members with incidents: at most [`MEMBERS`] of them and [`LENGTH`] incidents
//! each; the oldest go first. A quiet cluster has none.

use alloc::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::evidence::Incident;
use crate::membership::Slot;

/// The most members with a history.
const MEMBERS: usize = 1_024;

/// The most incidents of one member.
const LENGTH: usize = 32;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct History {
    members: BTreeMap<Slot, VecDeque<Incident>>,
}

impl History {
    pub(crate) fn add(&mut self, slot: Slot, incident: Incident) {
        if self.members.len() >= MEMBERS && !self.members.contains_key(&slot) {
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
        if incidents.len() >= LENGTH {
            incidents.pop_front();
        }
        incidents.push_back(incident);
    }

    pub(crate) fn of(&self, slot: Slot) -> impl Iterator<Item = &Incident> {
        self.members.get(&slot).into_iter().flatten()
    }

    pub(crate) fn forget(&mut self, slot: Slot) {
        self.members.remove(&slot);
    }

    pub(crate) fn is_bounded(&self) -> bool {
        self.members.len() <= MEMBERS
            && self.members.values().all(|incidents| incidents.len() <= LENGTH)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.members.values().map(|incidents| incidents.capacity() * size_of::<Incident>()).sum()
    }
}
