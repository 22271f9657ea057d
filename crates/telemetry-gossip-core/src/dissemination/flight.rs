//! Telemetry on its way along the trees: when flights begin, what their datagrams hold, and when
//! they arrive or are given up.
//!
//! The rules about time, budget and encoding live here; `tree` and `branch` keep the queues, and
//! know neither a clock of their own nor a byte of the wire.

use core::time::Duration;

use super::Dissemination;
use super::branch::{Furthest, Update};
use crate::address::Address;
use crate::config::Mode;
use crate::cx::{Cx, Fit};
use crate::event::Event;
use crate::id::RequestId;
use crate::membership::Slot;
use crate::membership::rtt::RttBound;
use crate::membership::telemetry_log::update_since;
use crate::outbox::{Body, Diff, Intent, Want};
use crate::status::Status;
use crate::time::Instant;
use crate::wire::encode::Writer;
use crate::wire::{HEADER_LEN, TELEMETRY_FRAME_LEN, TREE_FRAME_LEN, Tree, TreeAck, kind};

/// The number of probe intervals for which a silent partner is passed over. If it has crashed, it
/// is suspected soon and leaves the trees by that.
const PASS_OVER_INTERVALS: u32 = 2;

/// The time that an acknowledgement may take, in round trips as long as the longest recent one.
const MAX_ACK_ROUND_TRIPS: u32 = 4;

/// The time per member in which a newcomer asks all members that it has just heard of.
const ASKED_WITHIN: Duration = Duration::from_millis(2);

/// The longest time for which this node's own telemetry waits for the budget. The telemetry of
/// others, which goes first, may use up the whole of it.
const MAX_OWN_WAIT: Duration = Duration::from_secs(10);

impl Dissemination {
    /// Queues the telemetry of `owner` since a version for all members from this node up to
    /// `furthest`.
    pub(crate) fn spread<A: Address>(
        &mut self,
        owner: Slot,
        since: u64,
        furthest: Furthest,
        cx: &mut Cx<A>,
    ) {
        let row = cx.table.row(owner);
        let any = since < row.telemetry_version() && row.holds_telemetry();
        if cx.config.mode != Mode::Autonomous || !any {
            return;
        }
        self.trees.adapt(&cx.table, cx.this.slot, cx.now);
        let (len, urgent) = update_since(cx.table.row(owner).log(), since);
        let update = Update { owner, since };
        let merged = self.trees.spread(update, TELEMETRY_FRAME_LEN + len, urgent, furthest);
        cx.stats.telemetry_merged += u64::from(merged);
    }

    /// Spreads this node's own telemetry after version `since`. A newcomer does not spread any
    /// before [`first_publish_at`](Dissemination::first_publish_at).
    pub(crate) fn spread_own<A: Address>(&mut self, since: u64, cx: &mut Cx<A>) {
        if self.first_publish_at.is_none() {
            self.spread(cx.this.slot, since, Furthest::ALL, cx);
            self.send_flights(cx);
        }
    }

    /// Holds back what this node publishes: it begins to join, and as long as it knows no other
    /// member, hardly any would get it. A join that takes longer than `config.join_timeout` holds
    /// nothing back any more: others may have joined through this node.
    pub(crate) fn hold_back<A: Address>(&mut self, cx: &Cx<A>) {
        if cx.others() == 0 {
            self.first_publish_at = Some(cx.now + cx.config.join_timeout);
        }
    }

    /// Lets a newcomer that has joined publish soon: once the members that it knows have had time
    /// to answer it, and so to learn of it.
    pub(crate) fn joined<A: Address>(&mut self, cx: &Cx<A>) {
        let asked = ASKED_WITHIN.saturating_mul(cx.others());
        self.first_publish_at = Some(cx.now + asked.min(cx.spread_time()));
    }

    /// Publishes at once what was held back: the node leaves.
    pub(crate) fn publish_held_back<A: Address>(&mut self, cx: &mut Cx<A>) {
        if self.first_publish_at.take().is_some() {
            self.spread_own(0, cx);
        }
    }

    /// Spreads all telemetry of a newcomer for the first time, once it is due: the other members
    /// know the newcomer by then, and take its telemetry in.
    pub(super) fn publish_first<A: Address>(&mut self, cx: &mut Cx<A>) {
        if self.first_publish_at.take_if(|at| *at <= cx.now).is_some() {
            self.spread_own(0, cx);
        }
    }

    /// When the trees have something to do.
    pub(super) fn flight_deadline<A: Address>(&self, cx: &Cx<A>) -> Option<Instant> {
        self.trees
            .deadline(flight_room(cx), self.own_ready_at(), cx.this.slot)
            .map(|at| at.max(cx.now))
    }

    /// When this node's own telemetry may be sent. That of others does not wait: a node with a
    /// small budget must not slow down what all others publish.
    fn own_ready_at(&self) -> Instant {
        self.budget.ready_at().min(self.own_sent_at + MAX_OWN_WAIT)
    }

    /// Gives up the flights that were not acknowledged in time, and begins those that are due.
    pub(crate) fn send_flights<A: Address>(&mut self, cx: &mut Cx<A>) {
        if self.trees.is_idle() {
            return;
        }
        let me = cx.this.slot;
        self.trees.adapt(&cx.table, me, cx.now);
        let pass_over_for = cx.config.probe_interval * PASS_OVER_INTERVALS;
        while let Some(given_up) = self.trees.give_up(&cx.table, me, cx.now, pass_over_for) {
            cx.stats.telemetry_resent += given_up.lost as u64;
            self.long_lost.given_up(&given_up, cx.now);
        }
        let (room, pause) = (flight_room(cx), cx.config.telemetry_interval);
        let ready_at = self.own_ready_at();
        while let Some((branch, partner, datagrams)) =
            self.trees.begin(cx.now, room, pause, ready_at, me)
        {
            for _ in 0..datagrams {
                let body = Body::Tree(cx.request_id(), branch);
                let queued = match cx.table.address(partner) {
                    Some(to) => cx.gossip(Intent::new(to, Some(partner), cx.mtu()).with_body(body)),
                    None => {
                        cx.stats.outbox_shed += 1;
                        false
                    }
                };
                if !queued {
                    self.trees.cancel(branch);
                }
            }
        }
    }

    /// Writes the updates that wait on a branch into a datagram to its partner, as many as fit.
    ///
    /// `waits` is how long this node waits for an answer of a member if no round trip is known, and
    /// the longest recent round trip of anti-entropy.
    pub(crate) fn put_flight<A: Address>(
        &mut self,
        w: &mut Writer<'_>,
        (request_id, branch): (RequestId, usize),
        to: Option<Slot>,
        waits: (Duration, RttBound),
        cx: &mut Cx<A>,
    ) {
        let Some(end) = self.trees.accepts(branch, to) else { return };
        let before = w.len();
        let mut any = false;
        let (me, mut deferred) = (cx.this.slot, false);
        if w.frame(kind::TREE, &Tree { number: request_id.0, end: end.0 }) {
            while let Some(update) = self.trees.next(branch) {
                let row = cx.table.row(update.owner);
                let news = update.since < row.telemetry_version() && row.holds_telemetry();
                // Members may learn of a leave before they learn of what was said before it.
                if !news || row.status == Status::Dead {
                    self.trees.skip(branch);
                    continue;
                }
                if update.owner == me
                    && self.trees.own_waits(branch)
                    && !update_since(row.log(), update.since).1
                {
                    // It waits for the budget, behind the others.
                    if deferred || !self.trees.defer(branch) {
                        break;
                    }
                    deferred = true;
                    continue;
                }
                match cx.put_telemetry(w, update.owner, update.since, 0) {
                    Fit::All => self.trees.include(branch, None),
                    Fit::Part(up_to) => self.trees.include(branch, Some(up_to)),
                    // The first entry does not fit an empty datagram: the owner's datagrams are
                    // longer than this node's may be.
                    Fit::Nothing if !any && before == HEADER_LEN => {
                        cx.stats.telemetry_ignored += 1;
                        self.trees.skip(branch);
                        continue;
                    }
                    Fit::Nothing => break,
                }
                any = true;
                if update.owner == me {
                    self.own_sent_at = cx.now;
                }
            }
        }
        if any {
            let deadline = cx.now + self.flight_time(to, self.trees.tries(branch), waits, cx);
            self.trees.sent(branch, request_id, w.len() - before, cx.now, deadline);
        } else {
            w.truncate(before);
            self.trees.cancel(branch);
        }
    }

    /// How long to wait for an acknowledgement: some round trips, doubled with each try, up to
    /// `timeout`, or two round trips of a distant partner.
    fn flight_time<A: Address>(
        &self,
        to: Option<Slot>,
        tries: u8,
        (timeout, anti_entropy): (Duration, RttBound),
        cx: &Cx<A>,
    ) -> Duration {
        let known = to.map(|slot| cx.table.row(slot).round_trip).unwrap_or_default();
        let own = known.longest();
        // For a new partner, assume twice the usual round trip. Too short a time costs no more than
        // one datagram.
        let usual = || {
            let usual = self.trees.usual_round_trip().or(anti_entropy.longest());
            Some(usual.or_else(|| cx.table.round_trip_of_some())? * 2)
        };
        let round_trip = own.or_else(usual);
        let timeout = known.longest_wait(timeout);
        let wait = |longest: Duration| (longest * MAX_ACK_ROUND_TRIPS).max(timeout / 16);
        if let (Some(longest), 0) = (round_trip, tries) {
            return wait(longest).min(timeout);
        }
        // An isolated node doubts itself for the silence of the other side, which says nothing of
        // the partners on its own.
        let most =
            if cx.table.has_side() { known.longest_wait(cx.config.probe_timeout) } else { timeout };
        round_trip.map_or(most, wait).saturating_mul(1 << tries.min(16)).min(most)
    }

    /// Handles the answer of a member to a ping: short datagrams pass both ways. If long ones do
    /// not, the host is told.
    #[inline]
    pub(crate) fn on_ping_answered<A: Address>(&mut self, slot: Slot, cx: &mut Cx<A>) {
        if let Some((arrive, lost)) = self.long_lost.ping_answered(slot, cx.now)
            && let Some(address) = cx.table.address(slot)
        {
            let head = u16::try_from(HEADER_LEN + TREE_FRAME_LEN).unwrap_or(u16::MAX);
            let whole = |len: u16| len.saturating_add(head);
            let (arrive, lost) = (whole(arrive), whole(lost));
            cx.emit(Event::LongDatagramsLost { id: cx.table.id(slot), address, arrive, lost });
        }
    }

    /// Handles the acknowledgement of a datagram of a flight.
    pub(crate) fn on_tree_ack<A: Address>(&mut self, ack: TreeAck, cx: &mut Cx<A>) {
        if let Some((slot, sent_at, len)) = self.trees.arrived(RequestId(ack.number)) {
            self.long_lost.acked(slot, len);
            cx.table.heard(slot, cx.now, true);
            cx.table.add_rtt_sample(slot, cx.now.since(sent_at));
            self.trees.add_rtt_sample(cx.now.since(sent_at));
        } else if let Some((slot, sent_at, len)) = self.trees.late.arrived(RequestId(ack.number)) {
            // It is one distant partner, which says nothing of the others.
            self.long_lost.acked(slot, len);
            cx.table.add_rtt_sample(slot, cx.now.since(sent_at));
        }
    }
}

/// The bytes that a datagram has for telemetry.
fn flight_room<A: Address>(cx: &Cx<A>) -> usize {
    cx.mtu() - HEADER_LEN - TREE_FRAME_LEN
}

/// Acknowledges a datagram of a flight, if it is `accepted`, and requests what is `missing`.
pub(crate) fn acknowledge<A: Address>(
    tree: Tree,
    accepted: bool,
    missing: &[Want],
    cx: &mut Cx<A>,
) -> (Body, Diff) {
    let mut diff = Diff::default();
    for &want in missing {
        cx.outbox.diffs.want(&mut diff, want);
    }
    let request_id = RequestId(tree.number);
    let body = if accepted { Body::TreeAck } else { Body::SyncWants };
    (body(request_id, diff), diff)
}
