//! Telemetry on its way along the trees: flights begin, arrive and are given up; what they bring
//! goes on.

use super::Node;
use super::transmit::Fit;
use crate::address::Address;
use crate::config::Mode;
use crate::id::RequestId;
use crate::membership::Slot;
use crate::outbox::{Body, Intent, Signal};
use crate::sync::{Plan, Want};
use crate::telemetry::{news_since, version_before};
use crate::time::Instant;
use crate::tree::{Reach, Update};
use crate::wire::encode::Writer;
use crate::wire::{HEADER_LEN, TELEMETRY_FRAME, TREE_FRAME, Tree, TreeAck, kind};

/// For how many probe intervals a silent partner is passed over. It is suspected soon, if it is
/// gone.
const PASSED_OVER: u32 = 2;

/// Round trips that an acknowledgement may take, as the longest of late.
const ROUND_TRIPS: u32 = 4;

impl<A: Address> Node<A> {
    /// The telemetry of `owner` since a version goes on to all members within reach.
    pub(super) fn spread(&mut self, owner: Slot, since: u64, reach: Reach) {
        if self.config.mode != Mode::Autonomous
            || since >= self.table.row(owner).telemetry_version()
        {
            return;
        }
        self.trees.adapt(&self.table, self.me, self.now);
        let (len, urgent) = news_since(self.table.row(owner).log(), since);
        let merged =
            self.trees.spread(Update { owner, since }, TELEMETRY_FRAME + len, urgent, reach);
        self.stats.telemetry_merged += u64::from(merged);
    }

    /// This node's own telemetry has a new version, after `since`.
    pub(super) fn spread_own(&mut self, since: u64) {
        if self.debut.is_none() {
            self.spread(self.me, since, Reach::ALL);
            self.send_flights();
        }
    }

    /// By now the others know this node, and take in its telemetry.
    pub(super) fn make_debut(&mut self) {
        if self.debut.take_if(|at| *at <= self.now).is_some() {
            self.spread_own(0);
        }
    }

    /// When there is something to do for the trees.
    pub(super) fn flight_deadline(&self) -> Option<Instant> {
        self.trees.deadline(self.flight_room(), self.budget.ready_at()).map(|at| at.max(self.now))
    }

    /// Bytes for telemetry in a datagram.
    fn flight_room(&self) -> usize {
        self.mtu() - HEADER_LEN - TREE_FRAME
    }

    /// Flights that were not acknowledged are given up, and those that are due begin.
    pub(super) fn send_flights(&mut self) {
        if self.trees.is_idle() {
            return;
        }
        self.trees.adapt(&self.table, self.me, self.now);
        let pass_over_for = self.config.probe_interval * PASSED_OVER;
        while let Some(lost) = self.trees.give_up(&self.table, self.me, self.now, pass_over_for) {
            self.stats.telemetry_resent += lost as u64;
        }
        let (room, pause) = (self.flight_room(), self.config.telemetry_interval);
        let ready_at = self.budget.ready_at();
        while let Some((branch, partner, datagrams)) =
            self.trees.depart(self.now, room, pause, ready_at)
        {
            for _ in 0..datagrams {
                let (number, limit) = (self.number(), self.mtu());
                let body = Body::Tree(number, branch);
                let queued = self.table.address(partner).is_some_and(|to| {
                    let signal = Signal::None;
                    self.outbox.gossip(Intent {
                        to,
                        member: Some(partner),
                        signal,
                        challenge: None,
                        body,
                        limit,
                    })
                });
                if !queued {
                    self.stats.outbox_shed += 1;
                    self.trees.cancel(branch);
                }
            }
        }
    }

    /// As much of what waits on a branch as fits one datagram to its partner.
    pub(super) fn put_flight(
        &mut self,
        w: &mut Writer<'_>,
        number: RequestId,
        branch: usize,
        to: Option<Slot>,
    ) {
        let Some(end) = self.trees.boards(branch, to) else { return };
        let before = w.len();
        let mut any = false;
        if w.frame(kind::TREE, &Tree { number: number.0, end: end.0 }) {
            while let Some(update) = self.trees.next(branch) {
                let version = self.table.row(update.owner).telemetry_version();
                if update.since >= version || !self.table.is_live(update.owner) {
                    self.trees.skip(branch);
                    continue;
                }
                match self.put_telemetry(w, update.owner, update.since, 0) {
                    Fit::All => self.trees.board(branch, None),
                    Fit::Part(up_to) => self.trees.board(branch, Some(up_to)),
                    // Not even alone: its owner writes longer datagrams than this node may.
                    Fit::Nothing if !any && before == HEADER_LEN => {
                        self.stats.telemetry_ignored += 1;
                        self.trees.skip(branch);
                        continue;
                    }
                    Fit::Nothing => break,
                }
                any = true;
            }
        }
        if any {
            let deadline = self.now + self.flight_time(to, self.trees.tries(branch));
            self.trees.launch(branch, number, w.len() - before, self.now, deadline);
        } else {
            w.truncate(before);
            self.trees.cancel(branch);
        }
    }

    /// How long an acknowledgement is awaited: some round trips, doubled with each try.
    fn flight_time(&self, to: Option<Slot>, tries: u8) -> core::time::Duration {
        let timeout = self.probe_timeout();
        let own = to.and_then(|slot| self.table.row(slot).round_trip.longest());
        // Of a new partner no more is known than of the others; too short a time costs one
        // datagram.
        let round_trip = own.or_else(|| self.trees.usual_round_trip().map(|usual| usual * 2));
        let first = round_trip.map_or(timeout, |longest| (longest * ROUND_TRIPS).max(timeout / 16));
        first.saturating_mul(1 << tries.min(16)).min(timeout)
    }

    /// A partner has got a datagram of a flight.
    pub(super) fn flight_arrived(&mut self, from: Option<Slot>, ack: TreeAck) {
        if let Some(slot) = from
            && let Some(sent_at) = self.trees.arrived(slot, RequestId(ack.number))
        {
            self.table.heard(slot, self.now, true);
            self.table.note_round_trip(slot, self.now.since(sent_at));
            self.trees.note_round_trip(self.now.since(sent_at));
        }
    }

    /// The acknowledgement of a flight's datagram, with a wish for what was missing before it.
    pub(super) fn acknowledge(&mut self, tree: Tree, missing: &[Want]) -> Body {
        let mut plan = Plan::default();
        for &want in missing {
            self.plans.wants.push_back(want);
            plan.wants += 1;
        }
        Body::TreeAck(RequestId(tree.number), plan)
    }

    /// The version that a frame of news since `since` begins after: the latest one that the log
    /// still holds.
    pub(super) fn wire_since(&self, owner: Slot, since: u64) -> u64 {
        version_before(self.table.row(owner).log(), since)
    }
}
