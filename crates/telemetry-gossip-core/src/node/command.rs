//! Commands: carries out what the host asks for, or refuses it with an error that names the rule.
//!
//! A command that is refused changes nothing. Datagrams and ticks are no commands.

use super::Node;
use super::apply::MAX_OWN_VERSION;
use crate::address::Address;
use crate::cx::Activity;
use crate::error::CommandError;
use crate::event::{Event, IsolationEnd, RemovalReason};
use crate::id::{Generation, Instance, NodeId};
use crate::input::Input;
use crate::membership::Merged;
use crate::membership::claim::{Accusers, Claim};
use crate::membership::proof::Proof;
use crate::membership::telemetry_log::{LogEntry, MAX_ENTRIES, size_with, size_without_markers};
use crate::status::Status;

impl<A: Address> Node<A> {
    #[inline(never)]
    pub(super) fn command(&mut self, command: Input<'_, A>) -> Result<(), CommandError> {
        if let (Activity::Waiting(_), Input::Leave) = (self.cx.activity, &command) {
            self.retire();
            self.cx.emit(Event::LeaveCompleted { heard_by: 0, others: 0 });
            return Ok(());
        }
        if self.cx.activity != Activity::Active {
            return Err(CommandError::Inactive);
        }
        match command {
            Input::Tick | Input::Datagram { .. } | Input::Sealed { .. } | Input::Reseed { .. } => {
                Ok(())
            }
            Input::Join { seeds } => {
                self.anti_entropy.start_join(&seeds, &mut self.cx)?;
                self.dissemination.hold_back(&self.cx);
                Ok(())
            }
            Input::Seeds { seeds } => {
                self.anti_entropy.set_seeds(&seeds, &mut self.cx);
                Ok(())
            }
            Input::Peers { peers } => {
                if self.anti_entropy.remember_peers(&peers, &mut self.cx) {
                    self.dissemination.hold_back(&self.cx);
                }
                Ok(())
            }
            Input::Restored { entropy } => {
                self.reseed(&entropy);
                self.renew_instance();
                Ok(())
            }
            Input::Leave => {
                self.leave();
                Ok(())
            }
            Input::Publish { key, value, urgent } => self.publish(&key, Some(&value), urgent),
            Input::Unpublish { key } => {
                // A removal is as urgent as the entry that it removes.
                match self.me().value(&key).map(|entry| entry.urgent) {
                    Some(urgent) => self.publish(&key, None, urgent),
                    None => Ok(()),
                }
            }
            Input::Introduce { id, address, instance, generation } => {
                self.introduce(&id, address, instance, generation)
            }
            Input::Probe { id } => self.detector.want_probe(id, &mut self.cx),
            Input::Exchange => self.anti_entropy.want_exchange(&mut self.cx),
            Input::ApplyClusterConfig { version, members } => {
                self.apply_cluster_config(version, &members)
            }
            Input::AllowNetworks { networks } => {
                self.cx.allowed_networks = networks;
                Ok(())
            }
            Input::AcceptLoss => {
                self.detector.accept_loss(IsolationEnd::LossAccepted, &mut self.cx);
                Ok(())
            }
        }
    }

    /// Mixes randomness into that of the node, and forgets the secret of its challenges.
    pub(super) fn reseed(&mut self, entropy: &[u8; 32]) {
        self.cx.rng.mix(entropy);
        self.cx.proof = Proof::new(self.cx.rng.secret());
    }

    /// Sets an entry of this node's own telemetry, or removes it if `value` is `None`.
    fn publish(
        &mut self,
        key: &str,
        value: Option<&[u8]>,
        urgent: bool,
    ) -> Result<(), CommandError> {
        let cx = &mut self.cx;
        let max_key = usize::from(cx.config.max_key);
        if key.is_empty() || key.len() > max_key {
            return Err(CommandError::Key { len: key.len(), max: max_key });
        }
        let max_value = usize::from(cx.config.max_value);
        let value_len = value.map_or(0, <[u8]>::len);
        if value_len > max_value {
            return Err(CommandError::Value { len: value_len, max: max_value });
        }
        if cx.table.row(cx.this.slot).telemetry_version() >= MAX_OWN_VERSION {
            // No node gets here by publishing. A node that was restored here begins anew.
            self.renew_instance();
        }
        let cx = &mut self.cx;
        let me = cx.this.slot;
        let since = cx.table.row(me).telemetry_version();
        let entry =
            LogEntry { key: key.as_bytes(), value, version: since + 1, published: cx.now, urgent };
        let max = usize::try_from(cx.config.max_telemetry).unwrap_or(usize::MAX);
        let log = cx.table.row(me).log();
        let fits = |(len, entries): (usize, usize)| len <= max && entries <= MAX_ENTRIES;
        if !fits(size_with(log, &entry)) {
            // Dropping delete markers may make room. A refused command must not drop any, so
            // count without them first.
            let (len, entries) = size_without_markers(log, &entry);
            if len > max {
                return Err(CommandError::TelemetryFull { len, max });
            }
            if entries > MAX_ENTRIES {
                return Err(CommandError::TelemetryEntries { max: MAX_ENTRIES });
            }
            cx.table.drop_delete_markers(me, cx.now);
        }
        cx.table.set_entry(me, cx.now, &entry);
        cx.queue_change(me, since);
        self.dissemination.spread_own(since, cx);
        Ok(())
    }

    /// Enters a member that the host knows, as Alive, without making it a rumor.
    ///
    /// An unknown instance counts as 0, the lowest, so that any real one beats it.
    fn introduce(
        &mut self,
        id: &NodeId,
        address: Option<A>,
        instance: Option<Instance>,
        generation: Generation,
    ) -> Result<(), CommandError> {
        let cx = &mut self.cx;
        if *id == cx.this.id {
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
        if !cx.admission.admits(claim.id) {
            return Err(CommandError::MemberNotInClusterConfig);
        }
        if generation > Generation::MAX_START {
            return Err(CommandError::Generation { generation: generation.0 });
        }
        match cx.table.merge_at(cx.now, &claim) {
            (Merged::Full, _) => Err(CommandError::TableFull { max: cx.config.max_members }),
            (Merged::Inserted, Some(slot)) => {
                cx.table.introduced(slot);
                self.detector.schedule.add_member(slot, cx);
                cx.emit(Event::Joined { id: *id, address, generation });
                Ok(())
            }
            (Merged::Replaced { was, moved, .. }, Some(slot)) => {
                cx.table.introduced(slot);
                if moved {
                    cx.emit(Event::Moved { id: *id, address });
                }
                self.detector.set_status(slot, &claim, Some(was), cx);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Applies a cluster config, and removes the members that it does not name.
    fn apply_cluster_config(
        &mut self,
        version: u64,
        members: &[NodeId],
    ) -> Result<(), CommandError> {
        let me = self.cx.this.id;
        self.cx.admission.apply(version, members, me.as_str())?;
        let (table, admission) = (&self.cx.table, &self.cx.admission);
        let outside: alloc::vec::Vec<_> =
            table.slots().filter(|&slot| !admission.admits(table.row(slot).id())).collect();
        let removed = !outside.is_empty();
        for slot in outside {
            self.remove(slot, RemovalReason::NotInClusterConfig);
        }
        if removed {
            self.detector.on_config_change(&mut self.cx);
        }
        Ok(())
    }
}
