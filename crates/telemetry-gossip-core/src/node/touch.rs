//! Suspicions that run out, the roll calls that must come before a death, and isolation.

use core::time::Duration;

use super::{CHARGES, Node};
use crate::address::Address;
use crate::config::Mode;
use crate::contact::Finding;
use crate::event::{Event, IsolationEnd};
use crate::history::Evidence;
use crate::id::RequestId;
use crate::member::Status;
use crate::membership::Slot;
use crate::outbox::{Body, Intent, Signal};
use crate::patience::Due;
use crate::probe::{Probe, can_probe};
use crate::time::Instant;

impl<A: Address> Node<A> {
    /// When a suspicion runs out; not while a roll call or an isolation holds all of them.
    pub(super) fn suspicion_deadline(&self) -> Option<Instant> {
        if self.contact.is_calling() || self.contact.is_isolated() {
            None
        } else {
            self.suspicions.deadline()
        }
    }

    pub(super) fn expire_suspicions(&mut self) {
        while !self.contact.is_calling() && !self.contact.is_isolated() {
            if let Some((slot, left)) = self.suspicions.call(self.now, self.call_gap()) {
                self.ping_to_tell(slot);
                // By the end it is known, too, whether this node is in touch.
                let started = self.suspicions.get(slot).map(|suspected| suspected.started);
                if left <= self.config.probe_timeout
                    && started.is_some_and(|started| self.must_call_roll(started))
                {
                    self.begin_roll_call();
                }
                continue;
            }
            let Some((slot, suspected)) = self.suspicions.due(self.now) else {
                self.suspicions.settle();
                return;
            };
            if self.must_call_roll(suspected.started) {
                self.begin_roll_call();
            } else {
                self.declare_dead(slot);
                // Whatever the table made of it, this suspicion is over.
                self.suspicions.clear(slot);
            }
        }
    }

    /// How long after each other suspects are called.
    pub(super) fn call_gap(&self) -> Duration {
        self.config.probe_timeout / 2
    }

    /// Whether a suspicion that began at `started` may not become a death yet.
    fn must_call_roll(&self, started: Instant) -> bool {
        self.config.detector.roll_calls && !self.contact.is_verified_since(started)
    }

    pub(super) fn begin_roll_call(&mut self) {
        let others = self.table.slots().filter(|&slot| can_probe(&self.table, slot)).count();
        let rank = self.rng.below(self.table.len());
        self.contact.begin(self.now, others, rank);
        self.stats.roll_calls += 1;
        self.call_roll();
    }

    /// What is due of the roll call: the next round, or its end.
    pub(super) fn call_roll(&mut self) {
        while self.contact.is_due(self.now)
            || (self.contact.is_calling() && self.contact.is_clear())
        {
            if self.contact.is_clear() || !self.contact.has_rounds() {
                self.conclude_roll_call();
                continue;
            }
            // Those silent are asked again, under the same numbers.
            for asked in self.contact.silent() {
                self.ping(asked.slot, asked.number);
            }
            let pace = self.roll_call_pace();
            let mut wanted = self.contact.next_round(self.now, pace);
            while wanted > 0 {
                let Some(rank) = self.contact.next_rank(self.table.len()) else { break };
                if let Some(slot) = self.table.at_rank(rank)
                    && can_probe(&self.table, slot)
                {
                    let number = self.number();
                    self.contact.ask(slot, number);
                    self.ping(slot, number);
                    wanted -= 1;
                }
            }
        }
    }

    /// How long a round waits for answers: a timeout, or two where this node doubts itself.
    /// Otherwise answers that are a little late would leave each roll call in doubt, and no crash
    /// would ever be found. Where answers are slower still, refutations come too late as well, and
    /// doubt is right.
    fn roll_call_pace(&self) -> Duration {
        let timeout = self.config.probe_timeout;
        self.probe_timeout().min(timeout * 2)
    }

    fn conclude_roll_call(&mut self) {
        match self.contact.conclude(self.now, self.config.probe_interval * 2) {
            Some(Finding::InTouch { doubtful }) => {
                match (self.contact.is_isolated(), doubtful) {
                    (true, false) => {
                        // Probes failed for the cut: who has crashed meanwhile is not to wait for a
                        // node that doubts itself.
                        self.local_health.clear();
                        self.plan_probe(self.rounds.round(self.now));
                    }
                    (false, true) => {
                        self.suspicions.doubt(self.now, &self.timing());
                        self.drop_probe();
                        self.drop_charges();
                    }
                    (true, true) | (false, false) => {}
                }
                for charge in core::mem::take(&mut self.charges) {
                    self.accuse_if_unchanged(&charge);
                }
                let end = if self.config_may_reconnect {
                    IsolationEnd::ClusterConfig
                } else {
                    IsolationEnd::Contact
                };
                self.end_isolation(end);
            }
            Some(Finding::CutOff { lost, of }) => {
                self.drop_charges();
                self.patience.adjourn();
                self.config_may_reconnect = false;
                if self.contact.isolate(self.now) {
                    self.emit(Event::Isolated { lost, of });
                }
            }
            None => {}
        }
    }

    /// The suspicions that were held begin anew: whoever is there has its full time to refute.
    fn end_isolation(&mut self, end: IsolationEnd) {
        self.config_may_reconnect = false;
        if self.contact.reconnect() {
            self.suspicions.restart(self.now, &self.timing());
            self.drop_probe();
            self.emit(Event::Reconnected { end });
        }
    }

    /// The probe of a member failed: it is accused once a roll call has shown that this node is not
    /// the one out of touch. Whoever is cut off accuses nobody.
    pub(super) fn charge(&mut self, probe: Probe<A>) {
        if self.config.mode == Mode::ProbeOnly {
            return;
        }
        if self.contact.is_isolated() {
            self.note(probe.target, Evidence::NotAccused);
            return;
        }
        let probe =
            if self.config.detector.flap_damping { self.put_on_trial(probe) } else { Some(probe) };
        if let Some(probe) = probe {
            self.charge_now(probe);
        }
    }

    /// Gives the probe back if there is no trial.
    fn put_on_trial(&mut self, probe: Probe<A>) -> Option<Probe<A>> {
        let target = probe.target;
        if self.patience.is_on_trial(target) {
            return None;
        }
        match self.patience.try_member(probe, self.now) {
            Ok(pings) => {
                self.note(target, Evidence::Recheck { pings });
                None
            }
            Err(probe) => Some(probe),
        }
    }

    /// This node was itself out of touch: nobody is accused of what went unanswered.
    fn drop_charges(&mut self) {
        for charge in core::mem::take(&mut self.charges) {
            self.note(charge.target, Evidence::NotAccused);
        }
    }

    /// What is due of the trials.
    pub(super) fn advance_trials(&mut self) {
        while let Some(due) = self.patience.due(self.now, self.call_gap()) {
            match due {
                Due::Ping(slot, number) => self.ping(slot, number),
                Due::Failed(probe) => self.charge_now(probe),
            }
        }
    }

    fn charge_now(&mut self, probe: Probe<A>) {
        if self.contact.is_isolated() {
            self.note(probe.target, Evidence::NotAccused);
            return;
        }
        if !self.config.detector.roll_calls {
            self.accuse_if_unchanged(&probe);
        } else if self.charges.len() < CHARGES {
            self.charges.push(probe);
            if !self.contact.is_calling() {
                self.begin_roll_call();
            }
        }
    }

    /// The silence is evidence about what was held when the probe began: the member may have
    /// refuted, moved or restarted meanwhile.
    fn accuse_if_unchanged(&mut self, probe: &Probe<A>) {
        let row = self.table.row(probe.target);
        let refuted = row.status == Status::Alive && row.generation > probe.generation;
        let moved = row.instance != probe.instance || row.address() != Some(probe.address);
        if !refuted && !moved {
            self.accuse(probe.target);
        }
    }

    /// This node was out of touch for a while: what went unanswered meanwhile is held against
    /// nobody.
    fn drop_probe(&mut self) {
        if let Some(probe) = self.probe.take_if(|probe| !probe.commanded) {
            self.probe_at = self.probe_at.min(probe.deadline);
        }
    }

    /// The losses are real: the suspicions go on, and no roll call holds them until one succeeds by
    /// itself.
    pub(super) fn accept_loss(&mut self, end: IsolationEnd) {
        if self.contact.is_isolated() {
            self.contact.vouch();
            self.end_isolation(end);
        }
    }

    /// Asks whether the isolation is over, or takes it for the truth after its limit.
    pub(super) fn review_isolation(&mut self) {
        if let (Some(since), Some(limit)) =
            (self.contact.isolated_since(), self.config.isolation_limit)
            && self.now >= since + limit
        {
            self.accept_loss(IsolationEnd::Limit);
        }
        if self.contact.is_again_due(self.now) && !self.contact.is_calling() {
            self.begin_roll_call();
        }
    }

    /// The node was not called for longer than it asked for: it slept, and what it awaited may have
    /// come and gone. Nothing that ran out meanwhile is held against anybody.
    pub(super) fn notice_pause(&mut self, now: Instant) {
        // Nobody is later than the time that has passed.
        if now.since(self.now) > self.config.probe_timeout {
            self.judge_pause(now);
        }
    }

    #[inline(never)]
    fn judge_pause(&mut self, now: Instant) {
        let Some(deadline) = self.poll_timeout() else { return };
        let late = now.since(deadline.max(self.now));
        if late <= self.config.probe_timeout {
            return;
        }
        self.stats.pauses += 1;
        self.local_health.worse(1);
        self.contact.abort(now);
        self.contact.postpone(late);
        self.drop_charges();
        self.patience.adjourn();
        self.suspicions.postpone(late);
        if let Some(probe) = self.probe.take()
            && probe.commanded
        {
            self.probes_wanted.push_front(self.table.id(probe.target));
        }
        self.probe_at = self.probe_at.max(now);
    }

    /// Pings a member that is in doubt or dead: the ping tells it so. Its answer proves its
    /// address, and no more; what counts is the claim that comes along.
    pub(super) fn ping_to_tell(&mut self, slot: Slot) {
        let number = self.table.address(slot).and_then(|address| self.challenge(address, 0));
        self.ping(slot, number.unwrap_or_default());
    }

    pub(super) fn ping(&mut self, slot: Slot, number: RequestId) {
        if let Some(to) = self.table.address(slot) {
            let signal = Signal::Ping(number, self.table.id_hash(slot));
            let limit = self.mtu();
            self.ask(Intent {
                to,
                member: Some(slot),
                signal,
                challenge: None,
                body: Body::None,
                limit,
            });
        }
    }

    /// How long one stage of a probe lasts.
    pub(super) fn probe_timeout(&self) -> Duration {
        self.local_health.stretch(self.config.probe_timeout)
    }
}
