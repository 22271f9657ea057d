//! Patience with members whose links are bad: whoever has refuted before is asked more often before it is accused again.
//!
//! A member that gets one of ten datagrams is neither dead nor well. Accused at each failed probe it would be suspected and
//! back for ever, at every node. Here each refutation is a *strike*, which fades after ten minutes; a member with strikes is
//! put *on trial* when a probe fails, and accused only if a number of further pings get no answer. Who has crashed after
//! all is found later by the time of the trial.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::Number;
use crate::membership::Slot;
use crate::probe::Probe;
use crate::time::Instant;

/// Pings of a trial, by strikes. One strike may be bad luck, and must not delay the news of a crash by much; after three,
/// nineteen of twenty probes of a member that gets one datagram of ten still get through.
pub(crate) const PINGS: [u8; 4] = [0, 4, 24, 72];

/// The most strikes that count.
const MOST: u8 = 3;

/// How long a strike lasts.
const FADES_AFTER: Duration = Duration::from_secs(600);

/// The most trials at once; who is more is accused without one.
const TRIALS: usize = 16;

/// A member on trial.
#[derive(Debug, Serialize, Deserialize)]
struct Trial<A> {
    probe: Probe<A>,
    pings_left: u8,
    next_at: Instant,
}

/// What is due of a trial.
#[derive(Debug)]
pub(crate) enum Due<A> {
    /// Ping this member under this number.
    Ping(Slot, Number),
    /// No ping was answered.
    Failed(Probe<A>),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Patience<A> {
    /// How many strikes, and since when.
    strikes: BTreeMap<Slot, (u8, Instant)>,
    /// At most [`TRIALS`]; seldom any.
    trials: Vec<Trial<A>>,
}

impl<A: Copy + PartialEq> Patience<A> {
    pub(crate) fn new() -> Self {
        Self { strikes: BTreeMap::new(), trials: Vec::new() }
    }

    /// `slot` has refuted.
    pub(crate) fn strike(&mut self, slot: Slot, now: Instant) {
        let strikes = self.strikes(slot, now).saturating_add(1).min(MOST);
        self.strikes.insert(slot, (strikes, now));
    }

    /// How many strikes it has.
    pub(crate) fn strikes(&self, slot: Slot, now: Instant) -> u8 {
        self.strikes.get(&slot).map_or(0, |&(strikes, since)| {
            let faded = now.since(since).as_secs() / FADES_AFTER.as_secs();
            strikes.saturating_sub(u8::try_from(faded).unwrap_or(u8::MAX))
        })
    }

    /// Puts the target of a failed probe on trial of so many pings; gives the probe back if it has no strikes.
    pub(crate) fn try_member(&mut self, probe: Probe<A>, now: Instant) -> Result<u8, Probe<A>> {
        let strikes = self.strikes(probe.target, now);
        if strikes == 0 || self.trials.len() >= TRIALS {
            if strikes == 0 {
                self.strikes.remove(&probe.target);
            }
            return Err(probe);
        }
        let pings = PINGS.get(usize::from(strikes)).copied().unwrap_or(0);
        self.trials.push(Trial { probe, pings_left: pings, next_at: now });
        Ok(pings)
    }

    /// Whether it is being asked already.
    pub(crate) fn is_on_trial(&self, slot: Slot) -> bool {
        self.trials.iter().any(|trial| trial.probe.target == slot)
    }

    /// Ends the trial whose ping was answered.
    pub(crate) fn answered(&mut self, from: A, number: Number) -> Option<Slot> {
        let at = self
            .trials
            .iter()
            .position(|trial| trial.probe.number == number && trial.probe.address == from)?;
        Some(self.trials.remove(at).probe.target)
    }

    /// What is due at `now`; pings come `gap` after each other.
    pub(crate) fn due(&mut self, now: Instant, gap: Duration) -> Option<Due<A>> {
        let at = self.trials.iter().position(|trial| trial.next_at <= now)?;
        let trial = &mut self.trials[at];
        if trial.pings_left == 0 {
            return Some(Due::Failed(self.trials.remove(at).probe));
        }
        trial.pings_left -= 1;
        trial.next_at = now + gap;
        Some(Due::Ping(trial.probe.target, trial.probe.number))
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.trials.iter().map(|trial| trial.next_at).min()
    }

    /// Whether nobody is on trial.
    pub(crate) fn is_quiet(&self) -> bool {
        self.trials.is_empty()
    }

    /// Forgets the trials: this node cannot tell.
    pub(crate) fn adjourn(&mut self) {
        self.trials.clear();
    }

    /// Forgets a member.
    pub(crate) fn forget(&mut self, slot: Slot) {
        self.strikes.remove(&slot);
        self.trials.retain(|trial| trial.probe.target != slot);
    }

    /// How many members have strikes.
    pub(crate) fn len(&self) -> usize {
        self.strikes.len()
    }
}
