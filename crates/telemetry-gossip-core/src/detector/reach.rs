//! Whether the others reach this node, and from where they see its datagrams come.
//!
//! ```text
//!   reached <----------------------------- a ping arrives ------------+
//!      |                                                              |
//!      | accused, and no ping for a probe interval                    |
//!      v                                                              |
//!   asked members to ping it --- accused again, intervals later ---> not reached: the host is told
//! ```
//!
//! A node may hear the others while nothing that they send to its address arrives: the address that
//! it states is wrong or taken, or a firewall lets datagrams out alone. It would be accused and
//! refute for ever. So it refutes an accusation only once a ping has reached it. A member that is
//! reached gets one per probe interval, and with most accusations; otherwise it asks for pings, and
//! loses a round trip.
//!
//! A node to whose address no ping comes for long, although it is accused of nothing, has members
//! ask there, too. If its id is answered for there, another process answers: a copy of this one, as
//! after a machine was cloned, or a second host with its id and address.

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use super::Detector;
use super::elsewhere::TOLD_FOR;
use crate::address::Address;
use crate::config::Mode;
use crate::cx::Cx;
use crate::event::Event;
use crate::id::{Generation, Instance, RequestId};
use crate::time::{Instant, TimeRules};

/// The most members that are asked at a time to ping this node.
const HELPERS: usize = 3;

/// The probe intervals without a ping after which an accused node tells its host.
const INTERVALS_UNREACHED: u32 = 3;

/// The probe intervals without a ping after which a node has members find out who answers at its
/// address, and for which it waits before it has them do so again. On average a ping comes in each
/// interval, so that chance leaves 20 of them empty once in e^20 times.
const INTERVALS_UNPINGED: u32 = 20;

/// The most addresses at which this node knows that it is seen. Members may make any up.
const MAX_SEEN_AT: usize = 4;

/// What this node knows of the way to itself.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reach<A> {
    /// When a ping reached this node last; at first, when its life began.
    reached_at: Instant,
    /// The process that answers at the address of this node, and how many members say so.
    rival: Option<(Instance, u8)>,
    /// How many members have to say so: two, or the only one that there was to ask.
    needed: u8,
    /// The highest accusation that waits for a ping, and since when one waits.
    accused: Option<(Generation, Instant)>,
    /// When members were asked last, and under which numbers.
    asked_at: Option<Instant>,
    asked: ArrayVec<(A, RequestId), HELPERS>,
    /// Whether the host was told that nothing reaches this node.
    told: bool,
    /// The other addresses at which members see this node, and when the host was told of each.
    seen_at: ArrayVec<(A, Instant), MAX_SEEN_AT>,
}

impl<A: Copy + PartialEq> Reach<A> {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            reached_at: now,
            rival: None,
            needed: 2,
            accused: None,
            asked_at: None,
            asked: ArrayVec::new_const(),
            told: false,
            seen_at: ArrayVec::new_const(),
        }
    }

    pub(super) fn is_sound(&self, times: TimeRules) -> bool {
        let Self { reached_at, accused, asked_at, seen_at, .. } = self;
        let since = accused.map(|(_, since)| since);
        let generation = accused.is_none_or(|(generation, _)| generation <= Generation::MAX);
        generation
            && times.is_past(*reached_at)
            && times.are_past(&[since, *asked_at])
            && seen_at.iter().all(|&(_, at)| times.is_past(at))
    }

    /// The address of the member that was asked under this number to ping this node.
    pub(super) fn address_asked(&self, request_id: RequestId) -> Option<A> {
        self.asked.iter().find(|asked| asked.1 == request_id).map(|asked| asked.0)
    }
}

impl<A: Address> Detector<A> {
    /// Takes the answer of a member that was asked to ping this node; false if it is none. It
    /// passes on the instance that answered at the address that this node states.
    ///
    /// Had this node answered, the ping would have reached it before.
    pub(crate) fn was_asked_for_ping(&mut self, request_id: RequestId, instance: Instance) -> bool {
        let reach = &mut self.reach;
        let Some(at) = reach.asked.iter().position(|asked| asked.1 == request_id) else {
            return false;
        };
        reach.asked.swap_remove(at);
        if reach.asked_at.is_some_and(|at| reach.reached_at < at) {
            let said = reach.rival.filter(|rival| rival.0 == instance).map_or(0, |rival| rival.1);
            reach.rival = Some((instance, said + 1));
        }
        true
    }

    /// Returns the process that answers in place of this node, if two members say so, or the only
    /// one that there is, and no ping has come for long.
    #[inline]
    pub(crate) fn rival_at_own_address(&mut self, cx: &Cx<A>) -> Option<Instance> {
        let (instance, said) = self.reach.rival?;
        if said < self.reach.needed || !self.is_unpinged(cx) {
            return None;
        }
        self.reach.rival = None;
        Some(instance)
    }

    fn is_unpinged(&self, cx: &Cx<A>) -> bool {
        cx.now.since(self.reach.reached_at) >= cx.config.probe_interval * INTERVALS_UNPINGED
    }

    /// Has members find out who answers at the address of this node, if no ping has come for long
    /// and that is due.
    #[inline]
    pub(super) fn look_for_rival(&mut self, cx: &mut Cx<A>) {
        if self.is_unpinged(cx) {
            let pause = cx.config.probe_interval * INTERVALS_UNPINGED;
            if self.reach.asked_at.is_none_or(|at| cx.now.since(at) >= pause) {
                self.reach.ask(cx);
            }
        }
    }

    /// Records that a ping has reached this node. Returns the accusation that waited for that.
    #[inline]
    pub(crate) fn reached(&mut self, now: Instant) -> Option<Generation> {
        self.reach.reached_at = now;
        self.reach.rival = None;
        if self.reach.accused.is_none() && !self.reach.told {
            return None;
        }
        self.reach.told = false;
        self.reach.accused.take().map(|(generation, _)| generation)
    }

    /// Takes the word of a member that this node's datagrams come from `address`. It changes
    /// nothing: the host is told, once in a while.
    #[cold]
    pub(crate) fn seen_elsewhere(&mut self, address: A, cx: &mut Cx<A>) {
        let (now, seen_at) = (cx.now, &mut self.reach.seen_at);
        if address == cx.this.address {
            return;
        }
        seen_at.retain(|(_, at)| now.since(*at) < TOLD_FOR);
        if seen_at.iter().all(|seen| seen.0 != address) && seen_at.try_push((address, now)).is_ok()
        {
            cx.emit(Event::SeenElsewhere { address });
        }
    }

    /// Whether this node refutes an accusation at this generation now. If not, it does once a ping
    /// reaches it, for which it asks a few members.
    pub(crate) fn may_refute(&mut self, accusation: Generation, cx: &mut Cx<A>) -> bool {
        let (now, interval, reach) = (cx.now, cx.config.probe_interval, &mut self.reach);
        if cx.config.mode != Mode::Autonomous || now.since(reach.reached_at) <= interval {
            return true;
        }
        let (highest, since) = reach.accused.unwrap_or((accusation, now));
        reach.accused = Some((highest.max(accusation), since));
        if !reach.told && now.since(since) >= interval * INTERVALS_UNREACHED {
            reach.told = true;
            let seen_at = reach.seen_at.last().map(|seen| seen.0);
            cx.emit(Event::Unreached { seen_at });
        }
        // Once in a while, so that an accusation costs little more than its own bytes.
        let lately = reach.asked_at.is_some_and(|at| now.since(at) < cx.config.probe_timeout);
        if !lately {
            reach.ask(cx);
        }
        false
    }
}

impl<A: Address> Reach<A> {
    fn ask(&mut self, cx: &mut Cx<A>) {
        self.asked_at = Some(cx.now);
        self.rival = None;
        self.asked = ask_for_pings(cx);
        self.needed = if self.asked.len() > 1 { 2 } else { 1 };
    }
}

/// Asks random members to ping this node at the address that it states.
fn ask_for_pings<A: Address>(cx: &mut Cx<A>) -> ArrayVec<(A, RequestId), HELPERS> {
    let (me, id_hash) = (cx.this.address, cx.this.id_hash);
    let mut asked = ArrayVec::<(A, RequestId), HELPERS>::new();
    while !asked.is_full() {
        let table = &cx.table;
        let helps = |slot| {
            let address = table.address(slot);
            table.is_helper(slot, true, &me, &me)
                && !asked.iter().any(|asked| Some(asked.0) == address)
        };
        let helper = table.random(&mut cx.rng, helps);
        let Some((slot, to)) = helper.and_then(|slot| Some((slot, table.address(slot)?))) else {
            break;
        };
        let number = cx.request_id();
        asked.push((to, number));
        cx.ask_through(slot, number, id_hash, me);
    }
    asked
}
