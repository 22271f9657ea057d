//! Claims: what the node does with what it is told, and how it answers what is said about itself.

use core::time::Duration;

use super::{Activity, Node, OUTBIDS, Rival};
use crate::address::Address;
use crate::config::Mode;
use crate::event::{Event, RemovalReason};
use crate::history::{Evidence, Incident};
use crate::id::{Generation, Instance, full_id_hash};
use crate::member::{Accusers, Claim, Status};
use crate::membership::{Merged, Slot};
use crate::outbox::{Body, Intent, Signal};
use crate::probe::can_probe;
use crate::suspicion::{Suspected, Timing};
use crate::wire::HEADER_LEN;

/// An accusation is at least this long: the header, a frame and a claim.
const ACCUSATION: usize = HEADER_LEN + 20;

/// What a claim was to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Learned {
    /// It changed the table, or was about this node.
    News,
    /// The table held it, or it was refused.
    Nothing,
    /// The table holds something higher about this member.
    Stale(Slot),
}

impl<A: Address> Node<A> {
    /// Takes in one claim, from whomever; what is not `news` to the others either is told to
    /// nobody.
    pub(super) fn learn(&mut self, claim: &Claim<'_, A>, news: bool) -> Learned {
        if claim.id == self.id.as_str() {
            self.learn_about_me(claim);
            return Learned::News;
        }
        if !self.cluster.admits(full_id_hash(claim.id.as_bytes())) {
            self.stats.claims_not_in_config += 1;
            return Learned::Nothing;
        }
        let age = Duration::from_secs(claim.age_secs.into());
        if !claim.status.is_live() && self.table.find(claim.id).is_none() {
            // The dead may not crowd out the living.
            let crowded = self.table.len() as u64 * 8 >= u64::from(self.config.max_members) * 7;
            if crowded || age >= self.config.tombstone_ttl {
                self.stats.claims_table_full += u64::from(crowded);
                return Learned::Nothing;
            }
        }
        let mut merged = self.table.merge_at(self.now, claim);
        if merged.0 == Merged::Full
            && let Some(oldest) = self.tombstones.first()
        {
            self.remove(oldest, RemovalReason::Expired);
            merged = self.table.merge_at(self.now, claim);
        }
        match merged {
            (Merged::Inserted, Some(slot)) => {
                self.enter_cycle(slot);
                if claim.status.is_live() {
                    let (id, generation) = (self.table.id(slot), claim.generation);
                    self.emit(Event::Joined { id, address: claim.address, generation });
                }
                self.follow(slot, claim, None);
                if news {
                    self.news.push(slot);
                }
                Learned::News
            }
            (Merged::Replaced { was, moved, renewed }, Some(slot)) => {
                if renewed {
                    self.trees.forget(slot);
                    self.note(slot, Evidence::Restarted);
                }
                if moved {
                    let id = self.table.id(slot);
                    self.emit(Event::Moved { id, address: claim.address });
                    self.note(slot, Evidence::Moved);
                }
                self.follow(slot, claim, Some(was));
                if news {
                    self.news.push(slot);
                }
                Learned::News
            }
            (Merged::Same, Some(slot)) => {
                self.confirm(slot, &claim.accusers);
                Learned::Nothing
            }
            (Merged::Stale, Some(slot)) => Learned::Stale(slot),
            (Merged::Full, _) => {
                self.stats.claims_table_full += 1;
                Learned::Nothing
            }
            (Merged::Implausible, _) => {
                self.stats.claims_implausible += 1;
                Learned::Nothing
            }
            (Merged::Inserted | Merged::Replaced { .. } | Merged::Same | Merged::Stale, None) => {
                Learned::Nothing
            }
        }
    }

    /// Keeps a piece of evidence, and tells the host what no other event does.
    pub(super) fn note(&mut self, slot: Slot, evidence: Evidence) {
        if self.config.mode == Mode::ProbeOnly {
            return;
        }
        self.history.note(slot, Incident { at: self.now, evidence });
        let told = match evidence {
            Evidence::Suspected { .. }
            | Evidence::Alive { .. }
            | Evidence::Left { .. }
            | Evidence::Moved => true,
            Evidence::Dead { here, .. } => !here,
            _ => false,
        };
        if !told {
            self.emit(Event::Evidence { id: self.table.id(slot), evidence });
        }
    }

    /// What follows from a row's new status.
    pub(super) fn follow(&mut self, slot: Slot, claim: &Claim<'_, A>, was: Option<Status>) {
        let (id, generation) = (self.table.id(slot), claim.generation);
        match claim.status {
            Status::Alive => {
                self.suspicions.clear(slot);
                self.tombstones.clear(slot);
                if let Some(was) = was.filter(|&was| was != Status::Alive) {
                    if was != Status::Left {
                        self.patience.strike(slot, self.now);
                    }
                    self.note(slot, Evidence::Alive { generation, was });
                }
                if was.is_some() {
                    self.emit(Event::Alive { id, generation });
                }
            }
            Status::Suspected => {
                self.tombstones.clear(slot);
                let mine = claim.accusers.contains(&self.id_hash);
                let mut accusers = Accusers::new();
                for &id_hash in &claim.accusers {
                    if self.is_member(id_hash, slot) && !accusers.contains(&id_hash) {
                        accusers.push(id_hash);
                    }
                }
                let first = accusers.first().copied();
                let by = first
                    .and_then(|id_hash| self.table.with_id_hash(id_hash).next())
                    .map(|slot| self.table.id(slot));
                let suspected =
                    Suspected::new(generation, accusers, mine, self.now, &self.timing());
                self.suspicions.start(slot, suspected);
                self.note(slot, Evidence::Suspected { by: first, generation });
                self.emit(Event::Suspected { id, generation, by });
            }
            Status::Dead | Status::Left => {
                self.suspicions.clear(slot);
                let age = Duration::from_secs(claim.age_secs.into());
                // However old the death: who still suspects the member must not bring it back.
                let least = self.config.suspicion_spans(self.table.live()).1 + self.settle_time();
                let rest = self.config.tombstone_ttl.saturating_sub(age).max(least);
                self.tombstones.set(slot, self.now + rest);
                if claim.status == Status::Dead {
                    self.emit(Event::Dead { id, generation });
                    self.note(
                        slot,
                        Evidence::Dead { generation, here: claim.accusers.contains(&self.id_hash) },
                    );
                } else {
                    self.emit(Event::Left { id, generation });
                    self.note(slot, Evidence::Left { generation });
                }
            }
        }
    }

    /// The same suspicion again: whoever is named for the first time is one more accuser, and worth
    /// telling.
    fn confirm(&mut self, slot: Slot, accusers: &Accusers) {
        let timing = self.timing();
        let mut news = false;
        for &id_hash in accusers {
            if self.is_member(id_hash, slot) {
                let new = self.suspicions.confirm(slot, id_hash, id_hash == self.id_hash, &timing);
                if new {
                    self.note(slot, Evidence::Confirmed { by: id_hash });
                }
                news |= new;
            }
        }
        if news {
            self.news.push(slot);
        }
    }

    /// Whether a member other than `slot` has this id hash: nobody else can accuse it.
    fn is_member(&self, id_hash: crate::id::IdHash, slot: Slot) -> bool {
        self.table.with_id_hash(id_hash).any(|accuser| accuser != slot)
    }

    /// How long suspicions last.
    pub(super) fn timing(&self) -> Timing {
        let (shortest, longest) = self.config.suspicion_spans(self.table.live());
        let detector = &self.config.detector;
        Timing {
            shortest,
            longest,
            others: if detector.roll_calls { 2 } else { 1 },
            call: detector.status_pings.then(|| self.call_gap()),
        }
    }

    /// A claim about this node that beats what it says itself is refuted at once, one generation
    /// above.
    fn learn_about_me(&mut self, claim: &Claim<'_, A>) {
        let mine = self.table.claim(self.me);
        if self.activity != Activity::Active {
            return;
        }
        if !claim.precedence().beats(&mine.precedence()) {
            // An accusation that is refuted already: its bearer has missed that, and is told again.
            if claim.status != Status::Alive {
                self.news.push(self.me);
                self.note_wrong(&claim.accusers);
            }
            return;
        }
        // Others believe accusations half as far ahead. The refutation has to be believed by
        // whoever holds the least.
        if !claim.generation.next().is_plausible(mine.generation) {
            self.stats.claims_implausible += 1;
            return;
        }
        // Instance 0 is a host's word about a member whose life it does not know: no other process.
        let rival = claim.instance != self.instance && claim.instance != Instance(0);
        if rival && claim.status == Status::Alive && self.contest(claim) {
            return;
        }
        if claim.instance == self.instance && claim.status != Status::Alive {
            self.local_health.worse(1);
        }
        let generation = claim.generation.next();
        self.state_of_me(generation, Status::Alive);
        self.note_wrong(&claim.accusers);
        self.stats.refutations += 1;
        self.emit(Event::Refuted { generation });
    }

    fn note_wrong(&mut self, accusers: &Accusers) {
        if !self.config.detector.status_pings {
            return;
        }
        for &id_hash in accusers {
            if !self.wrong.contains(&id_hash) {
                // More than that are told by rumor.
                let _ = self.wrong.try_push(id_hash);
            }
        }
    }

    /// A refutation goes to the accusers themselves, too: it is their time that runs. Each gets one
    /// a datagram, and one that has not proved its address no more than what is held against this
    /// node must be long.
    pub(super) fn tell_accusers(&mut self) {
        for id_hash in core::mem::take(&mut self.wrong) {
            let slot = self
                .table
                .with_id_hash(id_hash)
                .next()
                .filter(|&slot| can_probe(&self.table, slot));
            if let Some((slot, to)) = slot.and_then(|slot| Some((slot, self.table.address(slot)?)))
            {
                let (signal, body, limit) =
                    (Signal::None, Body::Introduction, self.limit_to(Some(slot), ACCUSATION));
                self.ask(Intent { to, member: Some(slot), signal, challenge: None, body, limit });
            }
        }
    }

    /// Another process outbids this one: after some rounds it is no ghost of an earlier life. The
    /// lower instance gives way. True if this node does, or has answered just now.
    fn contest(&mut self, claim: &Claim<'_, A>) -> bool {
        let new = Rival { instance: claim.instance, outbids: 0, not_before: self.now };
        let rival = self.rival.get_or_insert(new);
        if rival.instance != claim.instance {
            *rival = new;
        }
        if rival.not_before > self.now {
            return true;
        }
        rival.not_before = self.now + self.config.gossip_interval;
        rival.outbids = rival.outbids.saturating_add(1);
        let outbids = rival.outbids;
        let lost = self.instance < claim.instance;
        // The winner is told one outbid sooner: the loser is silent after its last.
        let proof = if lost { OUTBIDS } else { OUTBIDS - 1 };
        if outbids == proof {
            let (instance, address) = (claim.instance, claim.address);
            self.emit(Event::IdentityConflict { instance, address, lost });
        }
        let lost = lost && outbids >= proof;
        if lost {
            // The other process is the member now; this one keeps its view of it and is silent.
            self.retire();
        }
        lost
    }

    /// Makes this node's own record say so, and tells everybody.
    pub(super) fn state_of_me(&mut self, generation: Generation, status: Status) {
        let id = self.id;
        let claim = Claim {
            id: id.as_str(),
            address: Some(self.address),
            instance: self.instance,
            generation,
            status,
            accusers: Accusers::new(),
            age_secs: 0,
        };
        let (merged, _) = self.table.merge_at(self.now, &claim);
        if let Merged::Replaced { .. } = merged {
            self.table.heard(self.me, self.now, true);
            self.news.push(self.me);
            self.emit(match status {
                Status::Left => Event::Left { id, generation },
                _ => Event::Alive { id, generation },
            });
        }
    }

    /// From now on the node is inert.
    pub(super) fn retire(&mut self) {
        self.activity = Activity::Inactive;
        self.abandon_commands();
        self.outbox.clear();
        self.plans = crate::sync::Plans::default();
        self.join = None;
    }

    /// This node could not reach `slot`: a suspicion one generation above what was held, or one
    /// more accuser of the one there is.
    pub(super) fn accuse(&mut self, slot: Slot) {
        let id = self.table.id(slot);
        let held = self.table.claim(slot);
        let generation = match held.status {
            Status::Alive => held.generation.next(),
            Status::Suspected => held.generation,
            Status::Dead | Status::Left => return,
        };
        let claim = Claim {
            id: id.as_str(),
            address: held.address,
            instance: held.instance,
            generation,
            status: Status::Suspected,
            accusers: core::iter::once(self.id_hash).collect(),
            age_secs: 0,
        };
        self.learn(&claim, true);
    }

    /// The suspicion of `slot` was not refuted.
    pub(super) fn declare_dead(&mut self, slot: Slot) {
        let id = self.table.id(slot);
        let held = self.table.claim(slot);
        let (address, instance, generation) = (held.address, held.instance, held.generation);
        let claim = Claim {
            id: id.as_str(),
            address,
            instance,
            generation,
            status: Status::Dead,
            // Evidence for the history: the verdict is this node's.
            accusers: core::iter::once(self.id_hash).collect(),
            age_secs: 0,
        };
        self.learn(&claim, true);
    }
}
