//! The members that answer from another address than the one that they state.
//!
//! They are members like any other: an answer counts by its number. The host is told of each once
//! in a while, since such an answer often comes from a wrong setting.

use alloc::collections::BTreeMap;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::Detector;
use crate::address::Address;
use crate::cx::Cx;
use crate::event::Event;
use crate::membership::Slot;
use crate::time::{Instant, TimeRules};

/// How long the host is not told again of the same.
pub(super) const TOLD_FOR: Duration = Duration::from_secs(3_600);

/// When the host was told of each of them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Elsewhere {
    told: BTreeMap<Slot, Instant>,
}

impl Elsewhere {
    pub(super) fn forget(&mut self, slot: Slot) {
        self.told.remove(&slot);
    }

    pub(super) fn len(&self) -> usize {
        self.told.len()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.told.len() * size_of::<(Slot, Instant)>()
    }

    pub(super) fn is_past(&self, times: TimeRules) -> bool {
        let Self { told } = self;
        told.values().all(|&at| times.is_past(at))
    }
}

impl<A: Address> Detector<A> {
    /// Records that a member has answered from `source`, which is not the address that was asked.
    #[cold]
    pub(crate) fn answered_elsewhere(&mut self, slot: Slot, source: A, cx: &mut Cx<A>) {
        let told = self.elsewhere.told.get(&slot);
        if told.is_some_and(|&at| cx.now.since(at) < TOLD_FOR) {
            return;
        }
        if let Some(stated) = cx.table.address(slot).filter(|&stated| stated != source) {
            self.elsewhere.told.insert(slot, cx.now);
            cx.emit(Event::AnswersElsewhere { id: cx.table.id(slot), stated, source });
        }
    }
}
