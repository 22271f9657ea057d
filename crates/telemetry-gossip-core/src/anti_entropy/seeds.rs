//! The seeds for life: addresses at which other members may be found.
//!
//! A join finds the members that its seeds know at that time. Two sites that boot while the link
//! between them is down, a node that was cut off while all others moved, and the two halves of a
//! split that outlasts the memory of the dead would never find each other by that. So a seed that
//! is no live member is asked again now and then, whether its table is like this one, and if it is
//! not, this node joins through it once more. A few addresses of members that were forgotten are
//! asked alike, and so are members of an earlier run of this node, which knows no member when it
//! starts.
//!
//! ```text
//!   waiting --- time is up ---> a seed that is no live member is asked
//!      ^                                   |
//!      |<--- silence, or a table alike ----+
//!      +<--- joined again <--- another table
//! ```

use alloc::vec::Vec;
use core::time::Duration;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::bounded::list;
use crate::cx::Cx;
use crate::event::Event;
use crate::id::RequestId;
use crate::input::MAX_SEEDS;
use crate::membership::Slot;
use crate::outbox::{Body, Intent};
use crate::time::{Instant, TimeRules};
use crate::wire::PING_LEN;

/// The mean time between two questions to seeds. A question has 26 bytes.
const INTERVAL: Duration = Duration::from_secs(30);

/// The same while this node is alone or isolated, or more members are gone than live.
const INTERVAL_IN_NEED: Duration = Duration::from_secs(4);

/// The mean time between two requests to the host to resolve the seeds anew, while all is well.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(300);

/// The most forgotten members whose addresses are kept.
const MAX_FORMER: usize = 16;

/// How long the address of a forgotten member is kept: others may have it by then.
const FORMER_FOR: Duration = Duration::from_secs(30 * 24 * 3_600);

/// The most addresses that are compared with the table at a time.
const MAX_COMPARED: usize = 8;

/// The seeds, and when they are asked again.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(serialize = "A: Serialize", deserialize = "A: Deserialize<'de>"))]
pub(crate) struct Seeds<A> {
    #[serde(deserialize_with = "list::<_, _, _, MAX_SEEDS>")]
    seeds: Vec<A>,
    /// The addresses of forgotten members, and since when they are forgotten.
    former: ArrayVec<(A, Instant), MAX_FORMER>,
    /// The place among both from which the next one to ask is looked for.
    next: usize,
    /// When the next one is asked.
    next_at: Instant,
    /// When the host is asked to resolve the seeds anew.
    resolve_at: Instant,
    /// The seed that was asked last, and under which request id.
    asked: Option<(A, RequestId)>,
}

impl<A: Address> Seeds<A> {
    pub(super) const fn new() -> Self {
        Self {
            seeds: Vec::new(),
            former: ArrayVec::new_const(),
            next: 0,
            next_at: Instant::ORIGIN,
            resolve_at: Instant::ORIGIN,
            asked: None,
        }
    }

    pub(super) fn is_sound(&self, times: TimeRules) -> bool {
        let Self { seeds: _, former, next: _, next_at, resolve_at, asked: _ } = self;
        times.are_deadlines(&[Some(*next_at), Some(*resolve_at)])
            && former.iter().all(|&(_, since)| times.is_past(since))
    }

    fn is_empty(&self) -> bool {
        self.seeds.is_empty() && self.former.is_empty()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.seeds.capacity() * size_of::<A>()
    }

    /// Sets the seeds; the first question to one of them is sent soon.
    pub(crate) fn set(&mut self, seeds: Vec<A>, cx: &mut Cx<A>) {
        if self.seeds != seeds {
            self.next = cx.rng.below(seeds.len());
            self.seeds = seeds;
            let soon = cx.now + cx.jitter(INTERVAL_IN_NEED);
            self.next_at = if self.due_at().is_none() { soon } else { self.next_at.min(soon) };
        }
        self.resolve_at = cx.now + RESOLVE_INTERVAL;
    }

    /// Keeps the address of a member that is forgotten, in the place of a random other one if there
    /// is no room.
    pub(crate) fn keep_former(&mut self, address: A, cx: &mut Cx<A>) {
        if self.former.iter().any(|former| former.0 == address) {
            return;
        }
        if self.is_empty() {
            self.next_at = cx.now + cx.jitter(INTERVAL);
        }
        if self.former.is_full() {
            self.former.swap_remove(cx.rng.below(MAX_FORMER));
        }
        self.former.push((address, cx.now));
    }

    /// Keeps the addresses of members of an earlier run like those of forgotten ones, and asks one
    /// soon.
    pub(super) fn keep_peers(&mut self, peers: &[A], cx: &mut Cx<A>) {
        for &peer in peers {
            self.keep_former(peer, cx);
        }
        if !peers.is_empty() {
            self.next_at = self.next_at.min(cx.now + cx.jitter(INTERVAL_IN_NEED));
        }
    }

    /// Whether the host has given seeds.
    pub(super) fn are_given(&self) -> bool {
        !self.seeds.is_empty()
    }

    /// Whether this is no seed, but the address of a former member.
    pub(super) fn is_former(&self, address: &A) -> bool {
        self.former.iter().any(|former| former.0 == *address) && !self.seeds.contains(address)
    }

    /// The seeds, and the addresses of former members.
    pub(super) fn all(&self) -> impl Iterator<Item = A> + '_ {
        self.seeds.iter().copied().chain(self.former.iter().map(|former| former.0))
    }

    /// When a seed is asked next, if there is any.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        (!self.is_empty()).then_some(self.next_at)
    }

    /// The address that was asked under this request id.
    pub(crate) fn address_asked(&self, request_id: RequestId) -> Option<A> {
        self.asked.filter(|asked| asked.1 == request_id).map(|asked| asked.0)
    }

    /// Takes the answer of a seed; `None` if it is none.
    pub(super) fn answered(&mut self, request_id: RequestId) -> Option<A> {
        self.asked.take_if(|asked| asked.1 == request_id).map(|asked| asked.0)
    }

    /// Asks the next seed that is no live member. `in_need` says that this node is
    /// cut off, or that most members are gone.
    pub(crate) fn ask(&mut self, in_need: bool, cx: &mut Cx<A>) {
        self.former.retain(|&mut (_, since)| cx.now.since(since) < FORMER_FOR);
        let seed = self.choose(cx);
        // One that is asked may just have moved.
        let (mean, resolve) = match (in_need, seed) {
            (true, _) => (INTERVAL_IN_NEED, cx.now),
            (false, Some(_)) => (INTERVAL, cx.now),
            (false, None) => (INTERVAL, self.resolve_at),
        };
        self.next_at = cx.now + mean / 2 + cx.jitter(mean);
        if resolve <= cx.now && !self.seeds.is_empty() {
            self.resolve_at = cx.now + RESOLVE_INTERVAL;
            cx.emit(Event::SeedsDue);
        }
        if let Some(seed) = seed {
            let request_id = cx.request_id();
            self.asked = Some((seed, request_id));
            // A peer may have made the address of a former member up, so little is sent there.
            cx.ask(Intent::new(seed, None, PING_LEN).with_body(Body::SyncOpen(request_id)));
        }
    }

    /// The next address that is not that of a live member.
    fn choose(&mut self, cx: &Cx<A>) -> Option<A> {
        let all = self.seeds.len() + self.former.len();
        for _ in 0..all.min(MAX_COMPARED) {
            let at = self.next % all;
            self.next = at + 1;
            let former = || self.former.get(at - self.seeds.len()).map(|former| former.0);
            let seed = self.seeds.get(at).copied().or_else(former)?;
            let is_there = |slot: Slot| cx.table.is_live(slot) && cx.table.row(slot).is_at(&seed);
            if seed != cx.this.address && !cx.table.slots().any(is_there) {
                return Some(seed);
            }
        }
        None
    }
}
