//! The claims in a datagram: what enters the table, what is looked into first, and what the reply
//! has to say.

use super::Node;
use super::apply::{Applied, Asked, HeldUnderId};
use super::reply::Reply;
use crate::address::Address;
use crate::cx::Activity;
use crate::membership::Slot;
use crate::membership::claim::Claim;
use crate::status::Status;
use crate::wire::items::ClaimsIn;

impl<A: Address> Node<A> {
    /// Applies the claims of a frame.
    pub(super) fn on_claims(&mut self, from: A, claims: ClaimsIn<'_, A>, reply: &mut Reply<A>) {
        let own = self.cx.this.address;
        // In a session an answer follows, and perhaps the next session: one datagram leads to no
        // more than that. An accusation is heard again.
        let looks = reply.heard.rumor && reply.heard.asked == Asked::No;
        for mut claim in claims {
            if claim.address.is_some_and(|at| at != own && !self.cx.believes(&at)) {
                self.cx.stats.addresses_refused += 1;
                continue;
            }
            if !claim.accusers.is_empty() {
                self.hear_accusers(from, &mut claim, reply);
            }
            // Only the first claim about this node counts: a datagram with many must not raise its
            // generation many times.
            if claim.id == self.cx.this.id.as_str() {
                if core::mem::replace(&mut reply.about_self, true) {
                    continue;
                }
                reply.held_under_id = HeldUnderId::of(&claim, self.cx.this.instance);
            }
            reply.refutes_death |= self.refutes_death(reply.sender, &claim);
            let accuses = claim.status == Status::Suspected;
            if accuses && !self.admits_accusation(from, &claim) {
                reply.looked_into = reply.looked_into || (looks && self.look_into(&claim));
                continue;
            }
            if let Applied::Stale(slot) = self.apply_claim(&claim, &mut reply.heard) {
                // A sender that does not know that it is suspected or dead must learn of it.
                reply.correct_sender |=
                    self.cx.table.status(slot) != Status::Alive && reply.sender == Some(slot);
                if claim.status == Status::Dead
                    && claim.instance == self.cx.table.row(slot).instance
                {
                    self.detector.hear_outdated_death(slot, &self.cx);
                }
            }
            if claim.status != Status::Alive && claim.id == self.cx.this.id.as_str() {
                // Otherwise the two could send each other the same claims for ever.
                let row = self.cx.table.row(self.cx.this.slot);
                let refuted = row.generation > claim.generation;
                reply.accuses_self = refuted && self.cx.activity == Activity::Active;
            }
            if accuses && looks && !reply.looked_into {
                reply.looked_into = self.look_into(&claim);
            }
        }
    }

    /// Whether a sender that is held Dead or Left says that it is alive, above what is held. It may
    /// not be believed yet, but it knows.
    fn refutes_death(&self, sender: Option<Slot>, claim: &Claim<'_, A>) -> bool {
        sender.map(|slot| self.cx.table.row(slot)).is_some_and(|row| {
            !row.status.is_live()
                && claim.status.is_live()
                && claim.generation > row.generation
                && claim.id.as_bytes() == row.id_bytes()
        })
    }

    /// Hears which nodes accuse a member. Only this node itself says what it accuses, so its own
    /// name is left out; a member that this node has asked speaks for itself.
    #[inline(never)]
    fn hear_accusers(&mut self, from: A, claim: &mut Claim<'_, A>, reply: &mut Reply<A>) {
        let me = self.cx.this.id_hash;
        if let Some(accused) = self.cx.table.find(claim.id)
            && let Some(asked) = self.detector.hearsay.asked_at(from, accused)
            && claim.accusers.contains(&self.cx.table.id_hash(asked))
        {
            reply.testimony = Some(accused);
        }
        claim.accusers.retain(|accuser| *accuser != me);
    }

    /// Whether an accusation enters the table before its accuser has confirmed it.
    #[inline(never)]
    fn admits_accusation(&self, from: A, claim: &Claim<'_, A>) -> bool {
        let accused = self.cx.table.find(claim.id).filter(|&slot| slot != self.cx.this.slot);
        accused.is_none_or(|slot| self.detector.admits_accusation(slot, from, &self.cx))
    }

    /// Looks into an accusation; true if this node has asked another about it.
    #[inline(never)]
    fn look_into(&mut self, claim: &Claim<'_, A>) -> bool {
        let Some(accused) = self.cx.table.find(claim.id) else { return false };
        let row = self.cx.table.row(accused);
        let stands = match row.status {
            // What is held may be a lie at a higher generation.
            Status::Suspected => true,
            Status::Alive => accused == self.cx.this.slot,
            Status::Dead | Status::Left => claim.generation > row.generation,
        };
        row.instance == claim.instance
            && stands
            && self.detector.look_into(accused, &claim.accusers, &mut self.cx)
    }
}
