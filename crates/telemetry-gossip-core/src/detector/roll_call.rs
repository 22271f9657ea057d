//! Touch with the majority: before this node declares anybody Dead it asks around whether it is the
//! one cut off.
//!
//! A **roll call** pings members until it is plain whether at least half of them answer, this node
//! counted among those in touch. In a small cluster it asks everybody. In a large one it asks a
//! growing sample, and stops early when the answers leave no doubt: after m were asked and a
//! answered, once 2a - m >= 5 sqrt(m), which a side with half of the members or fewer passes by
//! chance in less than one of a million looks (the deviation of 2a - m is at most sqrt(m)). The
//! sample grows as long as there is doubt either way, up to everybody. Those silent are asked again
//! in each round, so that loss alone does not fail it.
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
//! A verdict counts only for suspicions that began before the roll call did, so a partition that
//! comes between cannot be overlooked. While isolated the node accuses nobody and declares nobody
//! Dead.

use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::Detector;
use crate::address::Address;
use crate::cx::Cx;
use crate::event::{Event, IsolationEnd};
use crate::id::RequestId;
use crate::membership::Slot;
use crate::time::Instant;

/// How many members the first rounds add to the sample.
const ADDED_BY_ROUND: [usize; 3] = [32, 64, 128];

/// How many each later round adds, until everybody is asked.
const ADDED: usize = 192;

/// How many of those silent a round asks again, the latest asked first.
const ASKED_AGAIN: usize = 384;

/// The fewest rounds before a node finds itself cut off: the last only asks the silent again.
const ROUNDS: usize = 5;

/// The fewest rounds before it finds that it still is.
const ROUNDS_ISOLATED: usize = 2;

/// A member that was asked.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) slot: Slot,
    pub(crate) number: RequestId,
    pub(crate) answered: bool,
}

/// A roll call under way.
#[derive(Debug, Serialize, Deserialize)]
struct RollCall {
    started: Instant,
    deadline: Instant,
    round: usize,
    /// Members to ask besides this node.
    others: usize,
    /// The rank of the roster to go on from. The sample is a run of the roster from a random place:
    /// its order, by the hash of the ids, has nothing to do with who can reach whom.
    rank: usize,
    looked_at: usize,
    answers: usize,
    /// The round that completed the sample; 0 before.
    all_by: usize,
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

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct RollCalls {
    roll: Option<RollCall>,
    asked: Vec<Asked>,
    /// When the last roll call that succeeded began.
    verified: Option<Instant>,
    isolated: Option<Instant>,
    again_at: Option<Instant>,
    /// The host, or the limit, said that the losses are real: until a roll call succeeds by itself,
    /// none can fail.
    vouched: bool,
}

/// What is due of a roll call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The next round.
    Round,
    /// Its end.
    Conclude,
}

impl RollCalls {
    /// Since when the node has been isolated.
    pub(crate) fn isolated_since(&self) -> Option<Instant> {
        self.isolated
    }

    pub(crate) fn is_isolated(&self) -> bool {
        self.isolated.is_some()
    }

    /// Whether the node has proved, with questions asked no earlier than `since`, that it is not
    /// cut off.
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
            looked_at: 0,
            answers: 0,
            all_by: 0,
            doubtful: false,
        });
        self.again_at = None;
    }

    /// What is due of the roll call at `now`, if anything is.
    fn step(&self, now: Instant) -> Option<Step> {
        let clear = self.is_clear();
        if !self.is_due(now) && !(self.is_calling() && clear) {
            None
        } else if clear || !self.has_rounds() {
            Some(Step::Conclude)
        } else {
            Some(Step::Round)
        }
    }

    /// Forgets a member: a roll call that asks it is given up, and begins anew where it is needed.
    pub(crate) fn forget(&mut self, slot: Slot, now: Instant) {
        if self.asked.iter().any(|asked| asked.slot == slot) {
            self.abort(now);
        }
    }

    /// How many members the round that begins now adds to the sample.
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

    /// The members that the round that begins now asks again.
    pub(crate) fn silent(&self) -> Vec<Asked> {
        self.asked.iter().rev().filter(|asked| !asked.answered).take(ASKED_AGAIN).copied().collect()
    }

    /// The next rank to look at for a member to ask, in a roster of `len`; `None` once all were
    /// looked at, which may be sooner than thought as members die meanwhile.
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

    pub(crate) fn ask(&mut self, slot: Slot, number: RequestId) {
        self.asked.push(Asked { slot, number, answered: false });
    }

    /// Counts an answer; `None` if the number is not of this roll call, or the answer not from whom
    /// was asked.
    pub(crate) fn answered(
        &mut self,
        number: RequestId,
        is_from: impl Fn(Slot) -> bool,
    ) -> Option<Slot> {
        let roll = self.roll.as_mut()?;
        let asked = self.asked.iter_mut().find(|asked| asked.number == number)?;
        if !is_from(asked.slot) {
            return None;
        }
        let slot = asked.slot;
        if !core::mem::replace(&mut asked.answered, true) {
            roll.answers += 1;
        }
        Some(slot)
    }

    /// Whether the answers so far leave no doubt that at least half are in touch.
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

    /// Whether the round's time is up.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.roll.as_ref().is_some_and(|roll| roll.deadline <= now)
    }

    /// Whether there is a further round: some in any case, then until the silent leave no doubt
    /// that this node is cut off, or all were asked and the silent once more.
    pub(crate) fn has_rounds(&self) -> bool {
        let Some(roll) = &self.roll else { return false };
        let fewest = if self.isolated.is_some() { ROUNDS_ISOLATED } else { ROUNDS };
        let (asked, answers) = (self.asked.len(), roll.answers);
        let asked_again = asked >= roll.others && roll.round > roll.all_by;
        roll.round < fewest || !(asked_again || leads(asked - answers, answers))
    }

    /// Whether the answers are those of whom was asked.
    pub(crate) fn is_sound(&self) -> bool {
        /// More than any roll call has.
        const MOST_ROUNDS: usize = 1 << 24;
        let answered = self.asked.iter().filter(|asked| asked.answered).count();
        self.roll.as_ref().is_none_or(|roll| roll.answers == answered && roll.round < MOST_ROUNDS)
    }

    /// Ends the roll call.
    pub(crate) fn conclude(&mut self, now: Instant, again_in: Duration) -> Option<Finding> {
        let clear = self.is_clear();
        let roll = self.roll.take()?;
        let (asked, answers) = (self.asked.len(), roll.answers);
        if clear {
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

    /// The node slept: the time of an isolation stood still.
    pub(crate) fn postpone(&mut self, span: Duration) {
        self.isolated = self.isolated.map(|since| since + span);
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

    /// Whether there is neither a roll call nor an isolation.
    pub(crate) fn is_quiet(&self) -> bool {
        self.roll.is_none() && self.isolated.is_none() && self.again_at.is_none()
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.asked.capacity() * size_of::<Asked>()
    }
}

/// How many members a round adds to the sample, if there are as many.
pub(crate) fn added(round: usize) -> usize {
    ADDED_BY_ROUND.get(round).copied().unwrap_or(ADDED)
}

/// Whether so many on one side, against so many on the other, leave no doubt about the whole.
const fn leads(these: usize, those: usize) -> bool {
    let lead = these.saturating_sub(those);
    lead > 0 && lead * lead >= 25 * (these + those)
}

/// At most half are lost: this node and those that answered against all of them.
const fn in_touch(others: usize, answers: usize) -> bool {
    2 * (answers + 1) > others
}

impl<A: Address> Detector<A> {
    pub(crate) fn begin_roll_call(&mut self, cx: &mut Cx<A>) {
        let others = cx.table.slots().filter(|&slot| cx.table.can_probe(slot)).count();
        let rank = cx.rng.below(cx.table.len());
        self.roll_calls.begin(cx.now, others, rank);
        cx.stats.roll_calls += 1;
        self.call_roll(cx);
    }

    /// Does what is due of the roll call: the next round, or its end.
    pub(super) fn call_roll(&mut self, cx: &mut Cx<A>) {
        while let Some(step) = self.roll_calls.step(cx.now) {
            match step {
                Step::Conclude => self.conclude_roll_call(cx),
                Step::Round => self.call_round(cx),
            }
        }
    }

    fn call_round(&mut self, cx: &mut Cx<A>) {
        // Those silent are asked again, under the same numbers.
        for asked in self.roll_calls.silent() {
            cx.ping(asked.slot, asked.number);
        }
        let mut wanted = self.roll_calls.next_round(cx.now, self.roll_call_pace(cx));
        while wanted > 0 {
            let Some(rank) = self.roll_calls.next_rank(cx.table.len()) else { break };
            if let Some(slot) = cx.table.at_rank(rank)
                && cx.table.can_probe(slot)
            {
                let number = cx.request_id();
                self.roll_calls.ask(slot, number);
                cx.ping(slot, number);
                wanted -= 1;
            }
        }
    }

    /// How long a round waits for answers: a timeout, or two where this node doubts itself.
    /// Otherwise answers that are a little late would leave each roll call in doubt, and no crash
    /// would ever be found. Where answers are slower still, refutations come too late as well, and
    /// doubt is right.
    fn roll_call_pace(&self, cx: &Cx<A>) -> Duration {
        self.probe_timeout(&cx.config).min(cx.config.probe_timeout * 2)
    }

    fn conclude_roll_call(&mut self, cx: &mut Cx<A>) {
        match self.roll_calls.conclude(cx.now, cx.config.probe_interval * 2) {
            Some(Finding::InTouch { doubtful }) => {
                match (self.roll_calls.is_isolated(), doubtful) {
                    (true, false) => {
                        // Probes failed because of the cut. The members that crashed meanwhile must
                        // not wait for a node that doubts itself.
                        self.local_health.clear();
                        let round = self.schedule.clock.round(cx.now);
                        self.schedule.plan(round, self.local_health, cx);
                    }
                    (false, true) => {
                        self.suspicions.doubt(cx.now, &self.timing(cx));
                        self.drop_probe();
                        self.drop_pending_accusations(cx);
                    }
                    (true, true) | (false, false) => {}
                }
                self.make_pending_accusations(cx);
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
                if self.roll_calls.isolate(cx.now) {
                    cx.emit(Event::Isolated { lost, of });
                }
            }
            None => {}
        }
    }

    /// The suspicions that were held begin anew: each suspect has its full time to refute.
    fn end_isolation(&mut self, end: IsolationEnd, cx: &mut Cx<A>) {
        self.config_may_reconnect = false;
        if self.roll_calls.reconnect() {
            self.suspicions.restart(cx.now, &self.timing(cx));
            self.drop_probe();
            cx.emit(Event::Reconnected { end });
        }
    }

    /// The losses are real: the suspicions go on, and no roll call holds them until one succeeds by
    /// itself.
    pub(crate) fn accept_loss(&mut self, end: IsolationEnd, cx: &mut Cx<A>) {
        if self.roll_calls.is_isolated() {
            self.roll_calls.vouch();
            self.end_isolation(end, cx);
        }
    }

    /// The cluster config removed members: those that are left may be more than half.
    pub(crate) fn on_config_change(&mut self, cx: &mut Cx<A>) {
        if self.roll_calls.is_isolated() {
            self.config_may_reconnect = true;
            self.begin_roll_call(cx);
        }
    }

    /// Asks whether the isolation is over, or takes it for the truth after its limit.
    pub(super) fn review_isolation(&mut self, cx: &mut Cx<A>) {
        if let (Some(since), Some(limit)) =
            (self.roll_calls.isolated_since(), cx.config.isolation_limit)
            && cx.now >= since + limit
        {
            self.accept_loss(IsolationEnd::Limit, cx);
        }
        if self.roll_calls.is_again_due(cx.now) && !self.roll_calls.is_calling() {
            self.begin_roll_call(cx);
        }
    }
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

    fn call(others: usize, answers: impl Fn(usize) -> bool) -> (RollCalls, usize) {
        let mut rolls = RollCalls::default();
        let now = Instant::ORIGIN;
        rolls.begin(now, others, 0);
        let mut rounds = 0;
        while rolls.has_rounds() && !rolls.is_clear() {
            for _ in 0..rolls.next_round(now, Duration::ZERO) {
                let n = rolls.asked.len();
                let number = RequestId(u32::MAX.wrapping_add(u32::try_from(n).unwrap()));
                rolls.ask(Slot(0), number);
                if answers(n) {
                    rolls.answered(number, |_| true);
                }
            }
            rounds += 1;
        }
        (rolls, rounds)
    }

    #[test]
    fn a_healthy_large_cluster_is_clear_after_one_small_round() {
        let (rolls, rounds) = call(9_999, |_| true);
        assert!(rolls.is_clear());
        assert_eq!((rounds, rolls.asked.len()), (1, 32));
    }

    #[test]
    fn sides_of_nearly_half_ask_everybody_and_are_told_apart() {
        for (answers, expected) in [(900, false), (998, false), (999, true), (1_100, true)] {
            // Evenly spread, so that every sample is as undecided as the whole.
            let (mut rolls, rounds) =
                call(1_999, |n| (n + 1) * answers / 1_999 > n * answers / 1_999);
            let finding = rolls.conclude(Instant::ORIGIN, Duration::ZERO);
            assert_eq!(
                matches!(finding, Some(Finding::InTouch { .. })),
                expected,
                "{answers} in {rounds} rounds"
            );
        }
    }

    #[test]
    fn a_minority_is_never_clear_and_is_told_in_the_end() {
        let (mut rolls, _) = call(249, |n| n < 29);
        assert!(!rolls.is_clear());
        let finding = rolls.conclude(Instant::ORIGIN, Duration::ZERO);
        assert_eq!(finding, Some(Finding::CutOff { lost: 220, of: 250 }));
    }

    const PACE: Duration = Duration::from_millis(300);
    const AGAIN: Duration = Duration::from_secs(2);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    /// Asks as many as the round that begins wants, slot n under number n + 1, and says how many.
    fn ask(rolls: &mut RollCalls, now: Instant) -> usize {
        let wanted = rolls.next_round(now, PACE);
        for n in rolls.asked.len()..rolls.asked.len() + wanted {
            rolls.ask(Slot(u32::try_from(n).unwrap()), RequestId(u32::try_from(n).unwrap() + 1));
        }
        wanted
    }

    fn answer(rolls: &mut RollCalls, numbers: core::ops::RangeInclusive<u32>) {
        for number in numbers {
            assert_eq!(
                rolls.answered(RequestId(number), |slot| slot.0 + 1 == number),
                Some(Slot(number - 1))
            );
        }
    }

    /// Finds that the node is cut off from nine others.
    fn cut_off(now: Instant) -> RollCalls {
        let mut rolls = RollCalls::default();
        rolls.begin(now, 9, 0);
        while rolls.has_rounds() {
            ask(&mut rolls, now);
        }
        assert_eq!(rolls.conclude(now, AGAIN), Some(Finding::CutOff { lost: 9, of: 10 }));
        assert!(rolls.isolate(now) && !rolls.isolate(now + AGAIN), "once");
        rolls
    }

    #[test]
    fn rounds_come_at_a_pace_add_to_the_sample_and_ask_the_silent_again() {
        let mut rolls = RollCalls::default();
        rolls.begin(at(0), 500, 7);
        assert!(rolls.is_due(at(0)) && rolls.is_calling());
        let added = [0, 300, 600, 900, 1_200, 1_500].map(|millis| {
            assert_eq!(rolls.deadline(None), Some(at(millis)));
            assert!(!rolls.is_due(at(millis.saturating_sub(1))) || millis == 0);
            ask(&mut rolls, at(millis))
        });
        assert_eq!(added, [32, 64, 128, 192, 84, 0]);
        let silent = rolls.silent();
        assert_eq!(
            (silent.len(), silent[0].slot, silent[383].slot),
            (384, Slot(499), Slot(116)),
            "the latest first"
        );
        answer(&mut rolls, 101..=500);
        assert_eq!(rolls.silent().len(), 100);
    }

    #[test]
    fn the_roster_is_gone_through_once_from_a_random_place() {
        let mut rolls = RollCalls::default();
        rolls.begin(at(0), 5, 7);
        rolls.next_round(at(0), PACE);
        rolls.ask(Slot(0), RequestId(1));
        let ranks: Vec<_> = core::iter::from_fn(|| rolls.next_rank(3)).collect();
        assert_eq!(ranks, [7, 8, 9]);
        // Fewer could be asked than thought: the one that was is all there is.
        answer(&mut rolls, 1..=1);
        assert!(rolls.is_clear());
    }

    #[test]
    fn answers_count_once_and_from_whom_was_asked() {
        let mut rolls = RollCalls::default();
        rolls.begin(at(0), 3, 0);
        ask(&mut rolls, at(0));
        assert_eq!(rolls.answered(RequestId(9), |_| true), None, "another number");
        assert_eq!(rolls.answered(RequestId(1), |_| false), None, "from elsewhere");
        assert!(!rolls.is_clear());
        answer(&mut rolls, 1..=1);
        assert!(rolls.is_clear() && rolls.is_sound(), "two of four");
        rolls.begin(at(0), 5, 0);
        ask(&mut rolls, at(0));
        for _ in 0..3 {
            answer(&mut rolls, 1..=1);
        }
        assert!(!rolls.is_clear() && rolls.is_sound(), "two of six, however often one says so");
        rolls.conclude(at(0), AGAIN);
        assert_eq!(rolls.answered(RequestId(2), |_| true), None, "it is over");
    }

    #[test]
    fn a_lead_leaves_no_doubt_at_five_deviations() {
        for (these, those, expected) in [
            (25, 0, true),
            (24, 0, false),
            (0, 0, false),
            (45, 5, true),
            (33, 5, false),
            (0, 25, false),
            (5, 45, false),
        ] {
            assert_eq!(leads(these, those), expected, "{these} against {those}");
        }
    }

    #[test]
    fn touch_that_comes_only_after_a_round_is_in_doubt() {
        for (silent_rounds, doubtful) in [(0, false), (1, true), (4, true)] {
            let mut rolls = RollCalls::default();
            rolls.begin(at(0), 9, 0);
            for _ in 0..=silent_rounds {
                assert!(rolls.has_rounds());
                ask(&mut rolls, at(0));
            }
            answer(&mut rolls, 1..=4);
            ask(&mut rolls, at(0));
            assert_eq!(
                rolls.conclude(at(0), AGAIN),
                Some(Finding::InTouch { doubtful }),
                "{silent_rounds} rounds"
            );
        }
    }

    #[test]
    fn a_verdict_counts_for_suspicions_that_began_before_the_roll_call() {
        let mut rolls = RollCalls::default();
        assert!(!rolls.is_verified_since(at(0)), "nothing was asked yet");
        rolls.begin(at(1_000), 0, 0);
        rolls.conclude(at(1_300), AGAIN);
        assert!(rolls.is_verified_since(at(999)) && rolls.is_verified_since(at(1_000)));
        assert!(!rolls.is_verified_since(at(1_001)));
        assert!(rolls.is_quiet(), "nothing is asked again");
    }

    #[test]
    fn five_rounds_find_a_node_cut_off_and_two_that_it_still_is() {
        let rounds = |rolls: &mut RollCalls| {
            rolls.begin(at(0), 9, 0);
            let mut rounds = 0;
            while rolls.has_rounds() {
                ask(rolls, at(0));
                rounds += 1;
            }
            rounds
        };
        assert_eq!(rounds(&mut RollCalls::default()), 5);
        assert_eq!(rounds(&mut cut_off(at(0))), 2);
        // A large cluster is asked until those silent leave no doubt, or the last were asked twice.
        for (others, answering, rounds) in
            [(10_000, 0, 5), (10_000, 242, 5), (10_000, 243, 6), (608, 290, 6), (609, 290, 7)]
        {
            let mut rolls = RollCalls::default();
            rolls.begin(at(0), others, 0);
            let mut count = 0;
            while rolls.has_rounds() {
                ask(&mut rolls, at(0));
                if count == 3 {
                    answer(&mut rolls, 1..=answering);
                }
                count += 1;
            }
            assert_eq!(count, rounds, "{answering} of {others}");
        }
    }

    #[test]
    fn the_isolated_ask_again_until_there_is_touch() {
        let mut rolls = cut_off(at(1_000));
        assert_eq!(rolls.isolated_since(), Some(at(1_000)));
        assert!(rolls.is_isolated() && !rolls.is_calling() && !rolls.is_quiet());
        assert!(!rolls.is_verified_since(at(0)));
        assert!(rolls.is_again_due(at(3_000)) && !rolls.is_again_due(at(2_999)));
        assert_eq!(rolls.deadline(None), Some(at(3_000)));
        assert_eq!(rolls.deadline(Some(PACE)), Some(at(1_300)), "its limit is sooner");

        rolls.begin(at(3_000), 9, 0);
        assert!(!rolls.is_again_due(at(9_000)), "it is under way");
        ask(&mut rolls, at(3_000));
        answer(&mut rolls, 1..=4);
        assert!(!rolls.is_verified_since(at(0)), "not before it is over");
        assert_eq!(rolls.conclude(at(3_100), AGAIN), Some(Finding::InTouch { doubtful: false }));
        assert!(!rolls.is_verified_since(at(0)), "nor before the isolation is");
        assert!(rolls.reconnect() && !rolls.reconnect(), "once");
        assert!(rolls.is_verified_since(at(3_000)) && rolls.is_quiet());
    }

    #[test]
    fn the_hosts_word_stands_for_touch_until_there_is_some() {
        let mut rolls = cut_off(at(0));
        rolls.vouch();
        assert!(rolls.is_verified_since(at(9_000)), "even while it is isolated");
        rolls.reconnect();
        // No roll call can fail now, and the word goes on.
        rolls.begin(at(4_000), 9, 0);
        assert_eq!(rolls.conclude(at(5_000), AGAIN), Some(Finding::InTouch { doubtful: false }));
        assert!(rolls.is_verified_since(at(9_000)) && rolls.is_quiet());
        // One that succeeds by itself ends it.
        rolls.begin(at(6_000), 0, 0);
        rolls.conclude(at(6_000), AGAIN);
        assert!(rolls.is_verified_since(at(6_000)) && !rolls.is_verified_since(at(6_001)));
    }

    #[test]
    fn sleep_gives_up_a_roll_call_and_stops_the_time_of_an_isolation() {
        let mut rolls = cut_off(at(0));
        rolls.begin(at(2_000), 9, 0);
        rolls.abort(at(2_500));
        assert!(!rolls.is_calling() && rolls.is_again_due(at(2_500)), "it begins anew at once");
        rolls.postpone(AGAIN);
        assert_eq!(rolls.isolated_since(), Some(at(2_000)));

        let mut rolls = RollCalls::default();
        rolls.abort(at(0));
        rolls.begin(at(0), 9, 0);
        rolls.abort(at(2_500));
        assert!(rolls.is_quiet(), "who was not isolated has nothing to ask again");
    }

    #[test]
    fn a_roll_call_with_other_answers_than_those_of_whom_was_asked_is_not_sound() {
        let mut rolls = RollCalls::default();
        assert!(rolls.is_sound());
        rolls.begin(at(0), 9, 0);
        ask(&mut rolls, at(0));
        answer(&mut rolls, 1..=2);
        assert!(rolls.is_sound());
        rolls.asked[0].answered = false;
        assert!(!rolls.is_sound());
        rolls.asked[0].answered = true;
        rolls.roll.as_mut().unwrap().round = usize::MAX;
        assert!(!rolls.is_sound());
    }
}
