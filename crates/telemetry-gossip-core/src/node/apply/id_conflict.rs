//! Id conflicts: another process that claims this node's id.
//!
//! ```text
//!   a claim of another instance at another address
//!      |
//!      +--- refuted at once, unless this node is new: the one that was known first stays
//!      v
//!   contest: ping the rival twice, ask five members which process they hold
//!      |
//!      +--- the rival is silent, also through two helpers ---> this node keeps the id, or takes it
//!      +--- both pings answered, and most of those members hold the rival ---> wait
//!      +--- anything else ---> an established node keeps the id; a new one tries again
//!
//!   waiting --- every 5 s the same contest; the rival is gone ---> a member again
//!      ^
//!      |
//!   a process that answers at this node's own address
//! ```
//!
//! Any process can claim to be this node, and one with a socket can answer under any id. So neither
//! a claim nor an answer moves this node: it yields only to a process that the other members hold.
//! A node that knows no member never yields.

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use core::time::Duration;

use super::held::HeldUnderId;
use super::inquiry::Inquiry;
use crate::address::Address;
use crate::config::Mode;
use crate::cx::{Activity, Cx, sooner};
use crate::event::Event;
use crate::id::{Generation, Instance, RequestId};
use crate::membership::claim::Claim;
use crate::node::Node;
use crate::outbox::{Body, Intent, Signal};
use crate::status::Status;
use crate::time::{Instant, TimeRules};
use crate::wire::PING_LEN;

/// The version of the serialised shape of the node's own fields.
pub(in crate::node) const SHAPE: u32 = 4;

/// A node that is younger than this many probe intervals is new: it does not know yet whether
/// another process had its id before. So is one that slept for longer than this.
const NEW_FOR: u32 = 2;

/// The number of members that are asked which process they hold.
pub(super) const MAX_VOTERS: usize = 5;

/// The number of members that are asked to ping a rival that does not answer.
const MAX_HELPERS: usize = 2;

/// The number of pings that a rival has to answer.
const PROOFS: usize = 2;

/// How long a node that has yielded waits before it asks again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Which process a member holds under this node's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Vote<A> {
    /// It has not answered.
    Unknown,
    /// No process except this one.
    NoRival,
    /// A live process of this instance at this address.
    Rival(Instance, A),
}

/// A member that is asked which process it holds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Voter<A> {
    address: A,
    request_id: RequestId,
    vote: Vote<A>,
}

/// A contest with a rival.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Contest<A> {
    rival: Instance,
    address: A,
    /// The highest generation at which the id was claimed, up to [`Generation::MAX_START`]. No
    /// peer may use up the generations that this node has left.
    generation: Generation,
    /// The pings sent so far, and whether each was answered.
    pings: ArrayVec<(RequestId, bool), PROOFS>,
    /// The members that were asked to ping the rival, and have not passed an answer on.
    helpers: ArrayVec<(A, RequestId), MAX_HELPERS>,
    /// The number of helpers that the rival has answered.
    seen_by: u8,
    voters: ArrayVec<Voter<A>, MAX_VOTERS>,
    /// When the next ping is sent, or the contest ends.
    next_at: Instant,
}

impl<A: Copy + PartialEq> Contest<A> {
    fn proofs(&self) -> usize {
        self.pings.iter().filter(|&&(_, answered)| answered).count()
    }

    fn count(&self, vote: Vote<A>) -> usize {
        self.voters.iter().filter(|voter| voter.vote == vote).count()
    }

    /// Whether the rival has the id: most members hold it. If all have answered and no process is
    /// held by most, the one that more of them hold has it; of two that are held alike, that of
    /// the higher instance. Otherwise the processes would outbid each other for ever.
    fn is_won_by_rival(&self, own: Instance) -> bool {
        let held = |rival, address| self.count(Vote::Rival(rival, address));
        let (all, theirs) = (self.voters.len(), held(self.rival, self.address));
        let ours = self.count(Vote::NoRival);
        let is_most = |votes: usize| votes * 2 > all;
        let is_undecided = self.count(Vote::Unknown) == 0
            && theirs > 0
            && !self.voters.iter().any(|voter| is_most(self.count(voter.vote)));
        let has_more = (theirs, self.rival) > (ours, own);
        self.proofs() >= PROOFS && (is_most(theirs) || is_undecided && has_more)
    }

    fn is_rival_silent(&self) -> bool {
        // One of two helpers may lie.
        self.proofs() == 0 && usize::from(self.seen_by) <= self.helpers.len()
    }
}

/// What this node knows of other processes with its id.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::node) struct IdConflict<A> {
    /// Until when this node is new.
    new_until: Instant,
    /// The earliest time of the next claim that is refuted: two processes must not outbid each
    /// other more often than once per gossip interval.
    not_before: Instant,
    contest: Option<Contest<A>>,
    /// The earliest time of the next contest.
    contest_not_before: Instant,
    /// The rival of the last contest that the host was told of.
    told: Option<Instance>,
    /// The rival to which this node has yielded, and the generation at which it holds the id.
    rival: Option<(Instance, A, Generation)>,
    pub(super) inquiry: Inquiry<A>,
}

impl<A: Copy + PartialEq> IdConflict<A> {
    pub(in crate::node) fn new(now: Instant, probe_interval: Duration) -> Self {
        Self {
            new_until: now + probe_interval * NEW_FOR,
            not_before: now,
            contest: None,
            contest_not_before: now,
            told: None,
            rival: None,
            inquiry: Inquiry::new(now),
        }
    }

    /// Whether what a restored node knows of its rivals is possible.
    pub(in crate::node) fn is_sound(&self, times: TimeRules) -> bool {
        let Self { new_until, not_before, contest, contest_not_before, told: _, rival, inquiry } =
            self;
        let next_at = contest.as_ref().map(|contest| contest.next_at);
        let claimed = contest.as_ref().map(|contest| contest.generation);
        let held = rival.map(|(.., generation)| generation);
        times.are_deadlines(&[
            Some(*new_until),
            Some(*not_before),
            Some(*contest_not_before),
            next_at,
        ]) && inquiry.is_sound(times)
            && claimed.into_iter().chain(held).all(|generation| generation <= Generation::MAX)
    }

    /// Whether this node has yielded to another process.
    pub(in crate::node) fn has_rival(&self) -> bool {
        self.rival.is_some()
    }

    /// Makes this node new again, if it slept for long: another process may have its place now.
    pub(in crate::node) fn slept(
        &mut self,
        now: Instant,
        late: Duration,
        probe_interval: Duration,
    ) {
        let new_for = probe_interval * NEW_FOR;
        if late >= new_for {
            self.new_until = now + new_for;
        }
    }

    /// When the contest goes on, or an inquiry begins or ends; `None` if there is neither.
    pub(in crate::node) fn deadline(&self) -> Option<Instant> {
        sooner(self.contest.as_ref().map(|contest| contest.next_at), self.inquiry.deadline())
    }

    /// The address that was pinged under this request id, itself or by a helper.
    pub(in crate::node) fn address_pinged(&self, request_id: RequestId) -> Option<A> {
        let contest = self.contest.as_ref()?;
        if contest.pings.iter().any(|ping| ping.0 == request_id) {
            return Some(contest.address);
        }
        contest.helpers.iter().find(|helper| helper.1 == request_id).map(|helper| helper.0)
    }

    /// The address of the member that was asked under this request id which process it holds.
    pub(in crate::node) fn voter_asked(&self, request_id: RequestId) -> Option<A> {
        let mut voters = self.contest.iter().flat_map(|contest| &contest.voters);
        let voter = voters.find(|voter| voter.request_id == request_id);
        self.inquiry.address_asked(request_id).or_else(|| voter.map(|voter| voter.address))
    }

    /// Takes an ack; true if it answers a ping of the contest.
    pub(in crate::node) fn on_ack(&mut self, request_id: RequestId, instance: Instance) -> bool {
        let Some(contest) = &mut self.contest else { return false };
        let is_rival = instance == contest.rival;
        if let Some(ping) = contest.pings.iter_mut().find(|ping| ping.0 == request_id) {
            ping.1 |= is_rival;
            return true;
        }
        let Some(at) = contest.helpers.iter().position(|it| it.1 == request_id) else {
            return false;
        };
        if is_rival {
            contest.helpers.remove(at);
            contest.seen_by += 1;
        }
        true
    }

    /// Takes the answer of a member, in whose datagram it said that it holds `held`.
    pub(in crate::node) fn on_vote(
        &mut self,
        request_id: RequestId,
        held: Option<&HeldUnderId<A>>,
    ) {
        self.inquiry.on_answer(request_id, held);
        let Some(contest) = &mut self.contest else { return };
        let asked = |voter: &&mut Voter<A>| voter.request_id == request_id;
        let Some(voter) = contest.voters.iter_mut().find(asked) else { return };
        voter.vote = match held {
            Some(&HeldUnderId { instance, address: Some(address), live: true, .. }) => {
                Vote::Rival(instance, address)
            }
            _ => Vote::NoRival,
        };
        if let Some(held) = held {
            let generation = held.generation.min(Generation::MAX_START);
            contest.generation = contest.generation.max(generation);
        }
    }
}

impl<A: Address> Node<A> {
    /// Handles the claim of another process to this node's id, at a higher generation than ours.
    /// True if this node must not refute it, at least not yet.
    pub(super) fn yields_or_waits(&mut self, claim: &Claim<'_, A>) -> bool {
        let now = self.cx.now;
        if let Some(address) = claim.address.filter(|&address| address != self.cx.this.address) {
            self.begin_contest(claim.instance, address, claim.generation);
            if self.id_conflict.contest.is_some() && now < self.id_conflict.new_until {
                return true;
            }
        }
        if self.id_conflict.not_before > now {
            return true;
        }
        self.id_conflict.not_before = now + self.cx.config.gossip_interval;
        false
    }

    /// Hears of another process with this node's id, at a generation that is no higher than ours,
    /// and finds out which of the two the other members hold.
    ///
    /// Our generation says nothing about that: a process that took its id while it was cut off
    /// claimed it above all others, and those that hold the other process do not take the claim.
    pub(super) fn notice_rival(&mut self, claim: &Claim<'_, A>) {
        if let Some(address) = claim.address.filter(|&address| address != self.cx.this.address) {
            self.begin_contest(claim.instance, address, claim.generation);
        }
    }

    /// Begins a contest, unless one is under way or has just ended.
    fn begin_contest(&mut self, rival: Instance, address: A, generation: Generation) {
        let generation = generation.min(Generation::MAX_START);
        let (now, conflict) = (self.cx.now, &mut self.id_conflict);
        if let Some(contest) = &mut conflict.contest {
            if (contest.rival, contest.address) == (rival, address) {
                contest.generation = contest.generation.max(generation);
            }
            return;
        }
        if now < conflict.contest_not_before || self.cx.config.mode != Mode::Autonomous {
            return;
        }
        if now < conflict.new_until {
            // Until the contest is over, this node does not claim the id of another.
            conflict.new_until = now + self.cx.config.probe_interval * NEW_FOR;
            self.cx.rumors.forget(self.cx.this.slot);
        }
        self.id_conflict.contest = Some(Contest {
            rival,
            address,
            generation,
            pings: ArrayVec::new(),
            helpers: ArrayVec::new(),
            seen_by: 0,
            voters: ArrayVec::new(),
            next_at: now,
        });
        self.advance_contest();
    }

    /// Chooses random proved members; if none is proved yet, any members.
    pub(super) fn choose_voters(&mut self) -> ArrayVec<(A, RequestId), MAX_VOTERS> {
        let mut voters = ArrayVec::<(A, RequestId), MAX_VOTERS>::new();
        for only_proved in [true, false] {
            while voters.len() < MAX_VOTERS {
                let Cx { table, rng, .. } = &mut self.cx;
                let slot = table.random(rng, |slot| {
                    let address = table.address(slot);
                    let is_new = !voters.iter().any(|&(voter, _)| Some(voter) == address);
                    is_new && table.can_probe(slot) && (!only_proved || table.is_proved(slot))
                });
                let address = slot.and_then(|slot| table.address(slot));
                let Some(address) = address else { break };
                let request_id = self.cx.request_id();
                voters.push((address, request_id));
            }
            if !voters.is_empty() {
                break;
            }
        }
        voters
    }

    /// Sends the next ping of the contest, or ends it, if that is due.
    pub(in crate::node) fn advance_contest(&mut self) {
        self.advance_inquiry();
        let now = self.cx.now;
        let Some(contest) = self.id_conflict.contest.as_ref().filter(|it| it.next_at <= now) else {
            return;
        };
        if contest.pings.is_full() {
            self.end_contest();
            return;
        }
        let (to, is_last) = (contest.address, contest.pings.len() + 1 == PROOFS);
        let needs_help = is_last && contest.proofs() == 0;
        // The members are asked late, when those that heard of the rival have heard of us, too.
        let voters = if is_last { self.choose_voters() } else { ArrayVec::new() };
        let (id_hash, limit) = (self.cx.this.id_hash, self.cx.mtu());
        let mut helpers = ArrayVec::new();
        for &(address, request_id) in &voters {
            let intent = Intent::new(address, None, limit);
            self.cx.ask(intent.with_body(Body::Vote(request_id)));
            if needs_help && helpers.len() < MAX_HELPERS {
                let request_id = self.cx.request_id();
                helpers.push((address, request_id));
                self.cx.ask(intent.with_signal(Signal::PingReq(request_id, id_hash, to)));
            }
        }
        let request_id = self.cx.request_id();
        // A peer may have made the address up, so it gets nothing but the ping.
        let ping = Signal::Ping(request_id, id_hash);
        self.cx.ask(Intent::new(to, None, PING_LEN).with_signal(ping));
        let next_at = now + self.cx.config.probe_timeout;
        if let Some(contest) = &mut self.id_conflict.contest {
            contest.pings.push((request_id, false));
            contest.next_at = next_at;
            if is_last {
                let unheard =
                    |(address, request_id)| Voter { address, request_id, vote: Vote::Unknown };
                contest.voters = voters.into_iter().map(unheard).collect();
                contest.helpers = helpers;
            }
        }
    }

    /// Decides a contest.
    fn end_contest(&mut self) {
        let Some(contest) = self.id_conflict.contest.take() else { return };
        let now = self.cx.now;
        self.id_conflict.contest_not_before = now + self.cx.config.probe_interval;
        if let Activity::Waiting(_) = self.cx.activity {
            self.stop_waiting_if_gone(&contest);
            return;
        }
        let (instance, address) = (contest.rival, Some(contest.address));
        if contest.is_won_by_rival(self.cx.this.instance) {
            self.yield_to(instance, contest.address, contest.generation);
            return;
        }
        if contest.proofs() >= PROOFS && self.id_conflict.told != Some(instance) {
            self.id_conflict.told = Some(instance);
            self.cx.emit(Event::IdentityConflict { instance, address, lost: false });
        }
        let is_new = now < self.id_conflict.new_until;
        let ours = contest.count(Vote::NoRival) * 2 > contest.voters.len();
        if is_new && (contest.is_rival_silent() || ours) {
            self.id_conflict.new_until = now;
            self.take_id(contest.generation);
        } else if is_new {
            self.id_conflict.contest_not_before = now;
            self.begin_contest(contest.rival, contest.address, contest.generation);
        }
    }

    /// Yields to a process that answers at this node's own address, and that is therefore the one
    /// that the others know.
    #[cold]
    pub(in crate::node) fn yield_own_address(&mut self, rival: Instance) {
        let generation = self.cx.table.row(self.cx.this.slot).generation;
        self.yield_to(rival, self.cx.this.address, generation);
    }

    /// Ceases to be a member, and waits until the rival is gone.
    fn yield_to(&mut self, instance: Instance, address: A, generation: Generation) {
        let (now, conflict) = (self.cx.now, &mut self.id_conflict);
        conflict.contest = None;
        conflict.told = Some(instance);
        conflict.rival = Some((instance, address, generation));
        conflict.inquiry = Inquiry::new(now);
        self.cx.emit(Event::IdentityConflict { instance, address: Some(address), lost: true });
        self.fall_silent();
        self.cx.activity = Activity::Waiting(now + ASK_AGAIN_AFTER);
    }

    /// Claims the id one generation above all that was heard of it.
    fn take_id(&mut self, above: Generation) {
        let held = self.cx.table.row(self.cx.this.slot).generation;
        let generation = held.max(above).next();
        self.set_own_status(generation, Status::Alive);
        self.cx.rumors.push_grounded(self.cx.this.slot);
    }

    /// When a node that waits asks again.
    pub(in crate::node) fn waiting_deadline(&self) -> Option<Instant> {
        let Activity::Waiting(ask_at) = self.cx.activity else { return None };
        Some(self.id_conflict.deadline().unwrap_or(ask_at))
    }

    /// Asks again, if it is time, whether the rival is still there.
    pub(in crate::node) fn tick_waiting(&mut self) {
        let Activity::Waiting(ask_at) = self.cx.activity else { return };
        if self.id_conflict.contest.is_some() {
            self.advance_contest();
        } else if ask_at <= self.cx.now
            && let Some((rival, address, generation)) = self.id_conflict.rival
        {
            self.cx.activity = Activity::Waiting(self.cx.now + ASK_AGAIN_AFTER);
            self.id_conflict.contest_not_before = self.cx.now;
            self.begin_contest(rival, address, generation);
        }
    }

    /// Takes the id back if the rival is silent and most of those members that were asked hold no
    /// other. One of them alone may lie.
    ///
    /// The members that this node knew may all be gone, and it learns of no other while it waits.
    /// So it takes the id back too if there is no answer at all. If it is merely cut off, it will
    /// find the other process when it is not, and yield again.
    fn stop_waiting_if_gone(&mut self, contest: &Contest<A>) {
        let now = self.cx.now;
        let held = |voter: &Voter<A>| match voter.vote {
            Vote::Rival(instance, address) => Some((instance, address)),
            Vote::Unknown | Vote::NoRival => None,
        };
        let others = contest.voters.iter().filter_map(held);
        if others.clone().count() * 2 > contest.voters.len() {
            let most = others.max_by_key(|&(it, at)| contest.count(Vote::Rival(it, at)));
            self.id_conflict.rival = most.map(|(it, at)| (it, at, contest.generation));
            return;
        }
        if !contest.is_rival_silent() {
            return;
        }
        self.cx.activity = Activity::Active;
        self.id_conflict = IdConflict::new(now, self.cx.config.probe_interval);
        self.id_conflict.new_until = now;
        // What ran out in the meantime is no evidence against any member.
        self.detector.on_pause(now, ASK_AGAIN_AFTER, &mut self.cx);
        self.take_id(contest.generation);
        let generation = self.cx.table.row(self.cx.this.slot).generation;
        self.cx.emit(Event::IdentityRegained { generation });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::node::tests::node;

    /// A node that has yielded asks `votes` members, of which the first `lies` hold another
    /// process, and two helpers, of which `seen` say that the rival answers. Returns whether the
    /// node has its id back.
    fn regains(votes: u32, lies: u32, seen: u8) -> bool {
        let mut node = node(1, &Config::default());
        let rival = (Instance(7), 77);
        node.cx.activity = Activity::Waiting(node.cx.now);
        node.id_conflict.rival = Some((rival.0, rival.1, Generation(5)));
        let voter = |n: u32| Voter {
            address: n,
            request_id: RequestId(n),
            vote: if n < lies { Vote::Rival(rival.0, rival.1) } else { Vote::NoRival },
        };
        let contest = Contest {
            rival: rival.0,
            address: rival.1,
            generation: Generation(5),
            pings: ArrayVec::new(),
            helpers: (u32::from(seen)..2).map(|n| (n, RequestId(n))).collect(),
            seen_by: seen,
            voters: (0..votes).map(voter).collect(),
            next_at: node.cx.now,
        };
        node.stop_waiting_if_gone(&contest);
        node.cx.activity == Activity::Active
    }

    #[test]
    fn one_lying_member_keeps_no_process_from_its_id() {
        assert!(regains(0, 0, 0) && regains(5, 0, 0));
        assert!(regains(5, 1, 0) && regains(5, 2, 1), "one voter, or a helper as well");
        assert!(regains(3, 1, 1));
        assert!(!regains(5, 3, 0), "most hold the rival");
        assert!(!regains(5, 0, 2), "the rival answers");
    }
}
