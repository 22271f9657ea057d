//! Push-pull in explicit rounds: each node's exchange in sequence, on a network without latency.
//!
//! No timer drives anything here and no clock runs: a round is one exchange started by every node,
//! one after another, each carried out to its end before the next begins. Time stands still unless
//! a datagram was lost and the node that waits for it gives up. This is how the library's
//! `PushPullGossip` is used, a table beside the node that works on it; the claim that a host makes
//! of itself goes into its table directly.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use telemetry_gossip_core::{
    Address, Claim, Config, ConfigError, Event, ExchangeOutcome, Generation, Identity, Input,
    InputError, Instance, Instant, Membership, Mode, Node, Status,
};

use crate::cluster::node_id;
use crate::rng::{Draws, Stream, protocol_seed};
use crate::units::Share;

/// What a sequence of rounds starts from.
#[derive(Clone, Debug)]
pub struct RoundSettings {
    /// Nodes n0, n1, ..., who all know all.
    pub nodes: usize,
    /// Their settings; the mode is always [`Mode::OnDemand`].
    pub config: Config,
    /// Virtual time from one round to the next.
    pub period: Duration,
    /// Share of datagrams lost.
    pub loss: Share,
    /// Decides everything that is random.
    pub seed: u64,
}

impl Default for RoundSettings {
    fn default() -> Self {
        Self {
            nodes: 20,
            config: Config::default(),
            period: Duration::from_millis(100),
            loss: Share::NONE,
            seed: 0,
        }
    }
}

/// What one round cost, and how it went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// 1 for the first.
    pub number: u32,
    /// When it was complete, in virtual time since the start.
    pub at: Duration,
    /// Datagrams sent by all nodes.
    pub datagrams: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Exchanges that found no difference.
    pub in_sync: usize,
    /// Exchanges for which no partner answered.
    pub failed: usize,
}

/// A cluster that exchanges in rounds.
///
/// ```
/// use telemetry_gossip_sim::{RoundSettings, Rounds};
///
/// let mut rounds = Rounds::new(&RoundSettings::default(), |index| index as u32)?;
/// rounds.update(0);
/// while rounds.aware_of(0) < 20 {
///     rounds.round();
/// }
/// assert!(rounds.rounds_done() <= 5);
/// # Ok::<(), telemetry_gossip_core::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct Rounds<A: Address = u32> {
    members: Vec<Member<A>>,
    owners: BTreeMap<A, usize>,
    period: Duration,
    loss: Share,
    draws: Draws,
    now: Instant,
    round: Round,
    flying: VecDeque<(usize, usize, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Member<A> {
    node: Node<A>,
    table: Membership<A>,
    address: A,
}

impl<A: Address> Rounds<A> {
    /// All nodes hold the same of all: Alive at generation 0.
    pub fn new(
        settings: &RoundSettings,
        address: impl Fn(usize) -> A,
    ) -> Result<Self, ConfigError> {
        let RoundSettings { nodes, config, period, loss, seed } = settings;
        let config = config.clone().mode(Mode::OnDemand);
        let mut members = Vec::new();
        for index in 0..*nodes {
            let identity = Identity::new(node_id(index), address(index));
            let node = Node::new(
                config.clone(),
                identity,
                protocol_seed(*seed, index, 0),
                Instant::ORIGIN,
            )?;
            let table = Membership::new(config.max_members);
            members.push(Member { node, table, address: address(index) });
        }
        let mut rounds = Self {
            owners: members
                .iter()
                .enumerate()
                .map(|(index, member)| (member.address, index))
                .collect(),
            members,
            period: *period,
            loss: *loss,
            draws: Draws::new(*seed, Stream::Network),
            now: Instant::ORIGIN,
            round: Round::default(),
            flying: VecDeque::new(),
            spare: Vec::new(),
            buffer: vec![0; config.mtu.into()],
        };
        for of in 0..*nodes {
            let instance = rounds.members[of].node.me().instance();
            for observer in 0..*nodes {
                rounds.claim(observer, of, instance, Generation(0), Status::Alive);
            }
        }
        Ok(rounds)
    }

    fn claim(
        &mut self,
        at: usize,
        of: usize,
        instance: Instance,
        generation: Generation,
        status: Status,
    ) {
        let (id, address) = (node_id(of), self.members[of].address);
        let claim = Claim {
            id: id.as_str(),
            address: Some(address),
            instance,
            generation,
            status,
            accusers: Default::default(),
            age_secs: 0,
        };
        self.members[at].table.merge(self.now, &claim);
    }

    /// A node comes to hold this of another, unless it holds more.
    pub fn learn(&mut self, observer: usize, of: usize, generation: Generation, status: Status) {
        let instance = self.members[of].node.me().instance();
        self.claim(observer, of, instance, generation, status);
    }

    /// A node answers nothing from now on, and starts nothing.
    pub fn silence(&mut self, index: usize) {
        self.owners.remove(&self.members[index].address);
    }

    fn is_silent(&self, index: usize) -> bool {
        !self.owners.contains_key(&self.members[index].address)
    }

    /// A node says Alive of itself at the next generation; returns that.
    pub fn update(&mut self, index: usize) -> Generation {
        let id = node_id(index);
        let (generation, instance) = self.members[index]
            .table
            .get(id.as_str())
            .map_or_else(Default::default, |me| (me.generation().next(), me.instance()));
        self.claim(index, index, instance, generation, Status::Alive);
        generation
    }

    /// A node publishes an entry of its telemetry.
    pub fn publish(&mut self, index: usize, key: &str, value: &[u8]) -> Result<(), InputError> {
        let input =
            Input::Publish { key: Cow::Borrowed(key), value: Cow::Borrowed(value), urgent: false };
        let now = self.now;
        let Member { node, table, .. } = &mut self.members[index];
        node.with_table(table, |node| node.handle(now, input))
    }

    /// How many nodes hold of `index` what it holds of itself, itself included.
    #[must_use]
    pub fn aware_of(&self, index: usize) -> usize {
        let id = node_id(index);
        let row = |member: &Member<A>| {
            let row = member.table.get(id.as_str())?;
            Some((row.generation(), row.status(), row.telemetry_version()))
        };
        let own = row(&self.members[index]);
        self.members.iter().filter(|member| row(member) == own).count()
    }

    /// Whether all nodes hold the same of all.
    #[must_use]
    pub fn in_sync(&self) -> bool {
        let mut fingerprints = self.members.iter().map(|member| member.table.fingerprint());
        let first = fingerprints.next();
        fingerprints.all(|fingerprint| Some(fingerprint) == first)
    }

    /// Takes a node's table out: it is on its own from now on.
    ///
    /// # Panics
    /// If there is no such node.
    #[must_use]
    pub fn into_table(mut self, index: usize) -> Membership<A> {
        self.members.swap_remove(index).table
    }

    /// Datagrams and payload bytes since the last round began.
    #[must_use]
    pub fn cost(&self) -> (u64, u64) {
        (self.round.datagrams, self.round.bytes)
    }

    /// What a node holds.
    #[must_use]
    pub fn table(&self, index: usize) -> &Membership<A> {
        &self.members[index].table
    }

    /// Rounds done so far.
    #[must_use]
    pub fn rounds_done(&self) -> u32 {
        self.round.number
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now.since(Instant::ORIGIN)
    }

    /// Lets virtual time pass, in which nobody does anything.
    pub fn rest(&mut self, span: Duration) {
        self.now = self.now + span;
    }

    /// Every node in sequence exchanges with one partner.
    pub fn round(&mut self) -> Round {
        let started = self.now;
        self.round = Round { number: self.round.number + 1, ..Round::default() };
        for index in 0..self.members.len() {
            if !self.is_silent(index) {
                self.exchange(index);
            }
        }
        self.now = self.now.max(started + self.period);
        self.round.at = self.now();
        self.round
    }

    /// One node exchanges with one partner; how that ended, unless the node is waiting for nothing.
    pub fn exchange(&mut self, index: usize) -> Option<ExchangeOutcome> {
        let mut outcome = self.feed(index, Input::Exchange);
        loop {
            outcome = self.deliver(index).or(outcome);
            match outcome {
                Some(ExchangeOutcome::InSync) => self.round.in_sync += 1,
                Some(ExchangeOutcome::Failed) => self.round.failed += 1,
                Some(_) => {}
                None => {
                    // Something was lost: time passes until the node gives that partner up.
                    let Member { node, table, .. } = &mut self.members[index];
                    let deadline = node.with_table(table, |node| node.poll_timeout())?;
                    self.now = self.now.max(deadline);
                    outcome = self.feed(index, Input::Tick);
                    continue;
                }
            }
            return outcome;
        }
    }

    /// Carries datagrams until none is under way; how the exchange of `asker` ended, if it did.
    fn deliver(&mut self, asker: usize) -> Option<ExchangeOutcome> {
        let mut outcome = None;
        while let Some((from, to, bytes)) = self.flying.pop_front() {
            if !self.draws.chance(self.loss.as_ppm()) {
                let from = self.members[from].address;
                let ended = self.feed(to, Input::Datagram { from, bytes: Cow::Borrowed(&bytes) });
                outcome = ended.filter(|_| to == asker).or(outcome);
            }
            self.spare.push(bytes);
        }
        outcome
    }

    /// One input to a node on its table; how its exchange ended, if it did.
    fn feed(&mut self, index: usize, input: Input<'_, A>) -> Option<ExchangeOutcome> {
        let (now, buffer) = (self.now, &mut self.buffer);
        let (round, flying, spare, owners) =
            (&mut self.round, &mut self.flying, &mut self.spare, &self.owners);
        let Member { node, table, .. } = &mut self.members[index];
        node.with_table(table, |node| {
            // Refusals show as exchanges that fail.
            let _ = node.handle(now, input);
            while let Some(sent) = node.poll_transmit(buffer) {
                round.datagrams += 1;
                round.bytes += sent.len as u64;
                if let Some(&to) = owners.get(&sent.to) {
                    let mut bytes = spare.pop().unwrap_or_default();
                    bytes.clear();
                    bytes.extend_from_slice(&buffer[..sent.len]);
                    flying.push_back((index, to, bytes));
                }
            }
            let mut ended = None;
            while let Some(event) = node.poll_event() {
                if let Event::ExchangeCompleted { outcome, .. } = event {
                    ended = Some(outcome);
                }
            }
            ended
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(settings: &RoundSettings) -> Rounds {
        Rounds::new(settings, |index| index as u32).unwrap()
    }

    #[test]
    fn at_the_start_all_are_in_sync_and_know_all() {
        let rounds = rounds(&RoundSettings::default());
        assert!(rounds.in_sync());
        assert!(
            (0..20).all(|index| rounds.table(index).len() == 20 && rounds.aware_of(index) == 20)
        );
    }

    #[test]
    fn an_update_is_known_to_its_node_alone_until_a_round_is_done() {
        let mut rounds = rounds(&RoundSettings::default());
        assert_eq!(rounds.update(0), Generation(1));
        assert_eq!(rounds.aware_of(0), 1);
        let round = rounds.round();
        assert!(rounds.aware_of(0) > 1);
        assert_eq!((round.number, round.at), (1, Duration::from_millis(100)));
    }

    #[test]
    fn a_round_in_sync_says_so_and_takes_no_time() {
        let mut rounds =
            rounds(&RoundSettings { period: Duration::ZERO, ..RoundSettings::default() });
        let round = rounds.round();
        assert_eq!((round.in_sync, round.failed, round.at), (20, 0, Duration::ZERO));
    }

    #[test]
    fn where_everything_is_lost_every_exchange_fails_and_time_passes() {
        let mut rounds =
            rounds(&RoundSettings { loss: Share::ALL, nodes: 4, ..RoundSettings::default() });
        rounds.update(0);
        let round = rounds.round();
        assert_eq!(round.failed, 4);
        assert!(round.at > Duration::from_millis(400));
        assert_eq!(rounds.aware_of(0), 1);
    }

    #[test]
    fn telemetry_spreads_with_the_table() {
        let mut rounds = rounds(&RoundSettings::default());
        rounds.publish(3, "load", b"17").unwrap();
        for _ in 0..8 {
            rounds.round();
        }
        let value = |index: usize| rounds.table(index).get("n3")?.value("load")?.value;
        assert!((0..20).all(|index| value(index) == Some(b"17".as_slice())));
    }
}
