//! Time: what is due, in the order in which one thing may follow from another.

use super::{Activity, Node};
use crate::address::Address;
use crate::config::Mode;
use crate::event::{Event, IsolationEnd, ProbeOutcome, RemovalReason};
use crate::history::Evidence;
use crate::id::{IdHash, Instance};
use crate::join::FANOUT;
use crate::member::Status;
use crate::membership::Slot;
use crate::outbox::{Body, Intent, Signal};
use crate::probe::{Helper, Probe, Stage, can_probe};
use crate::schedule::shift;
use crate::time::Instant;

impl<A: Address> Node<A> {
    #[inline(never)]
    pub(super) fn tick(&mut self) {
        if self.activity == Activity::Inactive {
            return;
        }
        if self.advance_probe() && self.quiet {
            // As in most nodes at most times.
            self.start_probe();
            return;
        }
        // A roll call that asks whom is forgotten is given up, and a probe of it ends: what comes
        // next begins anew.
        self.forget_expired();
        self.advance_trials();
        if !self.charges.is_empty() && !self.contact.is_calling() {
            // The one under way was given up.
            self.begin_roll_call();
        }
        self.call_roll();
        self.review_isolation();
        self.expire_suspicions();
        self.send_nacks();
        self.start_probe();
        self.reconnect();
        self.advance_join();
        self.expire_session();
        self.catch_up();
        self.gossip();
        self.make_debut();
        self.send_flights();
        self.finish_leaving();
        self.quiet = self.is_quiet();
    }

    /// A stage of the probe may have run out; false if that was the last and the probe has failed.
    fn advance_probe(&mut self) -> bool {
        let Some(probe) = self.probe.as_mut().filter(|probe| probe.deadline <= self.now) else {
            return true;
        };
        // A late tick takes no time from what comes.
        probe.ends = probe.ends + self.now.since(probe.deadline);
        let retries = self.config.detector.retries;
        let next = match probe.stage {
            Stage::Direct if retries => {
                Some((Stage::Indirect, self.now + probe.ends.since(self.now) / 2))
            }
            Stage::Direct => Some((Stage::Indirect, probe.ends)),
            Stage::Indirect if retries => Some((Stage::Last, probe.ends)),
            Stage::Indirect | Stage::Last => None,
        };
        if let Some((stage, deadline)) = next {
            (probe.stage, probe.deadline) = (stage, deadline);
            let (number, target) = (probe.number, probe.target);
            self.ask_helpers(target);
            if retries {
                // A lost ping must not cost a suspicion where nobody can help.
                self.ping(target, number);
            }
            return true;
        }
        let Some(probe) = self.probe.take() else { return true };
        self.stats.probes_failed += 1;
        self.local_health.worse(probe.blame(self.config.detector.nacks));
        self.note(probe.target, Evidence::ProbeFailed { helpers: probe.witnesses() });
        self.report(probe.target, probe.commanded, ProbeOutcome::Failed);
        self.charge(probe);
        false
    }

    fn ask_helpers(&mut self, target: Slot) {
        let Some(mut probe) = self.probe.take() else { return };
        let wanted =
            usize::from(self.config.indirect_probes).min(probe.helpers.remaining_capacity());
        let id_hash = self.table.id_hash(target);
        for _ in 0..wanted {
            let (table, helpers) = (&self.table, &probe.helpers);
            let helper = table.random(&mut self.rng, |slot| {
                let helps =
                    slot != target && can_probe(table, slot) && table.status(slot) == Status::Alive;
                helps && !helpers.iter().any(|helper| table.address(slot) == Some(helper.address))
            });
            let Some((helper, to)) =
                helper.and_then(|slot| Some((slot, self.table.address(slot)?)))
            else {
                break;
            };
            probe.helpers.push(Helper {
                address: to,
                id_hash: table.id_hash(helper),
                nacked: false,
            });
            let signal = Signal::Relay(probe.number, id_hash, probe.address);
            let limit = self.mtu();
            self.ask(Intent {
                to,
                member: Some(helper),
                signal,
                challenge: None,
                body: Body::None,
                limit,
            });
        }
        if probe.stage == Stage::Indirect {
            probe.judged = probe.helpers.len();
        }
        self.probe = Some(probe);
    }

    /// Tells the host how a probe ended, if it asked for it.
    pub(super) fn report(&mut self, target: Slot, commanded: bool, outcome: ProbeOutcome) {
        if commanded {
            let id = self.table.id(target);
            self.emit(Event::ProbeCompleted { id, outcome });
        }
    }

    /// The next probe: that of the cycle if its time has come, or one that the host wants. They do
    /// not starve each other: a probe takes two timeouts at most, which is less than the interval.
    pub(super) fn start_probe(&mut self) {
        if self.probe.is_some() {
            return;
        }
        if self.config.mode == Mode::Autonomous && self.probe_at <= self.now {
            let scheduled = self.scheduled_target();
            self.probed_at = self.now;
            self.pacer.probed(self.now);
            self.plan_probe(self.round + u64::from(self.local_health.score()) + 1);
            let table = &self.table;
            let target = if self.config.detector.shared_schedule {
                // Whom the schedule names may have no address, or be this node itself in another's
                // roster.
                scheduled.or_else(|| table.random(&mut self.rng, |slot| can_probe(table, slot)))
            } else {
                self.cycle.draw(&mut self.rng, |slot| can_probe(table, slot))
            };
            if target.is_some_and(|slot| self.probe(slot, false)) {
                return;
            }
        }
        while let Some(id) = self.probes_wanted.pop_front() {
            let slot = self.table.find(id.as_str()).filter(|&slot| slot != self.me);
            let slot = slot.filter(|&slot| self.table.status(slot) != Status::Left);
            if let Some(slot) = slot
                && self.probe(slot, true)
            {
                return;
            }
            self.emit(Event::ProbeCompleted { id, outcome: ProbeOutcome::NotProbed });
        }
    }

    /// Whom the common schedule has this node probe in its round.
    fn scheduled_target(&mut self) -> Option<Slot> {
        if !self.config.detector.shared_schedule {
            return None;
        }
        let rank = self.target_rank(self.round);
        self.table.at_live_rank(rank).filter(|&slot| can_probe(&self.table, slot))
    }

    fn target_rank(&mut self, round: u64) -> usize {
        let members = self.table.live() as usize;
        if self.rank.0 != self.table.roster_version() {
            self.rank = (self.table.roster_version(), self.table.live_rank(self.me));
        }
        (self.rank.1 + shift(round, members)) % members.max(1)
    }

    /// Sets the time of the next probe: that of its round, but neither sooner than the pace allows,
    /// whatever others say the time is, nor later than two intervals after the last.
    pub(super) fn plan_probe(&mut self, round: u64) {
        let interval = self.config.probe_interval;
        if !self.config.detector.shared_schedule {
            self.probe_at = self.probed_at + self.local_health.stretch(interval);
            return;
        }
        let on = self.rounds.round(self.now);
        // Rounds that went by are not made up for.
        self.round = round.max(on);
        let (rank, members) = (self.target_rank(self.round) as u64, u64::from(self.table.live()));
        let at = self.rounds.time_in(self.round, 2 * rank + 1, 2 * members);
        let latest = self.probed_at + self.local_health.stretch(interval) * 2;
        self.probe_at = at.min(latest).max(self.pacer.earliest());
    }

    /// A member's round clock; if it is ahead, so is the next probe.
    pub(super) fn hear_clock(&mut self, slot: Slot, clock: u32) {
        if self.table.is_live(slot)
            && self.config.detector.shared_schedule
            && self.rounds.hear(clock, self.now)
        {
            self.plan_probe(self.round);
        }
    }

    fn probe(&mut self, target: Slot, commanded: bool) -> bool {
        let Some(address) = self.table.address(target) else { return false };
        let number = self.number();
        self.stats.probes += 1;
        let timeout = self.probe_timeout();
        let direct = if self.config.detector.retries {
            self.table.row(target).round_trip.patience(timeout)
        } else {
            timeout
        };
        self.probe = Some(Probe {
            number,
            target,
            address,
            instance: self.table.row(target).instance,
            generation: self.table.row(target).generation,
            stage: Stage::Direct,
            started: self.now,
            deadline: self.now + direct,
            ends: self.now + timeout * 2,
            helpers: Default::default(),
            judged: 0,
            commanded,
        });
        self.ping(target, number);
        true
    }

    fn send_nacks(&mut self) {
        while let Some((asker, number)) = self.relays.due(self.now) {
            if self.config.detector.nacks {
                self.answer_asker(asker, Signal::Nack(number));
            }
        }
    }

    /// One of the dead is told what is held of it; if it is back, or never was away, it refutes.
    fn reconnect(&mut self) {
        if self.config.mode != Mode::Autonomous
            || self.reconnect_at > self.now
            || self.tombstones.is_empty()
        {
            return;
        }
        let pause = self.config.reconnect_interval;
        self.reconnect_at = self.now + pause / 2 + self.jitter(pause);
        let table = &self.table;
        let dead = |slot| table.status(slot) == Status::Dead && table.address(slot).is_some();
        if let Some(slot) = table.random(&mut self.rng, dead) {
            self.ping_to_tell(slot);
        }
    }

    fn forget_expired(&mut self) {
        while let Some(slot) = self.tombstones.due(self.now) {
            if slot == self.me {
                self.tombstones.clear(slot);
            } else {
                self.remove(slot, RemovalReason::Expired);
            }
        }
    }

    /// Takes a member out of every structure.
    pub(super) fn remove(&mut self, slot: Slot, reason: RemovalReason) {
        self.suspicions.clear(slot);
        self.tombstones.clear(slot);
        self.news.forget(slot);
        self.trees.forget(slot);
        self.cycle.remove(slot);
        self.changed.retain(|&(changed, ..)| changed != slot);
        if let Some(probe) = self.probe.take_if(|probe| probe.target == slot) {
            self.report(probe.target, probe.commanded, ProbeOutcome::NotProbed);
        }
        self.charges.retain(|charge| charge.target != slot);
        self.patience.forget(slot);
        self.history.forget(slot);
        if self.contact.asked().iter().any(|asked| asked.slot == slot) {
            self.contact.abort(self.now);
        }
        if let Some(id) = self.table.remove(slot) {
            self.emit(Event::Removed { id, reason });
            if let Some(session) = self.session.take_if(|session| session.peer == slot) {
                self.fail_session(session, id);
            }
        }
    }

    pub(super) fn advance_join(&mut self) {
        let Some(join) = &mut self.join else { return };
        if join.failed(self.now, self.now + self.config.join_timeout) {
            self.emit(Event::JoinFailed);
        }
        let retry_at = self.now + self.config.probe_timeout * 2;
        let Some(join) = &mut self.join else { return };
        let Some((seeds, number)) = join.due(self.now, retry_at) else { return };
        let start = self.rng.below(seeds.len());
        let limit = self.config.mtu.into();
        for seed in seeds.iter().cycle().skip(start).take(seeds.len().min(FANOUT)) {
            let body = Body::PageRequest(number, IdHash(0));
            let intent = Intent {
                to: *seed,
                member: None,
                signal: Signal::None,
                challenge: None,
                body,
                limit,
            };
            if !self.outbox.question(intent) {
                self.stats.outbox_shed += 1;
            }
        }
    }

    /// When to gossip: at once if there is news and the last time is long enough ago.
    pub(super) fn gossip_deadline(&self) -> Option<Instant> {
        let speaks =
            self.config.mode == Mode::Autonomous || matches!(self.activity, Activity::Leaving(_));
        if !speaks || self.news.is_idle() || self.others() == 0 {
            return None;
        }
        Some(self.gossiped_at.map_or(self.now, |at| at + self.config.gossip_interval))
    }

    fn gossip(&mut self) {
        if self.gossip_deadline().is_none_or(|deadline| deadline > self.now) {
            return;
        }
        self.gossiped_at = Some(self.now);
        let fanout = usize::from(self.config.gossip_fanout);
        let mut chosen = arrayvec::ArrayVec::<Slot, 16>::new();
        for _ in 0..fanout.min(chosen.capacity()) {
            let table = &self.table;
            let eligible = |slot| can_probe(table, slot) && !chosen.contains(&slot);
            let Some(slot) = table.random(&mut self.rng, eligible) else { break };
            chosen.push(slot);
        }
        for slot in chosen {
            if let Some(to) = self.table.address(slot) {
                let limit = self.mtu();
                let (signal, body) = (Signal::None, Body::Gossip);
                let intent =
                    Intent { to, member: Some(slot), signal, challenge: None, body, limit };
                if !self.outbox.gossip(intent) {
                    self.stats.outbox_shed += 1;
                }
            }
        }
    }

    pub(super) fn finish_leaving(&mut self) {
        let Activity::Leaving(until) = self.activity else { return };
        let told = !self.news.is_news(self.me);
        if told || until <= self.now || self.others() == 0 {
            self.retire();
            self.emit(Event::LeaveCompleted);
        }
    }

    /// The probe under way got an answer of this kind.
    pub(super) fn end_probe(&mut self, outcome: ProbeOutcome) {
        let Some(probe) = &self.probe else { return };
        let Probe { target, address, instance, stage, started, commanded, .. } = *probe;
        self.probe = None;
        self.local_health.better();
        if outcome == ProbeOutcome::Indirect {
            self.stats.probes_indirect += 1;
        }
        if self.table.row(target).is_at(&address) {
            let direct = outcome == ProbeOutcome::Direct;
            if direct && stage == Stage::Direct {
                // Later it would not be known which ping was answered.
                self.table.note_round_trip(target, self.now.since(started));
            }
            self.table.heard(target, self.now, direct && instance != Instance(0));
        }
        self.report(target, commanded, outcome);
        self.start_probe();
    }

    /// Ends an isolation by the host's word.
    pub(super) fn accept_loss_now(&mut self) {
        self.accept_loss(IsolationEnd::HostsWord);
    }
}
