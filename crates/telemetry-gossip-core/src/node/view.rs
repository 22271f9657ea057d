//! The read access of the host: members, explanations, health and counters. Nothing here changes
//! the node.

use alloc::vec::Vec;

use super::Node;
use crate::address::Address;
use crate::config::Config;
use crate::cx::Activity;
use crate::dropped::Drops;
use crate::evidence::{Explanation, OpenSuspicion};
use crate::id::{IdHash, NodeId};
use crate::membership::{Member, Membership};
use crate::stats::{Health, Stats};
use crate::status::Status;
use crate::time::Instant;

impl<A: Address> Node<A> {
    /// All members, including this node and the dead that are remembered, in an order that is the
    /// same on every node.
    pub fn members(&self) -> impl Iterator<Item = Member<'_, A>> {
        self.cx.table.iter()
    }

    /// The member called `id`.
    #[must_use]
    pub fn member(&self, id: &str) -> Option<Member<'_, A>> {
        self.cx.table.get(id)
    }

    /// Explains why the member called `id` has its status: its accusers, the results of this node's
    /// own probes, its refutations, and the time of each. `None` if the member is not known.
    ///
    /// ```
    /// # use telemetry_gossip_core::{Config, Identity, Input, Instant, Node, NodeId};
    /// # let identity = Identity::new("a".parse()?, 1_u32);
    /// # let mut node = Node::new(Config::default(), identity, [0; 32], Instant::ORIGIN)?;
    /// # let (id, generation) = ("b".parse::<NodeId>()?, Default::default());
    /// # let b = Input::Introduce { id, address: Some(2), instance: None, generation };
    /// # node.handle(Instant::ORIGIN, b)?;
    /// // `node` knows b at an address where no process listens.
    /// while node.member("b").is_some_and(|member| member.status().is_live()) {
    ///     let at = node.poll_timeout().unwrap();
    ///     node.handle(at, Input::Tick)?;
    ///     # while node.poll_transmit(&mut [0; 1_232]).is_some() {}
    /// }
    /// let why = node.explain("b").unwrap().to_string();
    /// assert!(why.contains("did not answer this node's probe"), "{why}");
    /// assert!(why.contains("declared dead by this node"), "{why}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn explain(&self, id: &str) -> Option<Explanation> {
        let slot = self.cx.table.find(id)?;
        let row = self.cx.table.row(slot);
        let suspicion = self.detector.suspicions.get(slot).map(|suspected| OpenSuspicion {
            since: suspected.started,
            until: suspected.deadline,
            accusers: suspected.accusers.to_vec(),
        });
        let mut explanation = Explanation {
            id: self.cx.table.id(slot),
            itself: slot == self.cx.this.slot,
            status: row.status,
            generation: row.generation,
            now: self.cx.now,
            last_observed: row.observed(),
            last_heard: self.cx.table.last_heard(slot),
            round_trip: row.round_trip.longest(),
            flaps: self.detector.flap_damping.flaps(slot, self.cx.now),
            suspicion,
            isolated: self.detector.roll_calls.is_isolated(),
            history: self.detector.history.of(slot).copied().collect(),
            names: Vec::new(),
        };
        let mut id_hashes: Vec<IdHash> = explanation.id_hashes().collect();
        id_hashes.sort_unstable();
        id_hashes.dedup();
        let name = |id_hash: IdHash| {
            Some((id_hash, self.cx.table.id(self.cx.table.with_id_hash(id_hash).next()?)))
        };
        explanation.names = id_hashes.into_iter().filter_map(name).collect();
        Some(explanation)
    }

    /// The members that accuse the one called `id`, as far as they are known here: some while it is
    /// Suspected, and none otherwise.
    pub fn accusers(&self, id: &str) -> impl Iterator<Item = NodeId> {
        let table = &self.cx.table;
        let suspicion = table.find(id).and_then(|slot| self.detector.suspicions.get(slot));
        let hashes = suspicion.into_iter().flat_map(|suspected| &suspected.accusers);
        hashes.filter_map(|&hash| table.with_id_hash(hash).next()).map(|slot| table.id(slot))
    }

    /// This node itself.
    #[must_use]
    pub fn me(&self) -> Member<'_, A> {
        self.cx.table.member(self.cx.this.slot)
    }

    /// The address at which the other members reach this node.
    #[must_use]
    pub fn address(&self) -> A {
        self.cx.this.address
    }

    /// The table of all members.
    #[must_use]
    pub fn membership(&self) -> &Membership<A> {
        &self.cx.table
    }

    /// The health of this node, and how many members it holds in each status.
    #[must_use]
    pub fn health(&self) -> Health {
        Health {
            local_health: self.detector.local_health.score(),
            isolated_since: self.detector.roll_calls.isolated_since(),
            alive: self.cx.table.count_of(Status::Alive),
            suspected: self.cx.table.count_of(Status::Suspected),
            dead: self.cx.table.count_of(Status::Dead),
            left: self.cx.table.count_of(Status::Left),
            cluster_config: self.cx.admission.version(),
            joined: self.anti_entropy.joined,
            active: !matches!(self.cx.activity, Activity::Inactive | Activity::Waiting(_)),
        }
    }

    /// The counters of this node since its start.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.cx.stats
    }

    /// What was dropped, which is the part of the state before the counters.
    #[doc(hidden)]
    pub fn drops(&self) -> &Drops<A> {
        &self.cx.events.drops
    }

    /// The settings of this node.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.cx.config
    }

    /// The latest time that the host has passed in.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.cx.now
    }
}
