//! What the host wants.

use alloc::vec::Vec;

use super::{Activity, Node};
use crate::address::Address;
use crate::error::CommandError;
use crate::event::{Event, ExchangeOutcome, ProbeOutcome, RemovalReason};
use crate::id::{Generation, Instance, NodeId, full_id_hash};
use crate::input::Input;
use crate::join::Joining;
use crate::member::{Accusers, Claim, Status};
use crate::membership::Merged;
use crate::outbox::{Body, Intent, Signal};
use crate::probe::can_probe;
use crate::telemetry::{LogEntry, drop_markers, len_with};

/// The most probes, and the most exchanges, that wait for their turn.
const MAX_WANTED: usize = 1_024;

/// To how many members a leaving node says so itself.
const FAREWELLS: usize = 32;

impl<A: Address> Node<A> {
    #[inline(never)]
    pub(super) fn command(&mut self, command: Input<'_, A>) -> Result<(), CommandError> {
        if self.activity != Activity::Active {
            return Err(CommandError::Inactive);
        }
        match command {
            Input::Tick | Input::Datagram { .. } => Ok(()),
            Input::Join { seeds } => self.join(&seeds),
            Input::Leave => {
                self.leave();
                Ok(())
            }
            Input::Publish { key, value, urgent } => self.publish(&key, Some(&value), urgent),
            Input::Unpublish { key } => {
                // A removal is as urgent as what is removed.
                match self.me().value(&key).map(|entry| entry.urgent) {
                    Some(urgent) => self.publish(&key, None, urgent),
                    None => Ok(()),
                }
            }
            Input::Introduce { id, address, instance, generation } => {
                self.introduce(&id, address, instance, generation)
            }
            Input::Probe { id } => {
                if self.probes_wanted.len() >= MAX_WANTED {
                    return Err(CommandError::TooMany { max: MAX_WANTED });
                }
                self.probes_wanted.push_back(id);
                self.start_probe();
                Ok(())
            }
            Input::Exchange => {
                if self.exchanges_wanted >= MAX_WANTED {
                    return Err(CommandError::TooMany { max: MAX_WANTED });
                }
                self.exchanges_wanted += 1;
                self.start_wanted_exchange();
                Ok(())
            }
            Input::ApplyClusterConfig { version, members } => {
                self.apply_cluster_config(version, &members)
            }
            Input::AcceptLoss => {
                self.accept_loss_now();
                Ok(())
            }
        }
    }

    fn join(&mut self, seeds: &[A]) -> Result<(), CommandError> {
        let seeds: Vec<A> = seeds.iter().copied().filter(|&seed| seed != self.address).collect();
        if seeds.is_empty() {
            return Err(CommandError::NoSeeds);
        }
        let number = self.number();
        self.join =
            Some(Joining::new(seeds, number, self.now, self.now + self.config.join_timeout));
        self.advance_join();
        Ok(())
    }

    /// Left is said one generation above the own, which no suspicion under way can beat.
    fn leave(&mut self) {
        let generation = self.table.row(self.me).generation.next();
        let limit = u32::from(self.send_limit()).div_ceil(self.config.gossip_fanout.into());
        let grace = self.config.gossip_interval * (limit + 5);
        self.state_of_me(generation, Status::Left);
        self.activity = Activity::Leaving(self.now + grace);
        self.abandon_commands();
        self.join = None;
        self.say_farewell();
        self.finish_leaving();
    }

    /// Whoever awaits a probe or an exchange is told that there will be none.
    pub(super) fn abandon_commands(&mut self) {
        if let Some(probe) = self.probe.take() {
            self.report(probe.target, probe.commanded, ProbeOutcome::NotProbed);
        }
        while let Some(id) = self.probes_wanted.pop_front() {
            self.emit(Event::ProbeCompleted { id, outcome: ProbeOutcome::NotProbed });
        }
        let waiting = core::mem::take(&mut self.exchanges_wanted)
            + usize::from(self.exchange.take().is_some());
        for _ in 0..waiting {
            self.emit(Event::ExchangeCompleted { peer: None, outcome: ExchangeOutcome::Failed });
        }
        self.session = None;
    }

    /// In a small cluster everybody hears of the leave from the node itself: where many leave at
    /// once, rumors may find only others that leave.
    fn say_farewell(&mut self) {
        // From a random place on: those who leave together do not all tell the same.
        let (start, members) = (self.rng.below(self.table.len()), self.table.len());
        let round = (start..start + members).filter_map(|rank| self.table.at_rank(rank));
        let told: Vec<_> =
            round.filter(|&slot| can_probe(&self.table, slot)).take(FAREWELLS).collect();
        for slot in told {
            if let Some(to) = self.table.address(slot) {
                let (signal, body, limit) = (Signal::None, Body::Introduction, self.mtu());
                self.ask(Intent { to, member: Some(slot), signal, challenge: None, body, limit });
            }
        }
    }

    fn publish(
        &mut self,
        key: &str,
        value: Option<&[u8]>,
        urgent: bool,
    ) -> Result<(), CommandError> {
        let max_key = usize::from(self.config.max_key);
        if key.is_empty() || key.len() > max_key {
            return Err(CommandError::Key { len: key.len(), max: max_key });
        }
        let max_value = usize::from(self.config.max_value);
        let value_len = value.map_or(0, <[u8]>::len);
        if value_len > max_value {
            return Err(CommandError::Value { len: value_len, max: max_value });
        }
        let since = self.table.row(self.me).telemetry_version();
        let entry = LogEntry {
            key: key.as_bytes(),
            value,
            version: since + 1,
            published: self.now,
            urgent,
        };
        let max = usize::try_from(self.config.max_telemetry).unwrap_or(usize::MAX);
        let log = self.table.row(self.me).log();
        if len_with(log, &entry) > max {
            // What is refused drops nothing, so this is tried with a copy.
            let mut log = log.to_vec();
            drop_markers(&mut log, 0, self.now, true);
            let len = len_with(&log, &entry);
            if len > max {
                return Err(CommandError::TelemetryFull { len, max });
            }
            self.table.drop_markers(self.me, self.now);
        }
        self.table.set_entry(self.me, self.now, &entry);
        self.note_change(self.me, since);
        self.spread_own(since);
        Ok(())
    }

    /// The host's knowledge is held silently; an unknown instance is the lowest, which any real one
    /// beats.
    fn introduce(
        &mut self,
        id: &NodeId,
        address: Option<A>,
        instance: Option<Instance>,
        generation: Generation,
    ) -> Result<(), CommandError> {
        if *id == self.id {
            return Ok(());
        }
        let claim = Claim {
            id: id.as_str(),
            address,
            instance: instance.unwrap_or_default(),
            generation,
            status: Status::Alive,
            accusers: Accusers::new(),
            age_secs: 0,
        };
        if !self.cluster.admits(full_id_hash(claim.id.as_bytes())) {
            return Err(CommandError::MemberNotInClusterConfig);
        }
        match self.table.merge_at(self.now, &claim) {
            (Merged::Full, _) => Err(CommandError::TableFull { max: self.config.max_members }),
            (Merged::Implausible, _) => Err(CommandError::Generation { generation: generation.0 }),
            (Merged::Inserted, Some(slot)) => {
                self.enter_cycle(slot);
                self.emit(Event::Joined { id: *id, address, generation });
                Ok(())
            }
            (Merged::Replaced { was, moved, .. }, Some(slot)) => {
                if moved {
                    self.emit(Event::Moved { id: *id, address });
                }
                self.follow(slot, &claim, Some(was));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn apply_cluster_config(
        &mut self,
        version: u64,
        members: &[NodeId],
    ) -> Result<(), CommandError> {
        self.cluster.apply(version, members, self.table.hash(self.me))?;
        let outside: Vec<_> = self
            .table
            .slots()
            .filter(|&slot| !self.cluster.admits(self.table.hash(slot)))
            .collect();
        let removed = !outside.is_empty();
        for slot in outside {
            self.remove(slot, RemovalReason::NotInClusterConfig);
        }
        if removed && self.contact.is_isolated() {
            self.config_may_reconnect = true;
            self.begin_roll_call();
        }
        Ok(())
    }
}
