//! Roll calls: before this node accuses a member or declares it Dead, it finds out whether the node
//! itself is the one that is cut off.
//!
//! A **roll call** pings members until it is clear whether at least half of them answer; this node
//! counts among those in touch. In a small cluster it asks all members. In a large one it asks a
//! growing sample, and stops early when the answers leave no doubt: with m members asked and a
//! answers, as soon as 2a - m >= 5 sqrt(m). A side with half of the members or fewer passes this
//! bound by chance in less than one of a million looks (the standard deviation of 2a - m is at most
//! sqrt(m)). While there is doubt either way, the sample grows, up to all members. Each round asks
//! the silent members again, so that loss alone does not fail a roll call.
//!
//! ```text
//!   in touch <--------------- enough answers -----------------+
//!      |                                                      |
//!      +--- a failed probe, or a suspicion runs out ---> roll call --- too few ---> isolated
//!      ^                                                                               |
//!      +--- enough answers to a later roll call (one every two probe intervals) -------+
//!      +--- the host accepts the loss -------------------------------------------------+
//!      +--- the isolation limit of the configuration has passed -----------------------+
//! ```
//!
//! A roll call verifies only suspicions that began before it did, so a partition that begins in
//! between cannot be overlooked. While isolated, the node neither accuses a member nor declares one
//! Dead.
//!
//! This module decides only whether the node is in touch; `accusation` and `suspicion` decide what
//! depends on it.

mod restored;

use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::Detector;
use super::asked::{Asked, AskedMembers};
use crate::address::Address;
use crate::cx::Cx;
use crate::event::{Event, IsolationEnd};
use crate::id::RequestId;
use crate::membership::Slot;
use crate::time::Instant;

/// The number of members that each of the first rounds adds to the sample.
const ADDED_IN_FIRST_ROUNDS: [usize; 3] = [32, 64, 128];

/// The number of members that each later round adds, until all are asked.
const ADDED_PER_ROUND: usize = 192;

/// The largest number of silent members that a round asks again, the latest asked first.
const MAX_ASKED_AGAIN: usize = 384;

/// The smallest number of rounds before a node considers itself cut off. The last of them only asks
/// the silent members again.
const MIN_ROUNDS: usize = 5;

/// The smallest number of rounds before an isolated node concludes that it is still cut off.
const MIN_ROUNDS_ISOLATED: usize = 2;

/// A roll call under way.
#[derive(Debug, Serialize, Deserialize)]
struct RollCall {
    started: Instant,
    /// When the current round ends.
    deadline: Instant,
    /// The number of rounds begun.
    round: usize,
    /// The number of members to ask, without this node.
    others: usize,
    /// The next rank of the roster to look at. The sample is a stretch of the roster from a random
    /// place on. The roster's order, by id hash, is unrelated to which members can reach which.
    rank: usize,
    /// The number of ranks looked at so far.
    looked_at: usize,
    answers: usize,
    /// The round that asked the last of all members; 0 before.
    all_by: usize,
    /// Whether more than half of the members asked were silent at the end of some round.
    doubtful: bool,
}

/// The finding of a roll call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// At least half of the members answer; `doubtful` if more than half of those asked were
    /// silent at the end of some round.
    InTouch { doubtful: bool },
    /// `lost` of the `of` members asked, this node included, did not answer.
    CutOff { lost: u32, of: u32 },
}

/// The roll call under way, if any, and the isolation, if any.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct RollCalls {
    roll: Option<RollCall>,
    asked: AskedMembers,
    /// When the last roll call that succeeded began.
    verified: Option<Instant>,
    /// When the isolation began.
    isolated: Option<Instant>,
    /// When an isolated node calls the roll again.
    again_at: Option<Instant>,
    /// The rank at which the next roll call of an isolated node begins: where the last one ended.
    /// So all members are asked in turn, although each roll call asks no more than it needs.
    next_rank: Option<usize>,
    /// Whether the host, or the isolation limit, has declared the losses real. No roll call fails
    /// from then on, until one succeeds by itself.
    loss_accepted: bool,
    /// Whether the members that were silent in the last roll call, or are in the one under way, are
    /// to be accused.
    accuses_lost: bool,
    /// Whether a death was heard of during the roll call under way, which may have asked the dead.
    heard_of_death: bool,
}

/// The next action of a roll call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Begin the next round.
    Round,
    /// End the roll call.
    Conclude,
}

impl RollCalls {
    /// When the isolation began; `None` if there is none.
    pub(crate) fn isolated_since(&self) -> Option<Instant> {
        self.isolated
    }

    pub(crate) fn is_isolated(&self) -> bool {
        self.isolated.is_some()
    }

    /// Whether a roll call that began at `since` or later has proved that the node is not cut off.
    pub(crate) fn is_verified_since(&self, since: Instant) -> bool {
        let verified = self.verified.is_some_and(|verified| verified >= since);
        self.loss_accepted || (self.isolated.is_none() && verified)
    }

    pub(crate) fn is_calling(&self) -> bool {
        self.roll.is_some()
    }

    /// Begins a roll call of `others` members, the first round of which is due at once. It asks
    /// from `rank` on, or from where the last one of this isolation ended.
    pub(crate) fn begin(&mut self, now: Instant, others: usize, rank: usize) {
        let rank = self.next_rank.unwrap_or(rank);
        self.asked.clear();
        self.roll = Some(RollCall {
            started: now,
            deadline: now,
            round: 0,
            others,
            rank,
            looked_at: 0,
            answers: 0,
            all_by: 0,
            doubtful: false,
        });
        (self.again_at, self.heard_of_death) = (None, false);
    }

    /// The action that is due at `now`, if there is one.
    fn step(&self, now: Instant) -> Option<Step> {
        let clear = self.is_clear();
        if !(self.is_due(now) || (self.is_calling() && clear)) {
            None
        } else if clear || !self.has_rounds() {
            Some(Step::Conclude)
        } else {
            Some(Step::Round)
        }
    }

    /// Gives up a roll call that has asked a member which is now forgotten. It begins anew if it is
    /// still needed.
    pub(crate) fn forget(&mut self, slot: Slot, now: Instant) {
        if self.asked.contains(slot) {
            self.abort(now);
            self.asked.clear();
        }
    }

    /// Begins a round that waits `pace` for answers. Returns how many members it adds to the
    /// sample.
    pub(crate) fn next_round(&mut self, now: Instant, pace: Duration) -> usize {
        let Some(roll) = &mut self.roll else { return 0 };
        roll.doubtful |= roll.round > 0 && !in_touch(self.asked.len(), roll.answers);
        let added = added(roll.round);
        roll.round += 1;
        roll.deadline = now + pace;
        if self.asked.len() < roll.others && self.asked.len() + added >= roll.others {
            roll.all_by = roll.round;
        }
        added.min(roll.others.saturating_sub(self.asked.len()))
    }

    /// The silent members that the round asks again, the latest asked first.
    pub(crate) fn silent(&self) -> Vec<Asked> {
        self.asked
            .iter()
            .rev()
            .filter(|asked| !asked.answered)
            .take(MAX_ASKED_AGAIN)
            .copied()
            .collect()
    }

    /// The next rank to look at for a member to ask, in a roster of `len`; `None` once all were
    /// looked at. Fewer members than counted at the start may remain, since members die meanwhile.
    pub(crate) fn next_rank(&mut self, len: usize) -> Option<usize> {
        let roll = self.roll.as_mut()?;
        if roll.looked_at >= len {
            roll.others = self.asked.len();
            roll.all_by = roll.all_by.max(roll.round);
            return None;
        }
        roll.looked_at += 1;
        let rank = roll.rank;
        roll.rank = rank.wrapping_add(1);
        Some(rank)
    }

    /// Adds a member to the sample.
    pub(crate) fn ask(&mut self, slot: Slot, request_id: RequestId) {
        self.asked.push(slot, request_id);
    }

    /// The member that the roll call has asked under this request id.
    pub(crate) fn member_asked(&self, request_id: RequestId) -> Option<Slot> {
        self.roll.as_ref().and_then(|_| self.asked.get(request_id)).map(|asked| asked.slot)
    }

    /// Counts an answer and returns its member; `None` if the request id is not of this roll call.
    pub(crate) fn answered(&mut self, request_id: RequestId) -> Option<Slot> {
        let roll = self.roll.as_mut()?;
        let asked = self.asked.get_mut(request_id)?;
        let slot = asked.slot;
        if !core::mem::replace(&mut asked.answered, true) {
            roll.answers += 1;
        }
        Some(slot)
    }

    /// Whether the answers leave no doubt that this node is in touch with at least half of the
    /// members.
    pub(crate) fn is_clear(&self) -> bool {
        self.roll.as_ref().is_some_and(|roll| {
            let (asked, answers) = (self.asked.len(), roll.answers);
            if asked >= roll.others {
                in_touch(roll.others, answers)
            } else {
                leads(answers, asked - answers)
            }
        })
    }

    /// Whether the round is over.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.roll.as_ref().is_some_and(|roll| roll.deadline <= now)
    }

    /// Whether another round follows. After the minimum, rounds go on until the silent members
    /// leave no doubt that this node is cut off, or all members were asked and the silent ones once
    /// more.
    pub(crate) fn has_rounds(&self) -> bool {
        let Some(roll) = &self.roll else { return false };
        let fewest = if self.isolated.is_some() { MIN_ROUNDS_ISOLATED } else { MIN_ROUNDS };
        let (asked, answers) = (self.asked.len(), roll.answers);
        let asked_again = asked >= roll.others && roll.round > roll.all_by;
        roll.round < fewest || !(asked_again || leads(asked - answers, answers))
    }

    /// Ends the roll call and returns its finding. If the node is cut off, the next roll call is
    /// due after `again_in`.
    pub(crate) fn conclude(&mut self, now: Instant, again_in: Duration) -> Option<Finding> {
        let clear = self.is_clear();
        let roll = self.roll.take()?;
        let (asked, answers) = (self.asked.len(), roll.answers);
        if clear {
            self.verified = Some(roll.started);
            (self.loss_accepted, self.accuses_lost) = (false, false);
            Some(Finding::InTouch { doubtful: roll.doubtful })
        } else if self.loss_accepted {
            Some(Finding::InTouch { doubtful: false })
        } else {
            self.again_at = Some(now + again_in);
            self.next_rank = Some(roll.rank);
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            Some(Finding::CutOff { lost: count(asked - answers), of: count(asked + 1) })
        }
    }

    /// Begins an isolation; false if there is one already.
    pub(crate) fn isolate(&mut self, now: Instant) -> bool {
        self.isolated.is_none() && self.isolated.replace(now).is_none()
    }

    /// Ends the isolation; false if there is none.
    pub(crate) fn reconnect(&mut self) -> bool {
        (self.again_at, self.next_rank) = (None, None);
        self.isolated.take().is_some()
    }

    /// Treats this node as in touch until a roll call succeeds by itself, so that the lost members
    /// can be declared dead.
    pub(crate) fn accept_loss(&mut self) {
        self.loss_accepted = true;
        self.accuses_lost = true;
    }

    /// Takes the members that did not answer the last roll call, after their loss was accepted.
    /// None while a roll call is under way.
    pub(super) fn take_lost(&mut self) -> Vec<Slot> {
        if self.is_calling() || !core::mem::take(&mut self.accuses_lost) {
            return Vec::new();
        }
        self.asked.iter().filter(|asked| !asked.answered).map(|asked| asked.slot).collect()
    }

    /// Makes an isolated node call the roll again at `at`, if not before, or soon after the roll
    /// call under way.
    pub(super) fn call_again_at(&mut self, at: Instant) {
        if self.is_calling() {
            self.heard_of_death = true;
            return;
        }
        self.again_at = Some(self.again_at.map_or(at, |again| again.min(at)));
    }

    /// Moves the beginning of the isolation by `span`, the time that the node slept.
    pub(crate) fn postpone(&mut self, span: Duration) {
        self.isolated = self.isolated.map(|since| since + span);
    }

    /// Gives up the roll call under way. An isolated node calls the roll again at once.
    pub(crate) fn abort(&mut self, now: Instant) {
        if self.roll.take().is_some() {
            self.again_at = self.isolated.map(|_| now);
        }
    }

    /// Whether an isolated node is due to call the roll again.
    pub(crate) fn is_again_due(&self, now: Instant) -> bool {
        self.again_at.is_some_and(|at| at <= now)
    }

    /// The earliest of the round's end, the next roll call of an isolated node, and the end of the
    /// isolation after `limit`.
    pub(crate) fn deadline(&self, limit: Option<Duration>) -> Option<Instant> {
        let limit = self.isolated.and_then(|since| limit.map(|limit| since + limit));
        let roll = self.roll.as_ref().map(|roll| roll.deadline);
        [roll, self.again_at, limit].into_iter().flatten().min()
    }

    /// Whether there is neither a roll call nor an isolation.
    pub(crate) fn is_quiet(&self) -> bool {
        self.roll.is_none() && self.isolated.is_none() && self.again_at.is_none()
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.asked.heap_bytes()
    }
}

/// The number of members that a round adds to the sample, if so many are left.
pub(crate) fn added(round: usize) -> usize {
    ADDED_IN_FIRST_ROUNDS.get(round).copied().unwrap_or(ADDED_PER_ROUND)
}

/// Whether a sample with `these` on one side and `those` on the other leaves no doubt on which side
/// the majority is: the lead is at least five standard deviations.
const fn leads(these: usize, those: usize) -> bool {
    let lead = these.saturating_sub(those);
    lead > 0 && lead * lead >= 25 * (these + those)
}

/// Whether at least half of all members are in touch: this node and those that answered.
const fn in_touch(others: usize, answers: usize) -> bool {
    2 * (answers + 1) > others
}

impl<A: Address> Detector<A> {
    /// Begins a roll call of all members that can be probed.
    pub(crate) fn begin_roll_call(&mut self, cx: &mut Cx<A>) {
        let others = cx.table.slots().filter(|&slot| self.counts(slot, cx)).count();
        let rank = cx.rng.below(cx.table.len());
        self.roll_calls.begin(cx.now, others, rank);
        cx.stats.roll_calls += 1;
        self.call_roll(cx);
    }

    /// Whether a roll call counts a member: this node can probe it, and it has answered since it
    /// was last dead. Members that a peer has made up, or has raised from the dead, must not make
    /// this node believe that it is cut off.
    ///
    /// Soon after a join the members from its pages count, too, since they have had no time to
    /// answer: a newcomer that is cut off at once must not believe itself in touch.
    fn counts(&self, slot: Slot, cx: &Cx<A>) -> bool {
        cx.table.can_probe(slot) && (cx.is_proved_alive(slot) || self.unproved.is_young(cx.now))
    }

    /// Carries out the actions of the roll call that are due.
    pub(super) fn call_roll(&mut self, cx: &mut Cx<A>) {
        while let Some(step) = self.roll_calls.step(cx.now) {
            match step {
                Step::Conclude => self.conclude_roll_call(cx),
                Step::Round => self.call_round(cx),
            }
        }
    }

    fn call_round(&mut self, cx: &mut Cx<A>) {
        // Ask the silent members again with the same request ids, so that late answers count, too.
        for asked in self.roll_calls.silent() {
            cx.ping(asked.slot, asked.request_id);
        }
        let mut wanted = self.roll_calls.next_round(cx.now, self.roll_call_pace(cx));
        while wanted > 0 {
            let Some(rank) = self.roll_calls.next_rank(cx.table.len()) else { break };
            if let Some(slot) = cx.table.at_rank(rank)
                && self.counts(slot, cx)
            {
                let request_id = cx.request_id();
                self.roll_calls.ask(slot, request_id);
                cx.ping(slot, request_id);
                wanted -= 1;
            }
        }
    }

    /// How long a round waits for answers: one timeout, or up to two if this node doubts itself.
    ///
    /// With less time, answers that are a little late would leave each roll call in doubt, and no
    /// crash would ever be found. Where answers are slower still, refutations come too late as
    /// well, and doubt is right.
    fn roll_call_pace(&self, cx: &Cx<A>) -> Duration {
        self.probe_timeout(&cx.config).min(cx.config.probe_timeout * 2)
    }

    fn conclude_roll_call(&mut self, cx: &mut Cx<A>) {
        let again_in = if self.roll_calls.heard_of_death {
            cx.config.gossip_interval
        } else {
            cx.config.probe_interval * 2
        };
        match self.roll_calls.conclude(cx.now, again_in) {
            Some(Finding::InTouch { doubtful }) => {
                match (self.roll_calls.is_isolated(), doubtful) {
                    (true, false) => {
                        // Probes failed because of the partition. A crash meanwhile must not be
                        // found late because this node doubts itself.
                        self.local_health.clear();
                        let round = self.schedule.clock.round(cx.now);
                        self.schedule.schedule_probe(round, self.local_health, cx);
                    }
                    // For a while more than half were silent: this node may have been cut off, so
                    // it does not trust the silence that it observed.
                    (false, true) => {
                        self.suspicions.doubt(cx.now, &self.timing(cx));
                        self.drop_probe();
                        self.drop_pending_accusations(cx);
                    }
                    (true, true) | (false, false) => {}
                }
                self.make_pending_accusations(cx);
                self.accuse_lost(cx);
                let end = if self.config_may_reconnect {
                    IsolationEnd::ClusterConfig
                } else {
                    IsolationEnd::MembersAnswer
                };
                self.end_isolation(end, cx);
            }
            Some(Finding::CutOff { lost, of }) => {
                self.drop_pending_accusations(cx);
                self.flap_damping.clear_rechecks();
                self.config_may_reconnect = false;
                let asked = self.roll_calls.asked.iter();
                cx.table.update_side(asked.map(|asked| (asked.slot, asked.answered)));
                if self.roll_calls.isolate(cx.now) {
                    cx.emit(Event::Isolated { lost, of });
                }
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;
