//! Claims about this node itself, and its refutations.

use crate::address::Address;
use crate::cx::Activity;
use crate::event::Event;
use crate::id::{Generation, Instance};
use crate::membership::Merged;
use crate::membership::claim::{Accusers, Claim};
use crate::node::Node;
use crate::outbox::{Body, Intent};
use crate::status::Status;
use crate::wire::HEADER_LEN;

/// An accusation is at least this long: the header, a frame and a claim.
const ACCUSATION: usize = HEADER_LEN + 20;

impl<A: Address> Node<A> {
    /// A claim about this node that beats its own is refuted at once, one generation above.
    pub(super) fn apply_claim_about_self(&mut self, claim: &Claim<'_, A>) {
        let held = self.cx.table.claim(self.cx.this.slot);
        if self.cx.activity != Activity::Active {
            return;
        }
        if !claim.precedence().beats(&held.precedence()) {
            // An accusation that is refuted already: its bearer has missed that, and is told again.
            if claim.status != Status::Alive {
                self.cx.rumors.push(self.cx.this.slot);
                self.add_wrong_accusers(&claim.accusers);
            }
            return;
        }
        // Others believe accusations half as far ahead. The refutation has to be believed by the
        // member that holds the least.
        if !claim.generation.next().is_plausible(held.generation) {
            self.cx.stats.claims_implausible += 1;
            return;
        }
        // Instance 0 is a host's word about a member whose instance it does not know: no other
        // process.
        let instance = self.cx.this.instance;
        let other_process = claim.instance != instance && claim.instance != Instance(0);
        if other_process && claim.status == Status::Alive && self.yields_or_waits(claim) {
            return;
        }
        if claim.instance == instance && claim.status != Status::Alive {
            self.detector.local_health.worse(1);
        }
        let generation = claim.generation.next();
        self.set_own_status(generation, Status::Alive);
        self.add_wrong_accusers(&claim.accusers);
        self.cx.stats.refutations += 1;
        self.cx.emit(Event::Refuted { generation });
    }

    fn add_wrong_accusers(&mut self, accusers: &Accusers) {
        if !self.cx.config.detector.status_pings {
            return;
        }
        for &accuser in accusers {
            if !self.wrong_accusers.contains(&accuser) {
                // More than that are told by rumor.
                let _ = self.wrong_accusers.try_push(accuser);
            }
        }
    }

    /// A refutation goes to the accusers themselves, too: it is their time that runs. Each gets one
    /// per datagram, and one that has not proved its address gets no more than what is held against
    /// this node must be long.
    pub(in crate::node) fn tell_accusers(&mut self) {
        for accuser in core::mem::take(&mut self.wrong_accusers) {
            let table = &self.cx.table;
            let slot = table.with_id_hash(accuser).next().filter(|&slot| table.can_probe(slot));
            if let Some((slot, to)) = slot.and_then(|slot| Some((slot, table.address(slot)?))) {
                let limit = self.cx.limit_to(Some(slot), ACCUSATION);
                self.cx.ask(Intent::new(to, Some(slot), limit).with_body(Body::Introduction));
            }
        }
    }

    /// Sets our own status and generation, and gossips the change.
    pub(in crate::node) fn set_own_status(&mut self, generation: Generation, status: Status) {
        let this = self.cx.this;
        let id = this.id;
        let claim = Claim {
            id: id.as_str(),
            address: Some(this.address),
            instance: this.instance,
            generation,
            status,
            accusers: Accusers::new(),
            age_secs: 0,
        };
        let (merged, _) = self.cx.table.merge_at(self.cx.now, &claim);
        if let Merged::Replaced { .. } = merged {
            self.cx.table.heard(this.slot, self.cx.now, true);
            self.cx.rumors.push(this.slot);
            self.cx.emit(match status {
                Status::Left => Event::Left { id, generation },
                _ => Event::Alive { id, generation },
            });
        }
    }
}
