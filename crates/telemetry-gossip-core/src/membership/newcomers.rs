//! Newcomers: claims that wait until the member that they are about has answered.
//!
//! ```text
//!   a claim that others pass on ---> asked --- its member answers ---> taken
//!                                      |            |
//!            no answer: asked through two helpers   +--- another process answered as this member
//!            (a newcomer asks once more itself)          before ---> contested
//!            no answer for a minute: forgotten
//!   contested --- the other one answers ---> forgotten
//!       +-------- it is silent for two timeouts ---> taken
//! ```
//!
//! A peer can make up members, and it can say that a member has restarted or moved. So a claim
//! about an unknown member, or about another process than the one that is held, has no effect
//! before a ping to its address is answered by the claimed instance. Until then no other node is
//! told.
//!
//! What is held meanwhile is bounded: a flood of claims that are never answered pushes claims out
//! by lot, so that a true one stays with some probability each time that it is heard.

use alloc::vec::Vec;
use core::time::Duration;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use super::claim::{Accusers, Claim};
use crate::id::{Generation, IdHash, Instance, NodeId, RequestId};
use crate::rng::Random;
use crate::status::Status;
use crate::time::{Instant, TimeRules};

/// The largest number of claims that wait for an answer of their member.
const MAX_ASKED: usize = 64;

/// The largest number of contested claims. They have places of their own, since they wait for a
/// second and a flood of claims must not push them out.
const MAX_CONTESTED: usize = 16;

/// The largest number of claims that wait.
pub(crate) const MAX_WAITING: usize = MAX_ASKED + MAX_CONTESTED;

/// The number of helpers that have to pass an answer on: one alone may have made it up.
pub(crate) const HELPERS: usize = 2;

/// How long after its time an answer is still taken. Then the claim is forgotten.
const LATE_ANSWER: Duration = Duration::from_secs(60);

/// A claim that waits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WaitingClaim<A> {
    pub(crate) id: NodeId,
    pub(crate) address: A,
    pub(crate) instance: Instance,
    pub(crate) generation: Generation,
    pub(crate) status: Status,
    /// Whether the claim is to be passed on once it is taken.
    pub(crate) rumor: bool,
    /// Whether it is from a page of a seed of this node.
    pub(crate) paged: bool,
    /// The number that the member has to repeat.
    asked: RequestId,
    /// When the claim is forgotten, or taken if it is contested.
    until: Instant,
    /// The number that the process which is held has to repeat, once this claim is contested, and
    /// whether it was asked twice.
    contested: Option<(RequestId, bool)>,
    /// What is done next if the member is silent.
    next: Next,
    /// Those helpers.
    pub(crate) helpers: ArrayVec<AskedHelper, HELPERS>,
}

/// What is done about a claim whose member is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Next {
    /// Its member is asked directly once more.
    AskAgain,
    /// Its member is asked through helpers.
    AskThrough,
    /// Nothing more.
    Forget,
}

/// A helper that asks the member of a claim.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct AskedHelper {
    pub(crate) number: RequestId,
    pub(crate) id_hash: IdHash,
    /// Whether it has passed an answer on.
    pub(crate) answered: bool,
}

impl<A: Copy> WaitingClaim<A> {
    /// Makes a claim that waits until `until` for the member at `address` to repeat `asked`.
    pub(crate) fn new(
        claim: &Claim<'_, A>,
        address: A,
        rumor: bool,
        asked: RequestId,
        until: Instant,
    ) -> Option<Self> {
        Some(Self {
            id: NodeId::new(claim.id).ok()?,
            address,
            instance: claim.instance,
            generation: claim.generation,
            status: claim.status,
            rumor,
            paged: false,
            asked,
            until,
            contested: None,
            next: Next::AskThrough,
            helpers: ArrayVec::new(),
        })
    }

    /// Has the member asked by this node alone, and not through helpers.
    pub(crate) const fn only_directly(&mut self) {
        self.next = Next::Forget;
    }

    /// Has the member asked by this node alone, and a second time if it is silent.
    pub(crate) const fn directly_twice(&mut self) {
        self.next = Next::AskAgain;
    }

    /// The helper that was given this number.
    fn helper(&self, number: RequestId) -> Option<&AskedHelper> {
        self.helpers.iter().find(|helper| helper.number == number)
    }

    /// Whether an answer with this number is awaited.
    fn awaits(&self, number: RequestId) -> bool {
        match self.contested {
            Some((held, _)) => held == number,
            None => self.asked == number || self.helper(number).is_some(),
        }
    }

    /// Whether this is what is done next if its member is silent.
    fn awaits_next(&self, next: Next) -> bool {
        self.contested.is_none() && self.next == next
    }

    fn has_answered_helpers(&self) -> bool {
        self.helpers.len() == HELPERS && self.helpers.iter().all(|helper| helper.answered)
    }

    /// Returns the claim as it can be merged.
    pub(crate) fn claim(&self) -> Claim<'_, A> {
        Claim {
            id: self.id.as_str(),
            address: Some(self.address),
            instance: self.instance,
            generation: self.generation,
            status: self.status,
            accusers: Accusers::new(),
            age_secs: 0,
        }
    }
}

/// Where a number was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlaceAsked<A> {
    /// To the address in a claim that waits.
    Address(A),
    /// To the process that is held under this id.
    Holder(NodeId),
    /// To a helper.
    Helper(IdHash),
}

/// What an ack says about the claims that wait.
#[derive(Clone, Debug)]
pub(crate) enum Answer<A> {
    /// The member of this claim has answered.
    Claimed(WaitingClaim<A>),
    /// The process that is held has answered, so the claim that contested it was dropped.
    Held,
    /// Another process of this id has answered at the claimed address.
    Other,
}

/// What is due.
#[derive(Clone, Debug)]
pub(crate) enum Due<A> {
    /// Ask the process that is held as this member once more, with this number.
    AskAgain(NodeId, RequestId),
    /// The process that is held is silent: take this claim.
    Take(WaitingClaim<A>),
    /// The member of this claim is silent: ask it once more, with this number.
    AskDirectly(NodeId, A, RequestId),
    /// The member of this claim is silent: ask it through helpers.
    AskThrough(NodeId, A),
}

/// How long the table must at least take to double if nothing is to be said of it.
const DOUBLING: Duration = Duration::from_secs(600);

/// The smallest table whose doubling is worth a word.
const MIN_DOUBLED: u32 = 32;

/// The pause between words that raise a member by more than [`Generation::MAX_LEAP`], where each
/// raises it by up to [`Generation::MAX_HIGH_LEAP`]: a liar that raises itself, or an id that it
/// took, needs three years from [`Generation::MAX_START`] to [`Generation::MAX`].
const HIGH_WORD_PAUSE: Duration = Duration::from_millis(100);

/// The claims that wait, how fast the table grows, and how fast generations rise.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Newcomers<A> {
    waiting: Vec<WaitingClaim<A>>,
    /// When the table was measured, and the number of live members in it.
    measured: (Instant, u32),
    /// Until when helpers ask for a claim. They do so for one at a time, so that a flood of claims
    /// makes this node send little.
    helpers_until: Instant,
    /// When the next word far above what is held may raise it far.
    high_word_at: Instant,
}

impl<A: Copy + PartialEq> Newcomers<A> {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { waiting: Vec::new(), measured: (now, 0), helpers_until: now, high_word_at: now }
    }

    /// Returns the generation to which the word of a member raises what is `held` of it.
    ///
    /// A member climbs by bounded leaps beyond [`Generation::MAX_START`], so the others follow it
    /// by such leaps. What they hold may lag behind its word, and still rises with each word.
    pub(crate) fn raise(&mut self, word: Generation, held: Generation, now: Instant) -> Generation {
        if word <= Generation::MAX_START || word.is_near(held) {
            return word;
        }
        let far = self.high_word_at <= now;
        if far {
            self.high_word_at = now + HIGH_WORD_PAUSE;
        }
        let leap = if far { Generation::MAX_HIGH_LEAP } else { Generation::MAX_LEAP };
        word.min(Generation(held.max(Generation::MAX_START).0.saturating_add(leap)))
    }

    /// Measures the table after a member has entered it. Returns how many live members there were
    /// at the last measure if there are twice as many now, within ten minutes. A node that `joins`
    /// learns of a whole cluster, which is no growth.
    pub(crate) fn doubled(&mut self, live: u32, joins: bool, now: Instant) -> Option<u32> {
        let (since, before) = self.measured;
        if joins || now.since(since) > DOUBLING {
            self.measured = (now, live);
            return None;
        }
        let doubled = before >= MIN_DOUBLED / 2 && live >= (before * 2).max(MIN_DOUBLED);
        if doubled {
            self.measured = (now, live);
        }
        doubled.then_some(before)
    }

    /// Keeps a claim. Returns true if its member must be asked; false if it was asked already.
    pub(crate) fn put(&mut self, new: WaitingClaim<A>, now: Instant, rng: &mut Random) -> bool {
        let same = |waiting: &&mut WaitingClaim<A>| {
            waiting.id == new.id
                && waiting.instance == new.instance
                && waiting.address == new.address
        };
        if let Some(waiting) = self.waiting.iter_mut().find(same) {
            waiting.rumor |= new.rumor;
            waiting.paged |= new.paged;
            if (new.generation, new.status) > (waiting.generation, waiting.status) {
                (waiting.generation, waiting.status) = (new.generation, new.status);
            }
            if waiting.until > now || waiting.contested.is_some() {
                return false;
            }
            let WaitingClaim { rumor, paged, generation, status, .. } = *waiting;
            *waiting = WaitingClaim { rumor, paged, generation, status, ..new };
            return true;
        }
        let over = |waiting: &WaitingClaim<A>| waiting.until <= now && waiting.contested.is_none();
        if let Some(place) = self.waiting.iter_mut().find(|waiting| over(waiting)) {
            *place = new;
        } else if self.waiting.len() - self.contested() < MAX_ASKED {
            self.waiting.push(new);
        } else {
            let mut asked = self.waiting.iter_mut().filter(|it| it.contested.is_none());
            if let Some(place) = asked.nth(rng.below(MAX_ASKED)) {
                *place = new;
            }
        }
        true
    }

    /// The number of contested claims.
    fn contested(&self) -> usize {
        self.waiting.iter().filter(|waiting| waiting.contested.is_some()).count()
    }

    /// Where this number was sent, if an ack of it is awaited.
    pub(crate) fn place_asked(&self, number: RequestId) -> Option<PlaceAsked<A>> {
        let waiting = self.waiting.iter().find(|waiting| waiting.awaits(number))?;
        Some(match waiting.helper(number) {
            _ if waiting.contested.is_some() => PlaceAsked::Holder(waiting.id),
            Some(helper) => PlaceAsked::Helper(helper.id_hash),
            None => PlaceAsked::Address(waiting.address),
        })
    }

    /// Handles an ack of this number from this instance.
    pub(crate) fn answered(&mut self, number: RequestId, instance: Instance) -> Option<Answer<A>> {
        let at = self.waiting.iter().position(|waiting| waiting.awaits(number))?;
        let waiting = &mut self.waiting[at];
        let same = waiting.instance.is_same_process(instance);
        if let Some(helper) = waiting.helpers.iter_mut().find(|helper| helper.number == number) {
            helper.answered |= same;
            if !waiting.has_answered_helpers() {
                return Some(Answer::Held);
            }
        } else {
            waiting.helpers.clear();
        }
        let waiting = self.waiting.swap_remove(at);
        if waiting.contested.is_some() {
            return Some(Answer::Held);
        }
        Some(if same { Answer::Claimed(waiting) } else { Answer::Other })
    }

    /// Notes that these helpers ask the member of a claim until `until`.
    pub(crate) fn ask_through(
        &mut self,
        (id, address): (NodeId, A),
        helpers: ArrayVec<AskedHelper, HELPERS>,
        until: Instant,
    ) {
        let same = |it: &&mut WaitingClaim<A>| it.id == id && it.address == address;
        if let Some(waiting) = self.waiting.iter_mut().find(same) {
            waiting.helpers = helpers;
            self.helpers_until = until;
        }
    }

    /// Keeps a claim until the process that is held has been asked, with this number, and was
    /// silent twice for `timeout`. False if there is no room, or if it is asked already.
    pub(crate) fn contest(
        &mut self,
        waiting: WaitingClaim<A>,
        number: RequestId,
        now: Instant,
        timeout: Duration,
    ) -> bool {
        let same = |it: &WaitingClaim<A>| {
            it.contested.is_some() && it.id == waiting.id && it.address == waiting.address
        };
        if self.contested() >= MAX_CONTESTED || self.waiting.iter().any(same) {
            return false;
        }
        let contested = Some((number, false));
        self.waiting.push(WaitingClaim { contested, until: now + timeout, ..waiting });
        true
    }

    /// Forgets the claims whose members have been silent for long, so that after a flood none takes
    /// memory any more.
    pub(crate) fn forget_silent(&mut self, now: Instant) {
        if self.waiting.capacity() == 0 {
            return;
        }
        let waits = |waiting: &WaitingClaim<A>| {
            waiting.contested.is_some() || now < waiting.until + LATE_ANSWER
        };
        self.waiting.retain(waits);
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
        }
    }

    /// Takes something that is due.
    ///
    /// A contested claim waits for `timeout`, and one whose member is asked again for `again_for`.
    pub(crate) fn due(
        &mut self,
        now: Instant,
        timeout: Duration,
        again_for: Duration,
    ) -> Option<Due<A>> {
        let contested =
            |waiting: &WaitingClaim<A>| waiting.contested.is_some() && waiting.until <= now;
        let Some(at) = self.waiting.iter().position(contested) else {
            let silent = |it: &&mut WaitingClaim<A>, next| it.until <= now && it.awaits_next(next);
            let again = |it: &&mut WaitingClaim<A>| silent(it, Next::AskAgain);
            if let Some(waiting) = self.waiting.iter_mut().find(again) {
                (waiting.next, waiting.until) = (Next::Forget, now + again_for);
                return Some(Due::AskDirectly(waiting.id, waiting.address, waiting.asked));
            }
            if self.helpers_until > now {
                return None;
            }
            let through = |it: &&mut WaitingClaim<A>| silent(it, Next::AskThrough);
            let waiting = self.waiting.iter_mut().find(through)?;
            waiting.next = Next::Forget;
            return Some(Due::AskThrough(waiting.id, waiting.address));
        };
        let waiting = &mut self.waiting[at];
        if let Some((number, again @ false)) = &mut waiting.contested {
            *again = true;
            waiting.until = now + timeout;
            return Some(Due::AskAgain(waiting.id, *number));
        }
        Some(Due::Take(self.waiting.swap_remove(at)))
    }

    /// When something is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let due = |waiting: &WaitingClaim<A>| match waiting.next {
            _ if waiting.contested.is_some() => Some(waiting.until),
            Next::AskAgain => Some(waiting.until),
            Next::AskThrough => Some(waiting.until.max(self.helpers_until)),
            Next::Forget => None,
        };
        self.waiting.iter().filter_map(due).min()
    }

    /// Drops the claims about this member that are not above `generation`: it is known by now, or
    /// has left.
    pub(crate) fn settle(&mut self, id: &str, generation: Generation) {
        self.waiting.retain(|waiting| waiting.id != *id || waiting.generation > generation);
    }

    /// Whether the restored claims are within their bounds.
    pub(crate) fn is_sound(&self, times: TimeRules) -> bool {
        let Self { waiting, measured: (measured_at, _), helpers_until, high_word_at } = self;
        waiting.len() <= MAX_WAITING
            && times.is_past(*measured_at)
            && times.are_deadlines(&[Some(*helpers_until), Some(*high_word_at)])
            && waiting.iter().all(|waiting| {
                times.are_deadlines(&[Some(waiting.until)])
                    && (waiting.next == Next::Forget || waiting.helpers.is_empty())
            })
    }

    /// Drops all claims: the node falls silent.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.waiting.capacity() * size_of::<WaitingClaim<A>>()
    }
}
