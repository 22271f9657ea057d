//! Anti-entropy: two nodes find what differs between their tables and exchange only that, both
//! ways.
//!
//! ```text
//!   asker                                   partner
//!     | versions of all rows -------------->|   a small table; nothing differs: done
//!     |<- claims newer there, wants --------|
//!     | claims wanted --------------------->|
//!     |<- done -----------------------------|
//!     |                                     |
//!     | open (fingerprint in the header) -->|   a large one, on command; equal: done
//!     |<- done, more -----------------------|
//!     | digest: 16 or 64 range sums ------->|   a large one, known to differ
//!     |<- versions of the differing ranges -|
//!     | claims newer here, wants ---------->|
//!     |<- claims wanted, done --------------|
//! ```
//!
//! The partner keeps no state; each datagram is answered by at most one. What does not fit is left
//! to the next session, which the asker opens at once if `more` was said. This module compares;
//! `node` merges.

use alloc::collections::VecDeque;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::id::{IdHash, RequestId, full_id_hash, mix};
use crate::member::Status;
use crate::membership::{BUCKETS, Fingerprints, Membership, Row, Slot, fold};
use crate::time::Instant;
use crate::wire::decode::{Items, Ranges};
use crate::wire::{WireSum, WireVersion};

/// Tables of up to this many members are compared row by row from the start: their versions are no
/// longer than a digest.
pub(crate) const SMALL: usize = 32;

/// The most rows that one session asks for or pushes; more than fit a datagram of default size.
const PLAN_LIMIT: usize = 256;

/// Room for plans that is kept from the start.
const ROOM: usize = 16;

/// The session that this node opened.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Session<A> {
    pub(crate) number: RequestId,
    pub(crate) peer: Slot,
    pub(crate) address: A,
    pub(crate) deadline: Instant,
    /// Something did not fit.
    pub(crate) more: bool,
    /// A difference was found.
    pub(crate) differed: bool,
    /// It brought telemetry that had been under way for long.
    pub(crate) brought_late: bool,
    /// How many sessions may follow this one at once.
    pub(crate) chain: u16,
    /// The partner's fingerprint and the own when the session began.
    pub(crate) fingerprints: (Fingerprints, Fingerprints),
    /// The partner's fingerprint as it was last heard.
    pub(crate) theirs: Fingerprints,
}

/// The most sessions that follow each other at once because something did not fit.
pub(crate) const CHAIN: u16 = 512;

/// Something to send in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) slot: Slot,
    /// Whether to send the claim.
    pub(crate) claim: bool,
    /// Since which version to send telemetry; `None` for none.
    pub(crate) since: Option<u64>,
}

/// Something to ask for in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Want {
    pub(crate) id_hash: IdHash,
    pub(crate) claim: bool,
    pub(crate) since: u64,
}

/// What this node's replies still have to say. The replies take it from the front in the order they
/// were queued in.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Plans {
    pub(crate) items: VecDeque<Item>,
    pub(crate) wants: VecDeque<Want>,
}

/// How much of the plans one reply says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) items: usize,
    pub(crate) wants: usize,
    pub(crate) more: bool,
}

/// A row as it stands in a version list.
pub(crate) fn version_of(id_hash: IdHash, row: &Row) -> WireVersion {
    WireVersion {
        id_hash: id_hash.0,
        content: content(row),
        status: row.status.rank(),
        generation: row.generation.0,
        telemetry: row.telemetry_version(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "16 of 64 mixed bits")]
fn content(row: &Row) -> u16 {
    mix(u64::from(row.instance.0) ^ full_id_hash(row.address_bytes())) as u16
}

/// The fingerprints of `ranges` equal hash ranges, 32 bits of each.
pub(crate) fn sums<A: Address>(table: &Membership<A>, ranges: usize) -> impl Iterator<Item = u32> {
    let each = BUCKETS / ranges.max(1);
    (0..ranges).map(move |range| {
        let sum = (range * each..(range + 1) * each)
            .fold(0_u64, |sum, at| sum.wrapping_add(table.bucket(at)));
        fold(sum)
    })
}

/// The buckets in which a digest differs from this table, as a bit mask of all [`BUCKETS`].
pub(crate) fn differing<A: Address>(table: &Membership<A>, digest: Items<'_, WireSum>) -> u64 {
    let ranges = digest.count();
    let each = BUCKETS / ranges.clamp(1, BUCKETS);
    let mut mask = 0_u64;
    for (range, (theirs, ours)) in digest.zip(sums(table, ranges)).enumerate() {
        if theirs.sum != ours {
            let bits = if each >= 64 { u64::MAX } else { (1 << each) - 1 };
            mask |= bits << (range * each);
        }
    }
    mask
}

/// How many ranges a digest of this table has: about four rows in each, or the most.
pub(crate) fn digest_ranges<A: Address>(table: &Membership<A>) -> usize {
    if table.len() <= 2 * BUCKETS { BUCKETS / 4 } else { BUCKETS }
}

impl Plans {
    /// With room for what most sessions say.
    pub(crate) fn new() -> Self {
        Self { items: VecDeque::with_capacity(ROOM), wants: VecDeque::with_capacity(ROOM) }
    }

    /// Compares a version list with the table and plans what to send and what to ask for.
    pub(crate) fn compare<A: Address>(
        &mut self,
        table: &Membership<A>,
        ranges: Ranges<'_>,
    ) -> Plan {
        let mut plan = Plan::default();
        for (range, mut rows) in ranges {
            let mut theirs = rows.next();
            let (from, to) = (IdHash(range.from), IdHash(range.to));
            for slot in table.tagged(from, to) {
                let id_hash = table.id_hash(slot);
                while let Some(row) = theirs.filter(|row| row.id_hash < id_hash.0) {
                    self.want(&mut plan, row, true, 0);
                    theirs = rows.next();
                }
                match theirs.filter(|row| row.id_hash == id_hash.0) {
                    Some(row) => {
                        self.settle(&mut plan, table, slot, row);
                        theirs = rows.next();
                    }
                    None => self.push(&mut plan, Item { slot, claim: true, since: Some(0) }),
                }
            }
            while let Some(row) = theirs {
                self.want(&mut plan, row, true, 0);
                theirs = rows.next();
            }
        }
        plan
    }

    fn settle<A: Address>(
        &mut self,
        plan: &mut Plan,
        table: &Membership<A>,
        slot: Slot,
        theirs: WireVersion,
    ) {
        let row = table.row(slot);
        let their_status = Status::from_rank(theirs.status).unwrap_or(Status::Alive);
        let ours = (row.generation.0, row.status);
        let version = row.telemetry_version();
        match ours.cmp(&(theirs.generation, their_status)) {
            core::cmp::Ordering::Less => self.want(plan, theirs, true, version),
            core::cmp::Ordering::Greater => {
                let since = if content(row) == theirs.content { theirs.telemetry } else { 0 };
                self.push(plan, Item { slot, claim: true, since: Some(since) });
            }
            core::cmp::Ordering::Equal if content(row) != theirs.content => {
                // Two claims of one rank: both sides hear both and keep the greater.
                self.want(plan, theirs, true, version);
                self.push(plan, Item { slot, claim: true, since: Some(0) });
            }
            core::cmp::Ordering::Equal => match version.cmp(&theirs.telemetry) {
                core::cmp::Ordering::Less => self.want(plan, theirs, false, version),
                core::cmp::Ordering::Greater => {
                    self.push(plan, Item { slot, claim: false, since: Some(theirs.telemetry) });
                }
                core::cmp::Ordering::Equal => {}
            },
        }
    }

    /// Plans to send what a wish list asks for.
    pub(crate) fn grant<A: Address>(
        &mut self,
        table: &Membership<A>,
        wants: Items<'_, crate::wire::WireWant>,
    ) -> Plan {
        let mut plan = Plan::default();
        for want in wants {
            for slot in table.with_id_hash(IdHash(want.id_hash)) {
                self.push(&mut plan, Item { slot, claim: want.claim, since: Some(want.since) });
            }
        }
        plan
    }

    fn push(&mut self, plan: &mut Plan, item: Item) {
        if plan.items < PLAN_LIMIT {
            self.items.push_back(item);
            plan.items += 1;
        } else {
            plan.more = true;
        }
    }

    fn want(&mut self, plan: &mut Plan, theirs: WireVersion, claim: bool, since: u64) {
        if plan.wants < PLAN_LIMIT {
            self.wants.push_back(Want { id_hash: IdHash(theirs.id_hash), claim, since });
            plan.wants += 1;
        } else {
            plan.more = true;
        }
    }

    /// Forgets a plan that no reply will say.
    pub(crate) fn revoke(&mut self, plan: Plan) {
        self.items.truncate(self.items.len().saturating_sub(plan.items));
        self.wants.truncate(self.wants.len().saturating_sub(plan.wants));
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.items.capacity() * size_of::<Item>() + self.wants.capacity() * size_of::<Want>()
    }
}

/// When a difference of claims is worth a session: not while news is still on its way by itself.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Pace {
    differs_since: Option<Instant>,
    not_before: Instant,
}

impl Pace {
    /// A partner's fingerprint was compared with ours. True if a session should begin: the table
    /// has been quiet for `settle`, or has differed from everybody's for three times as long.
    pub(crate) fn note(
        &mut self,
        now: Instant,
        equal: bool,
        changed_at: Instant,
        settle: Duration,
    ) -> bool {
        if equal {
            self.differs_since = None;
            return false;
        }
        let since = *self.differs_since.get_or_insert(now);
        now >= self.not_before
            && (now.since(changed_at) >= settle || now.since(since) >= settle * 3)
    }

    /// A session ended.
    pub(crate) fn rest(&mut self, now: Instant, span: Duration) {
        self.not_before = now + span;
        self.differs_since = None;
    }
}

/// When a difference of telemetry is. Where it flows all the time two tables are hardly ever equal,
/// and the trees deliver what differs: the longer sessions find nothing else, the rarer they are.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct TelemetryPace {
    pace: Pace,
    /// The span between sessions while telemetry flows.
    patience: Duration,
}

/// The longest span between sessions.
const MOST_PATIENCE: Duration = Duration::from_secs(60);

impl TelemetryPace {
    /// Whether the span is one that it comes to.
    pub(crate) fn is_sound(&self) -> bool {
        self.patience <= MOST_PATIENCE
    }

    /// As [`Pace::note`], but while the table is never quiet sessions begin only after some time.
    pub(crate) fn note(
        &mut self,
        now: Instant,
        equal: bool,
        changed_at: Instant,
        settle: Duration,
    ) -> bool {
        let patience = self.patience.max(settle * 3);
        let quiet = now.since(changed_at) >= settle;
        if equal {
            self.pace.differs_since = None;
            return false;
        }
        let since = *self.pace.differs_since.get_or_insert(now);
        now >= self.pace.not_before && (quiet || now.since(since) >= patience)
    }

    /// A session ended; `late` says whether it brought what the trees should have brought long
    /// before.
    pub(crate) fn rest(&mut self, now: Instant, settle: Duration, late: bool) {
        self.pace.rest(now, settle);
        self.patience =
            if late { settle * 3 } else { (self.patience.max(settle) * 2).min(MOST_PATIENCE) };
    }
}

/// Structured partners: in step r of ceil(log3 n) the member 3^r places on in the common roster,
/// largest distance first, then one step at random. Without loss, and with nodes in step, news of
/// every node is everywhere after one pass; the random step mends what loss has broken.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Partners {
    step: u32,
}

impl Partners {
    /// How many places on the partner of this step is; `None` for a random one.
    pub(crate) fn next(&mut self, members: usize) -> Option<usize> {
        let mut steps = 0;
        while 3_usize.saturating_pow(steps) < members {
            steps += 1;
        }
        let step = self.step % (steps + 1);
        self.step = self.step.wrapping_add(1);
        (step < steps).then(|| 3_usize.pow(steps - 1 - step))
    }
}
