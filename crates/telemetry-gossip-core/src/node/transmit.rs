//! Intents become bytes: the frames of each, then rumors in what room is left.

use serde::Serialize;

use super::Node;
use super::session::ALL_BUCKETS;
use crate::address::{Address, MAX_ADDRESS_LEN};
use crate::config::Mode;
use crate::id::{IdHash, RequestId};
use crate::join::PIECE;
use crate::member::{Accusers, Status};
use crate::membership::{BUCKETS, Slot, bucket_of};
use crate::outbox::{Body, Intent, Signal};
use crate::sync::{Plan, digest_ranges, sums, version_of};
use crate::telemetry;
use crate::wire::encode::Writer;
use crate::wire::{
    DigestHead, FloorHead, Nack, Page, PageRequest, RangeHead, Relay, SyncDone, SyncOpen,
    TelemetryHead, TreeAck, VersionsHead, WantsHead, WireClaim, WireEntry, WireSum, WireWant, kind,
};

/// Bytes kept free for the frame that ends a reply of a session.
const DONE_ROOM: usize = 12;

/// A datagram to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit<A> {
    /// Where to.
    pub to: A,
    /// How many bytes at the front of the buffer are its payload.
    pub len: usize,
}

/// How much of somebody's telemetry was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    All,
    /// Up to this version.
    Part(u64),
    Nothing,
}

impl<A: Address> Node<A> {
    /// Encodes the next datagram into the front of `buf`, which should hold
    /// [`Config::mtu`](crate::Config::mtu) bytes; a shorter one makes shorter datagrams, and what
    /// does not fit one at all is shed and counted.
    pub fn poll_transmit(&mut self, buf: &mut [u8]) -> Option<Transmit<A>> {
        if self.outbox.is_empty() { None } else { self.next_transmit(buf) }
    }

    #[inline(never)]
    fn next_transmit(&mut self, buf: &mut [u8]) -> Option<Transmit<A>> {
        loop {
            let intent = self.outbox.pop()?;
            if let Some(len) = self.encode(&intent, buf) {
                self.stats.datagrams_sent += 1;
                self.stats.bytes_sent += len as u64;
                self.budget.spend(self.now, len);
                return Some(Transmit { to: intent.to, len });
            }
        }
    }

    /// `None` if there is nothing to say after all, or not even the signal fits.
    fn encode(&mut self, intent: &Intent<A>, buf: &mut [u8]) -> Option<usize> {
        let (fingerprints, clock) = (self.table.fingerprints(), self.rounds.on_wire(self.now));
        let Some(mut w) =
            Writer::new(buf, intent.limit, self.config.label, self.id_hash, fingerprints, clock)
        else {
            self.stats.outbox_shed += 1;
            return None;
        };
        if !self.put_signal(&mut w, &intent.signal) {
            self.stats.outbox_shed += 1;
            return None;
        }
        if let Some((number, target)) = intent.challenge {
            w.lead(kind::PING, number.0, target.0);
        }
        if self.config.mode == Mode::ProbeOnly {
            return (!w.is_bare()).then_some(w.len());
        }
        if let Some(slot) = intent.member
            && self.must_hear_of_itself(slot, intent.to)
        {
            self.put_claims(&mut w, &[slot]);
        }
        if intent.body != Body::None {
            let before = w.len();
            self.put_body(&mut w, intent.body, intent.member);
            // The flight's earlier datagrams had room for all: beside it there is nothing that this
            // partner must hear again.
            if matches!(intent.body, Body::Tree(..)) && w.len() == before {
                return None;
            }
        }
        if self.config.mode == Mode::Autonomous || !matches!(intent.body, Body::None) {
            // What the body says of this node itself is no telling: it is for one, and the news is
            // for all.
            let said = matches!(intent.body, Body::Introduction | Body::PageRequest(..))
                .then_some(self.me);
            self.put_rumors(&mut w, said);
        }
        (!w.is_bare()).then_some(w.len())
    }

    /// Whoever is in doubt hears so at first contact, and can refute. So does whoever speaks in the
    /// name of a member that is known at another address: of two processes of one id, one alone is
    /// heard of, and each must know.
    fn must_hear_of_itself(&self, slot: Slot, to: A) -> bool {
        let doubted = self.table.status(slot) != Status::Alive
            && (self.config.detector.buddy || !self.table.is_live(slot));
        doubted || !self.table.row(slot).is_at(&to)
    }

    fn put_signal(&self, w: &mut Writer<'_>, signal: &Signal<A>) -> bool {
        match *signal {
            Signal::None => true,
            Signal::Ping(number, target) => w.lead(kind::PING, number.0, target.0),
            Signal::Ack(number, instance) => w.lead(kind::ACK, number.0, instance.0),
            Signal::Nack(number) => w.frame(kind::NACK, &Nack { number: number.0 }),
            Signal::Relay(number, target, address) => {
                let mut bytes = [0; MAX_ADDRESS_LEN];
                let len = address.encode(&mut bytes).min(MAX_ADDRESS_LEN);
                w.frame(
                    kind::RELAY,
                    &Relay { number: number.0, target: target.0, address: &bytes[..len] },
                )
            }
        }
    }

    fn put_body(&mut self, w: &mut Writer<'_>, body: Body, to: Option<Slot>) {
        match body {
            Body::None | Body::Gossip => {}
            Body::Introduction => {
                self.put_claims(w, &[self.me]);
            }
            Body::SyncOpen(number) => {
                w.frame(kind::SYNC_OPEN, &SyncOpen { number: number.0 });
            }
            Body::SyncDigest(number) => {
                let ranges = digest_ranges(&self.table);
                let head = DigestHead { number: number.0 };
                self.put_list(w, kind::SYNC_DIGEST, &head, |node, w| {
                    sums(&node.table, ranges).all(|sum| w.item(&WireSum { sum }))
                });
            }
            Body::SyncVersions(number, mask) => self.put_versions(w, number, mask),
            Body::SyncWants(number, plan) => self.put_wants(w, number, plan),
            Body::SyncDone(number, plan) => {
                let more = self.put_plan(w, plan.items, DONE_ROOM) | plan.more;
                w.frame(kind::SYNC_DONE, &SyncDone { number: number.0, more });
            }
            Body::PageRequest(number, from) => {
                self.put_claims(w, &[self.me]);
                w.frame(kind::PAGE_REQUEST, &PageRequest { number: number.0, from: from.0 });
            }
            Body::Page(number, from) => self.put_page(w, number, from),
            Body::Piece(number, from) => self.put_piece(w, number, from),
            Body::Tree(number, branch) => self.put_flight(w, number, branch, to),
            Body::TreeAck(number, plan) => {
                w.frame(kind::TREE_ACK, &TreeAck { number: number.0 });
                if plan.wants > 0 {
                    self.put_wants(w, number, plan);
                }
            }
        }
    }

    /// A frame whose items must all fit; otherwise it is left out.
    fn put_list<'b, T: Serialize>(
        &self,
        w: &mut Writer<'b>,
        kind: u8,
        head: &T,
        items: impl FnOnce(&Self, &mut Writer<'b>) -> bool,
    ) -> bool {
        let Some(open) = w.open(kind) else { return false };
        let fits = w.item(head) && items(self, w);
        if fits {
            w.close(open)
        } else {
            w.abandon(&open)
        }
        fits
    }

    /// The rows of the ranges in `mask`: whole ranges while they fit, then a part of the next one.
    fn put_versions(&self, w: &mut Writer<'_>, number: RequestId, mask: u64) {
        let Some(open) = w.open(kind::SYNC_VERSIONS) else { return };
        let head_at = w.len();
        let mut head = VersionsHead { number: number.0, more: false };
        if !w.item(&head) {
            w.abandon(&open);
            return;
        }
        for (from, to) in ranges_of(mask) {
            if !self.put_range(w, from, to) {
                head.more = true;
                break;
            }
        }
        w.rewrite(head_at, &head);
        w.close(open);
    }

    /// One range; false if not all of it fits. Its end is then the last row that does.
    fn put_range(&self, w: &mut Writer<'_>, from: IdHash, to: IdHash) -> bool {
        let head_at = w.len();
        let mut head = RangeHead { from: from.0, to: to.0, rows: 0 };
        if !w.item(&head) {
            return false;
        }
        let (mut before, mut last) = (w.len(), None);
        for slot in self.table.tagged(from, to) {
            let id_hash = self.table.id_hash(slot);
            if last != Some(id_hash.0) {
                before = w.len();
            }
            if head.rows == u16::MAX || !w.item(&version_of(id_hash, self.table.row(slot))) {
                // Up to the id hash before this one, all of whose rows are written.
                w.truncate(before);
                if id_hash.0 == from.0 || head.rows == 0 {
                    w.truncate(head_at);
                } else {
                    head.to = id_hash.0 - 1;
                    w.rewrite(head_at, &head);
                }
                return false;
            }
            last = Some(id_hash.0);
            head.rows += 1;
        }
        w.rewrite(head_at, &head);
        true
    }

    fn put_wants(&mut self, w: &mut Writer<'_>, number: RequestId, plan: Plan) {
        // The wishes come second, as only then is it known whether all else fits; they keep half of
        // the room.
        let reserve = (DONE_ROOM + plan.wants * 8).min(w.room() / 2);
        let mut more = self.put_plan(w, plan.items, reserve) | plan.more;
        let wants = self.plans.wants.drain(..plan.wants.min(self.plans.wants.len()));
        let Some(open) = w.open(kind::SYNC_WANTS) else { return };
        let head_at = w.len();
        if !w.item(&WantsHead { number: number.0, more }) {
            w.abandon(&open);
            return;
        }
        for want in wants {
            more |= !w.item(&WireWant {
                id_hash: want.id_hash.0,
                claim: want.claim,
                since: want.since,
            });
        }
        w.rewrite(head_at, &WantsHead { number: number.0, more });
        w.close(open);
    }

    /// The first `count` items of the plan, leaving `reserve` bytes; true if not all fit.
    fn put_plan(&mut self, w: &mut Writer<'_>, count: usize, reserve: usize) -> bool {
        let count = count.min(self.plans.items.len());
        let mut more = false;
        if let Some(open) = w.open(kind::CLAIMS) {
            for at in 0..count {
                let Some(&item) = self.plans.items.get(at) else { break };
                let before = w.len();
                if item.claim && (!self.put_claim(w, item.slot) || w.room() < reserve) {
                    w.truncate(before);
                    more = true;
                    break;
                }
            }
            self.close_or_abandon(w, open);
        }
        for at in 0..count {
            let Some(&item) = self.plans.items.get(at) else { break };
            let row = self.table.row(item.slot);
            let Some(since) = item.since.filter(|&since| since < row.telemetry_version()) else {
                continue;
            };
            let before = w.len();
            let fit = self.put_telemetry(w, item.slot, since, reserve);
            more |= fit != Fit::All;
            if fit == Fit::Nothing {
                w.truncate(before);
                break;
            }
        }
        self.plans.items.drain(..count);
        more
    }

    fn close_or_abandon(&self, w: &mut Writer<'_>, open: crate::wire::encode::Open) {
        if w.body_len(&open) == 0 { w.abandon(&open) } else { w.close(open) }
    }

    /// Claims from an id hash on, whole id hashes only, and where the next page begins.
    fn put_page(&self, w: &mut Writer<'_>, number: RequestId, from: IdHash) {
        let mut next = None;
        if let Some(open) = w.open(kind::CLAIMS) {
            let (mut before, mut last) = (w.len(), None);
            for slot in self.table.tagged(from, IdHash(u32::MAX)) {
                let id_hash = self.table.id_hash(slot);
                if last != Some(id_hash) {
                    before = w.len();
                }
                last = Some(id_hash);
                if !self.put_claim(w, slot) || w.room() < DONE_ROOM {
                    w.truncate(before);
                    next = Some(id_hash);
                    break;
                }
            }
            self.close_or_abandon(w, open);
        } else {
            next = Some(from);
        }
        w.frame(kind::PAGE, &Page { number: number.0, next });
    }

    /// The node's own claim, and some from an id hash on, going round.
    fn put_piece(&self, w: &mut Writer<'_>, number: RequestId, from: IdHash) {
        let end = w.len() + PIECE;
        if let Some(open) = w.open(kind::CLAIMS) {
            let rest = self.table.tagged(from, IdHash(u32::MAX));
            let round = rest.chain(self.table.tagged(IdHash(0), IdHash(from.0.saturating_sub(1))));
            for slot in
                core::iter::once(self.me).chain(round.filter(|&slot| self.table.is_live(slot)))
            {
                let before = w.len();
                if !self.put_claim(w, slot) || w.len() > end || w.room() < DONE_ROOM {
                    w.truncate(before);
                    break;
                }
            }
            self.close_or_abandon(w, open);
        }
        w.frame(kind::PAGE, &Page { number: number.0, next: None });
    }

    fn put_claims(&self, w: &mut Writer<'_>, slots: &[Slot]) -> bool {
        let Some(open) = w.open(kind::CLAIMS) else { return false };
        let fits = slots.iter().all(|&slot| self.put_claim(w, slot));
        if fits {
            w.close(open)
        } else {
            w.abandon(&open)
        }
        fits
    }

    /// One claim with its evidence, into an open frame.
    fn put_claim(&self, w: &mut Writer<'_>, slot: Slot) -> bool {
        let row = self.table.row(slot);
        let accusers =
            self.suspicions.get(slot).map_or_else(Accusers::new, |row| row.accusers.clone());
        let mut address = [0; MAX_ADDRESS_LEN];
        let len =
            row.address::<A>().map_or(0, |held| held.encode(&mut address).min(MAX_ADDRESS_LEN));
        let dead = !row.status.is_live();
        w.item(&WireClaim {
            status: row.status.rank(),
            generation: row.generation.0,
            instance: row.instance.0,
            id: row.id_bytes(),
            address: &address[..len],
            accusers,
            age_secs: if dead {
                self.tombstones.age_secs(slot, self.now, self.config.tombstone_ttl)
            } else {
                0
            },
        })
    }

    /// The telemetry of `slot` since a version: as many entries as fit, in order.
    pub(super) fn put_telemetry(
        &self,
        w: &mut Writer<'_>,
        slot: Slot,
        since: u64,
        reserve: usize,
    ) -> Fit {
        let row = self.table.row(slot);
        let floor = telemetry::floor(row.log());
        let anew = since < floor;
        let kind = if anew { kind::TELEMETRY_ANEW } else { kind::TELEMETRY };
        let Some(open) = w.open(kind) else { return Fit::Nothing };
        let mut last = self.wire_since(slot, since);
        let head = TelemetryHead {
            owner: self.table.id_hash(slot).0,
            instance: row.instance.0,
            since: last,
        };
        if !(if anew { w.item(&FloorHead { floor, head }) } else { w.item(&head) }) {
            w.abandon(&open);
            return Fit::Nothing;
        }
        let (mut fit, mut any) = (Fit::All, false);
        for entry in row.entries().filter(|entry| entry.version > since) {
            let age_ms =
                u64::try_from(self.now.since(entry.published).as_millis()).unwrap_or(u64::MAX);
            let before = w.len();
            let step = entry.version - last;
            let age = age_ms.saturating_mul(2) | u64::from(entry.urgent);
            let item = WireEntry { step, age, key: entry.key, value: entry.value };
            if !w.item(&item) || w.room() < reserve {
                w.truncate(before);
                fit = Fit::Part(last);
                break;
            }
            (any, last) = (true, entry.version);
        }
        if any {
            w.close(open);
            fit
        } else {
            w.abandon(&open);
            Fit::Nothing
        }
    }

    /// Fills the room with news, least told first; `said` is in the datagram already.
    fn put_rumors(&mut self, w: &mut Writer<'_>, said: Option<Slot>) {
        if self.news.is_idle() {
            return;
        }
        let limit = self.send_limit();
        if let Some(open) = w.open(kind::CLAIMS) {
            while let Some(slot) = self.news.take() {
                let before = w.len();
                if Some(slot) != said && !self.put_claim(w, slot) {
                    w.truncate(before);
                    self.news.put_back();
                    break;
                }
            }
            self.close_or_abandon(w, open);
            self.news.commit(limit, said);
        }
    }
}

/// The id hash ranges of the buckets in `mask`; neighbours are joined.
fn ranges_of(mask: u64) -> impl Iterator<Item = (IdHash, IdHash)> {
    const WIDTH: u32 = u32::BITS - BUCKETS.trailing_zeros();
    let mut rest = if mask == ALL_BUCKETS { u64::MAX } else { mask };
    core::iter::from_fn(move || {
        if rest == 0 {
            return None;
        }
        let first = rest.trailing_zeros();
        let len = (rest >> first).trailing_ones();
        rest = if first + len >= 64 { 0 } else { rest >> (first + len) << (first + len) };
        let from = first << WIDTH;
        let to = (u64::from(first + len) << WIDTH) - 1;
        Some((IdHash(from), IdHash(u32::try_from(to).unwrap_or(u32::MAX))))
    })
}

const _: () = assert!(bucket_of(u64::MAX) == BUCKETS - 1);
