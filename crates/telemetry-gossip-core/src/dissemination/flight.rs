//! Telemetry on its way along the trees: flights begin, arrive and are given up; what they bring
//! goes on.

use core::time::Duration;

use super::Dissemination;
use super::branch::{Furthest, Update};
use crate::address::Address;
use crate::config::Mode;
use crate::cx::{Cx, Fit};
use crate::id::RequestId;
use crate::membership::Slot;
use crate::membership::telemetry_log::update_since;
use crate::outbox::{Body, Diff, Intent, Want};
use crate::time::Instant;
use crate::wire::encode::Writer;
use crate::wire::{HEADER_LEN, TELEMETRY_FRAME_LEN, TREE_FRAME_LEN, Tree, TreeAck, kind};

/// For how many probe intervals a silent partner is passed over. It is suspected soon, if it is
/// gone.
const PASSED_OVER: u32 = 2;

/// Round trips that an acknowledgement may take, as the longest of late.
const ROUND_TRIPS: u32 = 4;

impl Dissemination {
    /// The telemetry of `owner` since a version goes on to all members up to `furthest`.
    pub(crate) fn spread<A: Address>(
        &mut self,
        owner: Slot,
        since: u64,
        furthest: Furthest,
        cx: &mut Cx<A>,
    ) {
        if cx.config.mode != Mode::Autonomous || since >= cx.table.row(owner).telemetry_version() {
            return;
        }
        self.trees.adapt(&cx.table, cx.this.slot, cx.now);
        let (len, urgent) = update_since(cx.table.row(owner).log(), since);
        let update = Update { owner, since };
        let merged = self.trees.spread(update, TELEMETRY_FRAME_LEN + len, urgent, furthest);
        cx.stats.telemetry_merged += u64::from(merged);
    }

    /// This node's own telemetry has a new version, after `since`.
    pub(crate) fn spread_own<A: Address>(&mut self, since: u64, cx: &mut Cx<A>) {
        if self.first_publish_at.is_none() {
            self.spread(cx.this.slot, since, Furthest::ALL, cx);
            self.send_flights(cx);
        }
    }

    /// By now the others know this node, and take in its telemetry.
    pub(super) fn publish_first<A: Address>(&mut self, cx: &mut Cx<A>) {
        if self.first_publish_at.take_if(|at| *at <= cx.now).is_some() {
            self.spread_own(0, cx);
        }
    }

    /// When there is something to do for the trees.
    pub(super) fn flight_deadline<A: Address>(&self, cx: &Cx<A>) -> Option<Instant> {
        self.trees.deadline(flight_room(cx), self.budget.ready_at()).map(|at| at.max(cx.now))
    }

    /// Gives up the flights that were not acknowledged, and begins those that are due.
    pub(crate) fn send_flights<A: Address>(&mut self, cx: &mut Cx<A>) {
        if self.trees.is_idle() {
            return;
        }
        let me = cx.this.slot;
        self.trees.adapt(&cx.table, me, cx.now);
        let pass_over_for = cx.config.probe_interval * PASSED_OVER;
        while let Some(lost) = self.trees.give_up(&cx.table, me, cx.now, pass_over_for) {
            cx.stats.telemetry_resent += lost as u64;
        }
        let (room, pause) = (flight_room(cx), cx.config.telemetry_interval);
        let ready_at = self.budget.ready_at();
        while let Some((branch, partner, datagrams)) =
            self.trees.begin(cx.now, room, pause, ready_at)
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

    /// Writes as much of what waits on a branch as fits one datagram to its partner. `timeout` is
    /// how long this node waits for an answer that it knows nothing about.
    pub(crate) fn put_flight<A: Address>(
        &mut self,
        w: &mut Writer<'_>,
        (number, branch): (RequestId, usize),
        to: Option<Slot>,
        timeout: Duration,
        cx: &mut Cx<A>,
    ) {
        let Some(end) = self.trees.accepts(branch, to) else { return };
        let before = w.len();
        let mut any = false;
        if w.frame(kind::TREE, &Tree { number: number.0, end: end.0 }) {
            while let Some(update) = self.trees.next(branch) {
                let version = cx.table.row(update.owner).telemetry_version();
                if update.since >= version || !cx.table.is_live(update.owner) {
                    self.trees.skip(branch);
                    continue;
                }
                match cx.put_telemetry(w, update.owner, update.since, 0) {
                    Fit::All => self.trees.include(branch, None),
                    Fit::Part(up_to) => self.trees.include(branch, Some(up_to)),
                    // Not even alone: its owner writes longer datagrams than this node may.
                    Fit::Nothing if !any && before == HEADER_LEN => {
                        cx.stats.telemetry_ignored += 1;
                        self.trees.skip(branch);
                        continue;
                    }
                    Fit::Nothing => break,
                }
                any = true;
            }
        }
        if any {
            let deadline = cx.now + self.flight_time(to, self.trees.tries(branch), timeout, cx);
            self.trees.sent(branch, number, w.len() - before, cx.now, deadline);
        } else {
            w.truncate(before);
            self.trees.cancel(branch);
        }
    }

    /// How long an acknowledgement is awaited: some round trips, doubled with each try.
    fn flight_time<A: Address>(
        &self,
        to: Option<Slot>,
        tries: u8,
        timeout: Duration,
        cx: &Cx<A>,
    ) -> Duration {
        let own = to.and_then(|slot| cx.table.row(slot).round_trip.longest());
        // Of a new partner no more is known than of the others; too short a time costs one
        // datagram.
        let round_trip = own.or_else(|| self.trees.usual_round_trip().map(|usual| usual * 2));
        let first = round_trip.map_or(timeout, |longest| (longest * ROUND_TRIPS).max(timeout / 16));
        first.saturating_mul(1 << tries.min(16)).min(timeout)
    }

    /// A partner acknowledges a datagram of a flight.
    pub(crate) fn on_tree_ack<A: Address>(
        &mut self,
        from: Option<Slot>,
        ack: TreeAck,
        cx: &mut Cx<A>,
    ) {
        if let Some(slot) = from
            && let Some(sent_at) = self.trees.arrived(slot, RequestId(ack.number))
        {
            cx.table.heard(slot, cx.now, true);
            cx.table.add_rtt_sample(slot, cx.now.since(sent_at));
            self.trees.add_rtt_sample(cx.now.since(sent_at));
        }
    }
}

/// Bytes for telemetry in a datagram.
fn flight_room<A: Address>(cx: &Cx<A>) -> usize {
    cx.mtu() - HEADER_LEN - TREE_FRAME_LEN
}

/// The acknowledgement of a flight's datagram, with a wish for what was missing before it.
pub(crate) fn acknowledge<A: Address>(
    tree: Tree,
    missing: &[Want],
    cx: &mut Cx<A>,
) -> (Body, Diff) {
    let mut diff = Diff::default();
    for &want in missing {
        cx.outbox.diffs.want(&mut diff, want);
    }
    (Body::TreeAck(RequestId(tree.number), diff), diff)
}
