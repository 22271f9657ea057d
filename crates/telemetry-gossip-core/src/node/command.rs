//! What the host wants.

use alloc::vec::Vec;

use super::{Activity, Node};
use crate::address::Address;
use crate::dissemination::Topic;
use crate::error::CommandError;
use crate::event::{Event, ExchangeOutcome, RemovalReason};
use crate::id::{Generation, Instance, NodeId};
use crate::input::Input;
use crate::join::Joining;
use crate::member::{Accusers, Claim, Status};
use crate::membership::Merged;
use crate::telemetry::{TelemetryEntry, len_with};

/// The most probes that wait for their turn.
const MAX_PROBES_WANTED: usize = 1_024;

impl<A: Address> Node<A> {
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
            Input::Publish { key, value } => self.publish(&key, Some(&value)),
            Input::Unpublish { key } => {
                if self.me().value(&key).is_some() {
                    self.publish(&key, None)
                } else {
                    Ok(())
                }
            }
            Input::Introduce { id, address, instance, generation } => {
                self.introduce(&id, address, instance, generation)
            }
            Input::Probe { id } => {
                if self.probes_wanted.len() < MAX_PROBES_WANTED {
                    self.probes_wanted.push_back(id);
                }
                if self.probe.as_ref().is_some_and(|probe| !probe.commanded) {
                    self.probe = None;
                }
                self.start_wanted_probe();
                Ok(())
            }
            Input::Exchange => {
                self.exchanges_wanted = self.exchanges_wanted.saturating_add(1);
                self.start_wanted_exchange();
                Ok(())
            }
            Input::ApplyClusterConfig { version, members } => self.apply_cluster_config(version, &members),
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
        self.join = Some(Joining::new(seeds, number, self.now, self.now + self.config.join_timeout));
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
        self.probes_wanted.clear();
        self.exchanges_wanted = 0;
        if self.exchange.take().is_some() {
            self.emit(Event::ExchangeCompleted { peer: None, outcome: ExchangeOutcome::Failed });
        }
        self.session = None;
        self.join = None;
        self.finish_leaving();
    }

    fn publish(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), CommandError> {
        let max_key = usize::from(self.config.max_key);
        if key.is_empty() || key.len() > max_key {
            return Err(CommandError::Key { len: key.len(), max: max_key });
        }
        let max_value = usize::from(self.config.max_value);
        let value_len = value.map_or(0, <[u8]>::len);
        if value_len > max_value {
            return Err(CommandError::Value { len: value_len, max: max_value });
        }
        let row = self.table.row(self.me);
        let entry = TelemetryEntry { key, value, version: row.telemetry_version() + 1, published: self.now };
        let len = len_with(row.log(), &entry);
        let max = usize::try_from(self.config.max_telemetry).unwrap_or(usize::MAX);
        if len > max {
            return Err(CommandError::TelemetryFull { len, max });
        }
        self.table.set_entry(self.me, self.now, &entry);
        self.news.push(Topic::Telemetry, self.me);
        self.note_change(self.me);
        Ok(())
    }

    /// The host's knowledge is held silently; an unknown instance is the lowest, which any real one beats.
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
        match self.table.merge_at(self.now, &claim) {
            (Merged::Full, _) => Err(CommandError::TableFull { max: self.config.max_members }),
            (Merged::Implausible, _) => Err(CommandError::Generation { generation: generation.0 }),
            (Merged::Inserted, Some(slot)) => {
                self.cycle.insert(slot, &mut self.rng);
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

    fn apply_cluster_config(&mut self, version: u64, members: &[NodeId]) -> Result<(), CommandError> {
        self.cluster.apply(version, members, self.table.hash(self.me))?;
        let outside: Vec<_> =
            self.table.slots().filter(|&slot| !self.cluster.admits(self.table.hash(slot))).collect();
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
