//! Touch with the majority: before this node declares anybody Dead it asks around whether it is the one cut off.
//!
//! A **roll call** pings members until it is plain whether at least half of them answer, this node counted among those
//! in touch. In a small cluster it asks everybody. In a large one it asks a growing sample, and stops early when the
//! answers leave no doubt: after m were asked and a answered, once 2a - m >= 5 sqrt(m), which a side with half of the
//! members or fewer passes by chance in less than one of a million roll calls (the deviation of 2a - m is at most
//! sqrt(m)). Those silent are asked again in each round, so that loss alone does not fail it.
//!
//! ```text
//!              enough answers: verified for suspicions that began before the roll call
//!            +---------------------------------------------------------------------------+
//!            v                                                                           |
//!        in touch --- a suspicion begins or runs out ---> roll call --- too few ---> isolated
//!            ^                                                                        |  |
//!            +--- enough answers (asked every two probe intervals), the host's word --+  |
//!            +--- the limit of the configuration ----------------------------------------+
//! ```
//!
//! A verdict counts only for suspicions that began before the roll call did, so a partition that comes between
//! cannot be overlooked. While isolated the node accuses nobody and declares nobody Dead.

use alloc::vec::Vec;
use core::time::Duration;

use crate::id::Number;
use crate::membership::Slot;
use crate::time::Instant;

/// How many members are asked by the end of each round, at most; the last round only asks the silent again.
const ASKED_BY_ROUND: [usize; 5] = [32, 96, 224, 480, 480];

/// Rounds of a roll call that only asks whether an isolation is over.
const ROUNDS_ISOLATED: usize = 2;

/// A member that was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) slot: Slot,
    pub(crate) number: Number,
    pub(crate) answered: bool,
}

/// A roll call under way.
#[derive(Debug)]
struct RollCall {
    started: Instant,
    deadline: Instant,
    round: usize,
    /// Members to ask besides this node.
    others: usize,
    /// The rank of the roster to go on from. The sample is a run of the roster from a random place: its order, by
    /// the hash of the ids, has nothing to do with who can reach whom.
    rank: usize,
    answers: usize,
    /// When a round ended, more than half were silent.
    doubtful: bool,
}

/// What a roll call has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// At least half answer; `doubtful` if they did only after a while.
    InTouch {
        doubtful: bool,
    },
    CutOff {
        lost: u32,
        of: u32,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Contact {
    roll: Option<RollCall>,
    asked: Vec<Asked>,
    /// When the last roll call that succeeded began.
    verified: Option<Instant>,
    isolated: Option<Instant>,
    again_at: Option<Instant>,
    /// The host, or the limit, said that the losses are real: until a roll call succeeds by itself, none can fail.
    vouched: bool,
}

impl Contact {
    /// Since when the node has been isolated.
    pub(crate) fn isolated_since(&self) -> Option<Instant> {
        self.isolated
    }

    pub(crate) fn is_isolated(&self) -> bool {
        self.isolated.is_some()
    }

    /// Whether the node has proved, with questions asked no earlier than `since`, that it is not cut off.
    pub(crate) fn is_verified_since(&self, since: Instant) -> bool {
        let verified = self.verified.is_some_and(|verified| verified >= since);
        self.vouched || (self.isolated.is_none() && verified)
    }

    pub(crate) fn is_calling(&self) -> bool {
        self.roll.is_some()
    }

    /// Begins a roll call of `others` members; the first round is due at once.
    pub(crate) fn begin(&mut self, now: Instant, others: usize, rank: usize) {
        self.asked.clear();
        self.roll = Some(RollCall {
            started: now,
            deadline: now,
            round: 0,
            others,
            rank,
            answers: 0,
            doubtful: false,
        });
        self.again_at = None;
    }

    /// How many members the round that begins now adds to the sample.
    pub(crate) fn next_round(&mut self, now: Instant, pace: Duration) -> usize {
        let Some(roll) = &mut self.roll else { return 0 };
        roll.doubtful |= roll.round > 0 && !in_touch(self.asked.len(), roll.answers);
        let total = ASKED_BY_ROUND.get(roll.round).map_or(0, |&total| total.min(roll.others));
        roll.round += 1;
        roll.deadline = now + pace;
        total.saturating_sub(self.asked.len())
    }

    /// The next rank to look at for a member to ask.
    pub(crate) fn next_rank(&mut self) -> usize {
        let Some(roll) = &mut self.roll else { return 0 };
        let rank = roll.rank;
        roll.rank = rank.wrapping_add(1);
        rank
    }

    pub(crate) fn ask(&mut self, slot: Slot, number: Number) {
        self.asked.push(Asked { slot, number, answered: false });
    }

    pub(crate) fn asked(&self) -> &[Asked] {
        &self.asked
    }

    /// Counts an answer; `None` if the number is not of this roll call, or the answer not from whom was asked.
    pub(crate) fn answered(&mut self, number: Number, is_from: impl Fn(Slot) -> bool) -> Option<Slot> {
        let roll = self.roll.as_mut()?;
        let base = self.asked.first()?.number.0;
        let key = |asked: &Asked| asked.number.0.wrapping_sub(base);
        let at = self.asked.binary_search_by_key(&number.0.wrapping_sub(base), key).ok()?;
        let asked = &mut self.asked[at];
        if !is_from(asked.slot) {
            return None;
        }
        if !core::mem::replace(&mut asked.answered, true) {
            roll.answers += 1;
        }
        Some(asked.slot)
    }

    /// Whether the answers so far leave no doubt that at least half are in touch.
    pub(crate) fn is_clear(&self) -> bool {
        let Some(roll) = &self.roll else { return false };
        let (asked, answers) = (self.asked.len(), roll.answers);
        if asked == roll.others {
            return in_touch(roll.others, answers);
        }
        let lead = (2 * answers).saturating_sub(asked);
        asked > 0 && lead * lead >= 25 * asked
    }

    /// Whether the round's time is up.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.roll.as_ref().is_some_and(|roll| roll.deadline <= now)
    }

    /// Whether there is a further round.
    pub(crate) fn has_rounds(&self) -> bool {
        let rounds = if self.isolated.is_some() { ROUNDS_ISOLATED } else { ASKED_BY_ROUND.len() };
        self.roll.as_ref().is_some_and(|roll| roll.round < rounds)
    }

    /// Ends the roll call: half of those asked decide, this node counted.
    pub(crate) fn conclude(&mut self, now: Instant, again_in: Duration) -> Option<Finding> {
        let roll = self.roll.take()?;
        let (asked, answers) = (self.asked.len(), roll.answers);
        if in_touch(asked, answers) {
            self.verified = Some(roll.started);
            self.vouched = false;
            Some(Finding::InTouch { doubtful: roll.doubtful })
        } else if self.vouched {
            Some(Finding::InTouch { doubtful: false })
        } else {
            self.again_at = Some(now + again_in);
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            Some(Finding::CutOff { lost: count(asked - answers), of: count(asked + 1) })
        }
    }

    /// The node is cut off; false if it was already.
    pub(crate) fn isolate(&mut self, now: Instant) -> bool {
        self.isolated.is_none() && self.isolated.replace(now).is_none()
    }

    /// The isolation is over; false if there was none.
    pub(crate) fn reconnect(&mut self) -> bool {
        self.again_at = None;
        self.isolated.take().is_some()
    }

    /// Takes touch for proved, by the host's word, until the losses have been declared dead.
    pub(crate) fn vouch(&mut self) {
        self.vouched = true;
    }

    /// Forgets the roll call under way: the node slept through it.
    pub(crate) fn abort(&mut self, now: Instant) {
        if self.roll.take().is_some() {
            self.again_at = self.isolated.map(|_| now);
        }
    }

    /// Whether it is time to ask whether the isolation is over.
    pub(crate) fn is_again_due(&self, now: Instant) -> bool {
        self.again_at.is_some_and(|at| at <= now)
    }

    pub(crate) fn deadline(&self, limit: Option<Duration>) -> Option<Instant> {
        let limit = self.isolated.and_then(|since| limit.map(|limit| since + limit));
        let roll = self.roll.as_ref().map(|roll| roll.deadline);
        [roll, self.again_at, limit].into_iter().flatten().min()
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.asked.capacity() * size_of::<Asked>()
    }
}

/// At most half are lost: this node and those that answered against all of them.
const fn in_touch(others: usize, answers: usize) -> bool {
    2 * (answers + 1) > others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_split_is_in_touch_and_a_minority_is_not() {
        // (members asked besides this node, answers, in touch)
        for (others, answers, expected) in [
            (0, 0, true),  // alone
            (1, 0, true),  // 1 of 2: half
            (2, 0, false), // 1 of 3
            (9, 4, true),  // 5 of 10: an even split
            (9, 3, false), // 4 of 10
            (9, 2, false), // the 3 of 7 + 3
            (9, 6, true),  // the 7
            (249, 29, false),
            (249, 124, true),
            (249, 123, false),
        ] {
            assert_eq!(in_touch(others, answers), expected, "{answers} of {others}");
        }
    }

    fn call(others: usize, answers: impl Fn(usize) -> bool) -> (Contact, usize) {
        let mut contact = Contact::default();
        let now = Instant::ORIGIN;
        contact.begin(now, others, 0);
        let mut rounds = 0;
        while contact.has_rounds() && !contact.is_clear() {
            for _ in 0..contact.next_round(now, Duration::ZERO) {
                let n = contact.asked().len();
                let number = Number(u32::MAX.wrapping_add(u32::try_from(n).unwrap()));
                contact.ask(Slot(0), number);
                if answers(n) {
                    contact.answered(number, |_| true);
                }
            }
            rounds += 1;
        }
        (contact, rounds)
    }

    #[test]
    fn a_healthy_large_cluster_is_clear_after_one_small_round() {
        let (contact, rounds) = call(9_999, |_| true);
        assert!(contact.is_clear());
        assert_eq!((rounds, contact.asked().len()), (1, 32));
    }

    #[test]
    fn a_minority_is_never_clear_and_is_told_in_the_end() {
        let (mut contact, _) = call(249, |n| n < 29);
        assert!(!contact.is_clear());
        let finding = contact.conclude(Instant::ORIGIN, Duration::ZERO);
        assert_eq!(finding, Some(Finding::CutOff { lost: 220, of: 250 }));
    }
}
