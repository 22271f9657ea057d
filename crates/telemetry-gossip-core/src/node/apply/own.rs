//! Claims about this node itself, and their refutation.
//!
//! ```text
//!   claim ---+--- does not beat our own ---> an accusation: send our claim again
//!            +--- implausibly high --------> climbed towards, a leap per second, and members are
//!            |                               asked what they hold
//!            +--- of another process ------> id conflict: give way, or outbid it
//!            +--- no ping reaches us ------> refuted once one does
//!            +--- any other ---------------> refuted, one generation above
//! ```

use core::iter;
use core::time::Duration;

use crate::address::Address;
use crate::cx::Activity;
use crate::event::Event;
use crate::evidence::Evidence;
use crate::id::{Generation, Instance};
use crate::membership::Merged;
use crate::membership::claim::{Accusers, Claim};
use crate::node::Node;
use crate::outbox::{Body, Intent};
use crate::status::Status;
use crate::wire::MIN_ACCUSATION_BYTES;

/// The pause between leaps of this node above [`Generation::MAX_START`], each by up to
/// [`Generation::MAX_HIGH_LEAP`]: 34 years of leaps to [`Generation::MAX`].
const HIGH_LEAP_INTERVAL: Duration = Duration::from_secs(1);

/// The most accusers that get a refutation directly for one datagram. Together with the reply to
/// its sender, these are no more than three times the bytes of the accusation.
const MAX_ACCUSERS_TOLD: usize = 2;

impl<A: Address> Node<A> {
    /// Applies a claim about this node. A claim that beats our own is refuted at once, one
    /// generation above it.
    pub(super) fn apply_claim_about_self(&mut self, claim: &Claim<'_, A>) {
        let held = self.cx.table.claim(self.cx.this.slot);
        if self.cx.activity != Activity::Active {
            return;
        }
        if !claim.precedence().beats(&held.precedence()) {
            // The accusation is refuted already, but its sender has missed the refutation. The
            // reply repeats it.
            if claim.status != Status::Alive {
                self.add_wrong_accusers(&claim.accusers);
            } else if claim.instance != self.cx.this.instance {
                self.notice_rival(claim);
            }
            return;
        }
        let held = held.generation;
        if self.is_far(claim.generation, held) && self.cx.asks_for_proof() {
            self.inquire();
        }
        let Some(generation) = self.generation_above(claim.generation, held) else {
            self.cx.stats.claims_implausible += 1;
            return;
        };
        // Instance 0 comes from a host that introduced this node without knowing its instance. It
        // is no other process.
        let instance = self.cx.this.instance;
        let other_process = claim.instance != instance && claim.instance != Instance(0);
        if other_process && claim.status == Status::Alive && self.yields_or_waits(claim) {
            return;
        }
        // A leap that is not yet above the claim refutes nothing.
        let refutes = claim.status != Status::Alive && generation > claim.generation;
        self.add_accusation(claim);
        if refutes && !self.detector.may_refute(claim.generation, &mut self.cx) {
            return;
        }
        self.add_wrong_accusers(&claim.accusers);
        if claim.status == Status::Alive {
            self.cx.rumors.push_grounded(self.cx.this.slot);
            self.refute(generation);
        } else {
            self.refute(generation);
            self.detector.spread_refutation(&mut self.cx);
        }
    }

    /// Keeps who accuses this node, for [`Node::explain`].
    fn add_accusation(&mut self, claim: &Claim<'_, A>) {
        let (status, generation) = (claim.status, claim.generation);
        if status == Status::Alive {
            return;
        }
        let (by, others) = (claim.accusers.first().copied(), claim.accusers.iter().skip(1));
        let first = Evidence::Accused { by, status, generation };
        for evidence in iter::once(first).chain(others.map(|&by| Evidence::Confirmed { by })) {
            self.detector.add_own_incident(self.cx.now, evidence, &self.cx);
        }
    }

    fn refute(&mut self, generation: Generation) {
        self.set_own_status(generation, Status::Alive);
        self.detector.add_own_incident(self.cx.now, Evidence::Refuted { generation }, &self.cx);
        self.cx.stats.refutations += 1;
        self.cx.emit(Event::Refuted { generation });
    }

    /// Refutes an accusation that had to wait until a ping has reached this node.
    #[cold]
    pub(in crate::node) fn refute_late(&mut self, accusation: Generation) {
        let held = self.cx.table.row(self.cx.this.slot).generation;
        let Some(generation) = self.generation_above(accusation, held) else { return };
        if self.cx.activity == Activity::Active && generation > held {
            self.refute(generation);
            self.detector.spread_refutation(&mut self.cx);
        }
    }

    /// Returns the generation at which this node answers a claim about itself: one above the claim,
    /// or as near as it may come now. `None` if it must not climb now.
    ///
    /// The others take a refutation at any height from this node itself. Near the end of the range
    /// it climbs by a bounded leap per second, so that it never runs out of generations. It climbs
    /// faster than a second claim can lead a first, so that a process that has restarted without
    /// its generation comes back.
    fn generation_above(&self, claimed: Generation, held: Generation) -> Option<Generation> {
        if !self.is_far(claimed, held) {
            return Some(claimed.next());
        }
        if !self.cx.asks_for_proof() {
            return None;
        }
        let since = self.cx.table.row(self.cx.this.slot).observed();
        if self.cx.now.since(since) < HIGH_LEAP_INTERVAL {
            return None;
        }
        let reach = held.max(Generation::MAX_START).0.saturating_add(Generation::MAX_HIGH_LEAP);
        Some(claimed.next().min(Generation(reach)))
    }

    /// Whether a claim about this node is so high that it is not answered at once.
    fn is_far(&self, claimed: Generation, held: Generation) -> bool {
        claimed > self.highest_refuted_at_once() && !claimed.is_near(held)
    }

    /// The highest claim about this node that it answers whatever its own generation is.
    ///
    /// Where others ask for this node's word, they may hold an accusation of the highest claim that
    /// they believe of anyone, and a process that has lost its generation may have refuted lies at
    /// that height before. Where they do not ask, they would not take so high an answer.
    fn highest_refuted_at_once(&self) -> Generation {
        let Generation(highest) = Generation::MAX_START;
        let room = if self.cx.asks_for_proof() { Generation::MAX_LEAP } else { 0 };
        Generation(highest + room)
    }

    /// Remembers the accusers in the present datagram, which are to get the refutation directly.
    fn add_wrong_accusers(&mut self, accusers: &Accusers) {
        if !self.cx.config.detector.status_pings {
            return;
        }
        for &accuser in accusers.iter().take(MAX_ACCUSERS_TOLD) {
            if !self.wrong_accusers.contains(&accuser) {
                // Further accusers get the refutation as a rumor.
                let _ = self.wrong_accusers.try_push(accuser);
            }
        }
    }

    /// Sends the refutation to the accusers directly, since it is their suspicions that run out.
    ///
    /// Each accuser gets one per datagram received. To an accuser that has not proved its address,
    /// the size is limited by the smallest datagram that can carry an accusation. One that the
    /// reply to the datagram has `told`, or that is asked about its accusation, gets no other.
    pub(in crate::node) fn tell_accusers(&mut self, told: Option<A>) {
        for accuser in core::mem::take(&mut self.wrong_accusers) {
            let table = &self.cx.table;
            let slot = table.with_id_hash(accuser).next().filter(|&slot| table.can_probe(slot));
            if let Some((slot, to)) = slot.and_then(|slot| Some((slot, table.address(slot)?)))
                && told != Some(to)
                && !self.detector.hearsay.asks_now(to, self.cx.this.slot, self.cx.now)
            {
                let limit = self.cx.limit_to(Some(slot), MIN_ACCUSATION_BYTES);
                self.cx.ask(Intent::new(to, Some(slot), limit).with_body(Body::Introduction));
            }
        }
    }

    /// Sets our own status and generation. Whether the change is a rumor is up to the caller.
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
            self.cx.emit(match status {
                Status::Left => Event::Left { id, generation },
                _ => Event::Alive { id, generation },
            });
        }
    }
}
