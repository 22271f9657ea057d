//! The bodies of datagrams: claims, pages, and the frames of sync sessions.
//!
//! The functions here only write the state into bytes. What does not fit is left out, and the
//! datagram says so where its frame has a flag for it.

use serde::Serialize;

use super::Node;
use crate::address::{Address, MAX_ADDRESS_LEN};
use crate::anti_entropy::diff::{digest_ranges, sums};
use crate::anti_entropy::join::PIECE_BYTES;
use crate::anti_entropy::narrow::{buckets_of, whole_ranges};
use crate::cx::Fit;
use crate::id::{Generation, IdHash, RequestId};
use crate::membership::claim::Accusers;
use crate::membership::{Place, Slot};
use crate::outbox::{Body, Diff};
use crate::status::Status;
use crate::wire::encode::{Open, Writer};
use crate::wire::{
    DigestHead, NotAMember, Page, PagePlace, PageRequest, SumsHead, SyncDone, SyncOpen, TreeAck,
    WantsHead, WireClaim, WireSum, WireWant, kind,
};

/// The bytes kept free for the frame that ends a page or a reply of a session.
const DONE_FRAME_BYTES: usize = 12;

/// The bytes kept free for the frame that says where in a run of one id hash a page ends.
const PLACE_FRAME_BYTES: usize = 6;

/// The most claims that a page leaves out because none of them fits. The next page goes on there: a
/// short request must not cost a look at the whole table.
const MAX_LEFT_OUT: usize = 16;

/// The most rows that are visited to find the live ones of a piece of the table.
const MAX_PIECE_ROWS: usize = 512;

/// The most bytes of telemetry logs that are read to write one reply: entries in the middle of a
/// log are found by reading it from its beginning. One log is read whatever its length.
const MAX_LOG_BYTES_READ: usize = 131_072;

impl<A: Address> Node<A> {
    /// Writes the body of an intent for the member `to`.
    pub(super) fn put_body(&mut self, w: &mut Writer<'_>, body: Body, to: Option<Slot>) {
        match body {
            Body::None | Body::Rumors => {}
            Body::Introduction | Body::Rival => {
                self.put_claims(w, &[self.cx.this.slot]);
            }
            Body::NotAMember => {
                if let Some(version) = self.cx.admission.version() {
                    w.frame(kind::NOT_A_MEMBER, &NotAMember { version });
                }
            }
            Body::SyncOpen(request_id) => {
                w.frame(kind::SYNC_OPEN, &SyncOpen { number: request_id.0 });
            }
            Body::SyncDigest(request_id) => {
                let ranges = digest_ranges(&self.cx.table);
                let number = request_id.0;
                self.put_list(w, kind::SYNC_SUMS, &SumsHead { number, more: false }, |_, _| true);
                let head = DigestHead { number };
                self.put_list(w, kind::SYNC_DIGEST, &head, |node, w| {
                    sums(&node.cx.table, ranges).all(|sum| w.item(&WireSum { sum }))
                });
            }
            Body::SyncParts(request_id) => {
                let ranges = whole_ranges(&self.cx.table);
                let (visited, _) = self.put_sums(w, request_id, ranges, false);
                self.cx.stats.rows_visited += visited;
            }
            Body::SyncVersions(request_id, mask) => {
                let visited = self.put_rows(w, request_id, buckets_of(mask), false);
                self.cx.stats.rows_visited += visited;
            }
            Body::SyncRanges(request_id, diff) => {
                let ranges = self.cx.outbox.diffs.ranges.iter().take(diff.ranges).copied();
                let visited = self.put_ranges(w, request_id, ranges, diff.more);
                self.cx.stats.rows_visited += visited;
            }
            Body::SyncWants(request_id, diff) => self.put_wants(w, request_id, diff),
            Body::SyncDone(request_id, diff) => {
                let more = self.put_diff(w, diff.items, DONE_FRAME_BYTES) | diff.more;
                w.frame(kind::SYNC_DONE, &SyncDone { number: request_id.0, more });
            }
            Body::Question(request_id, accused) => {
                self.put_claims(w, &[self.cx.this.slot]);
                let head = WantsHead { number: request_id.0, more: false };
                let want = WireWant { id_hash: accused.0, claim: true, since: u64::MAX };
                self.put_list(w, kind::SYNC_WANTS, &head, |_, w| w.item(&want));
            }
            Body::Vote(request_id) => {
                let head = WantsHead { number: request_id.0, more: false };
                let id_hash = self.cx.this.id_hash.0;
                let want = |claim| WireWant { id_hash, claim, since: u64::MAX };
                // The answer may have three times the bytes of the question, and the id is in it.
                let padding = self.cx.this.id.as_str().len() / 16;
                self.put_list(w, kind::SYNC_WANTS, &head, |_, w| {
                    w.item(&want(true)) && (0..padding).all(|_| w.item(&want(false)))
                });
            }
            Body::PageRequest(request_id, from) => {
                self.put_claims(w, &[self.cx.this.slot]);
                put_place(w, Some(from));
                let request = PageRequest { number: request_id.0, from: from.id_hash.0 };
                w.frame(kind::PAGE_REQUEST, &request);
            }
            Body::Page(request_id, from) => self.put_page(w, request_id, from),
            Body::Piece(request_id, from) => self.put_piece(w, request_id, from),
            Body::Tree(request_id, branch) => {
                let timeout = self.detector.probe_timeout(&self.cx.config);
                let waits = (timeout, self.anti_entropy.round_trip);
                self.dissemination.put_flight(w, (request_id, branch), to, waits, &mut self.cx);
            }
            Body::Echo(owner, since) => {
                self.cx.put_telemetry(w, owner, since, 0);
            }
            Body::TreeAck(request_id, diff) => {
                w.frame(kind::TREE_ACK, &TreeAck { number: request_id.0 });
                if diff.wants > 0 {
                    self.put_wants(w, request_id, diff);
                }
            }
        }
    }

    /// Writes a frame whose items must all fit, or leaves it out; true if it fits.
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

    /// Writes what a diff sends, then what it requests.
    fn put_wants(&mut self, w: &mut Writer<'_>, request_id: RequestId, diff: Diff) {
        // The requests come second, because only then is it known whether everything else fits and
        // `more` must be set. Up to half of the room is reserved for them.
        let reserve = (DONE_FRAME_BYTES + diff.wants * 8).min(w.room() / 2);
        let mut more = self.put_diff(w, diff.items, reserve) | diff.more;
        let wants = self.cx.outbox.diffs.wants.iter().take(diff.wants);
        let Some(open) = w.open(kind::SYNC_WANTS) else { return };
        let head_at = w.len();
        if !w.item(&WantsHead { number: request_id.0, more }) {
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
        w.rewrite(head_at, &WantsHead { number: request_id.0, more });
        w.close(open);
    }

    /// Writes the first `count` items of the outgoing diffs, and leaves `reserve` bytes free; true
    /// if not all items fit.
    fn put_diff(&mut self, w: &mut Writer<'_>, count: usize, reserve: usize) -> bool {
        let count = count.min(self.cx.outbox.diffs.items.len());
        let mut more = false;
        if let Some(open) = w.open(kind::CLAIMS) {
            for at in 0..count {
                let Some(&item) = self.cx.outbox.diffs.items.get(at) else { break };
                let before = w.len();
                let fits = !item.claim
                    || (self.put_claim(w, item.slot)
                        && self.put_testimony(w, item.slot)
                        && w.room() >= reserve);
                if !fits {
                    w.truncate(before);
                    more = true;
                    break;
                }
            }
            self.close_or_abandon(w, open);
        }
        let mut read = 0;
        for at in 0..count {
            let Some(&item) = self.cx.outbox.diffs.items.get(at) else { break };
            let row = self.cx.table.row(item.slot);
            let newer = |&since: &u64| since < row.telemetry_version() && row.holds_telemetry();
            let Some(since) = item.since.filter(newer) else { continue };
            if read > 0 && read + row.log().len() > MAX_LOG_BYTES_READ {
                more = true;
                break;
            }
            read += row.log().len();
            let before = w.len();
            let fit = self.cx.put_telemetry(w, item.slot, since, reserve);
            more |= fit != Fit::All;
            if fit == Fit::Nothing {
                w.truncate(before);
                break;
            }
        }
        more
    }

    /// Closes a frame, or takes it back if it is empty.
    pub(super) fn close_or_abandon(&self, w: &mut Writer<'_>, open: Open) {
        if w.body_len(&open) == 0 { w.abandon(&open) } else { w.close(open) }
    }

    /// Writes a page: claims from a place on, and where the next page begins.
    ///
    /// The claims of one id hash stay together, as long as one page holds them: a reader of an
    /// earlier version cannot go on within them.
    fn put_page(&mut self, w: &mut Writer<'_>, request_id: RequestId, from: Place) {
        let mut next = None;
        let (mut visited, mut left_out) = (0, 0);
        if let Some(open) = w.open(kind::CLAIMS) {
            // The run of the last id hash, and the last claim of it after which there is room to
            // say where the next page begins: where they stand in the roster and in the datagram.
            let begin = w.len();
            let (mut run, mut last) = ((from, begin), (from, begin));
            for slot in self.cx.table.starting_at(from) {
                visited += 1;
                let id_hash = self.cx.table.id_hash(slot);
                if last.0.id_hash != id_hash {
                    let place = Place { id_hash, nth: 0 };
                    (run, last) = ((place, w.len()), (place, w.len()));
                }
                let fits = !self.cx.is_told(slot) || self.put_claim(w, slot);
                let is_full = !fits || w.room() < DONE_FRAME_BYTES;
                // A page for an unverified address is short. A claim that does not even fit alone
                // is left out, or the newcomer would ask for it for ever; it learns of that member
                // from others.
                if is_full && last.1 == begin && left_out < MAX_LEFT_OUT {
                    w.truncate(begin);
                    left_out += 1;
                } else if is_full {
                    let (place, end) = if run.1 == begin { last } else { run };
                    w.truncate(end);
                    next = Some(place);
                    break;
                }
                let nth = last.0.nth.saturating_add(1);
                if w.room() >= DONE_FRAME_BYTES + PLACE_FRAME_BYTES {
                    last = (Place { id_hash, nth }, w.len());
                }
            }
            self.close_or_abandon(w, open);
        } else {
            next = Some(from);
        }
        self.cx.stats.rows_visited += visited;
        put_place(w, next);
        let next = next.map(|place| place.id_hash);
        w.frame(kind::PAGE, &Page { number: request_id.0, next });
    }

    /// Writes a piece of the table: this node's own claim, and those from an id hash on, around the
    /// circle.
    fn put_piece(&mut self, w: &mut Writer<'_>, request_id: RequestId, from: IdHash) {
        let (mut visited, end) = (0, w.len() + PIECE_BYTES);
        if let Some(open) = w.open(kind::CLAIMS) {
            let rest = self.cx.table.in_range(from, IdHash(u32::MAX));
            let round =
                rest.chain(self.cx.table.in_range(IdHash(0), IdHash(from.0.saturating_sub(1))));
            for slot in core::iter::once(self.cx.this.slot).chain(round.take(MAX_PIECE_ROWS)) {
                visited += 1;
                if !(self.cx.table.is_live(slot) && self.cx.is_told(slot)) {
                    continue;
                }
                let before = w.len();
                if !self.put_claim(w, slot) || w.len() > end || w.room() < DONE_FRAME_BYTES {
                    w.truncate(before);
                    break;
                }
            }
            self.close_or_abandon(w, open);
        }
        self.cx.stats.rows_visited += visited;
        w.frame(kind::PAGE, &Page { number: request_id.0, next: None });
    }

    /// Writes a frame with the claims of these members; if not all fit, none is written and the
    /// result is false.
    pub(super) fn put_claims(&self, w: &mut Writer<'_>, slots: &[Slot]) -> bool {
        let Some(open) = w.open(kind::CLAIMS) else { return false };
        let fits = slots.iter().all(|&slot| self.put_claim(w, slot));
        if fits {
            w.close(open)
        } else {
            w.abandon(&open)
        }
        fits
    }

    /// Writes one claim, with its accusers or its age, into an open frame; false if it does not
    /// fit.
    pub(super) fn put_claim(&self, w: &mut Writer<'_>, slot: Slot) -> bool {
        let row = self.cx.table.row(slot);
        let suspicion = self.detector.suspicions.get(slot);
        let accusers = suspicion.map_or_else(Accusers::new, |row| row.accusers.clone());
        self.put_claim_as(w, slot, row.status, row.generation, accusers)
    }

    /// Writes this node's own accusation of a member after the claim about it, if the claim does
    /// not say it: a partner may ask whether this node has made it. False if it does not fit.
    fn put_testimony(&self, w: &mut Writer<'_>, slot: Slot) -> bool {
        let Some((accuser, generation)) = self.detector.testimony(slot, &self.cx) else {
            return true;
        };
        let accusers = core::iter::once(accuser).collect();
        self.put_claim_as(w, slot, Status::Suspected, generation, accusers)
    }

    /// Writes a claim about a member with this status and generation.
    fn put_claim_as(
        &self,
        w: &mut Writer<'_>,
        slot: Slot,
        status: Status,
        generation: Generation,
        accusers: Accusers,
    ) -> bool {
        let row = self.cx.table.row(slot);
        let mut address = [0; MAX_ADDRESS_LEN];
        let len =
            row.address::<A>().map_or(0, |held| held.encode(&mut address).min(MAX_ADDRESS_LEN));
        let dead = !status.is_live();
        w.item(&WireClaim {
            status: status.rank(),
            generation: generation.0,
            instance: row.instance.0,
            id: row.id_bytes(),
            address: &address[..len],
            accusers,
            age_secs: if dead {
                self.cx.tombstones.age_secs(slot, self.cx.now, self.cx.config.tombstone_ttl)
            } else {
                0
            },
        })
    }
}

/// Writes the frame that completes the place in a page or in the request for one. Most places are
/// the beginning of an id hash, and need none.
fn put_place(w: &mut Writer<'_>, place: Option<Place>) {
    if let Some(Place { nth, .. }) = place.filter(|place| place.nth > 0) {
        w.frame(kind::PAGE_PLACE, &PagePlace { nth });
    }
}
