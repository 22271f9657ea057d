//! Push-pull gossip in explicit rounds, on a network without latency.
//!
//! In a round every node starts one exchange, one node after another. Each exchange runs to its end
//! before the next one begins. Timers do not drive anything here: virtual time stands still, unless
//! a datagram was lost and the waiting node has to give up on it. The nodes are driven as the
//! library's `PushPullGossip` drives them: the table lives beside the node that works on it, and a
//! host writes its claim about itself straight into its table.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use telemetry_gossip_core::{
    Address, Claim, Config, ConfigError, Event, ExchangeOutcome, Generation, Identity, Input,
    InputError, Instance, Instant, Membership, Mode, Node, Status,
};

use crate::cluster::node_id;
use crate::rng::{Draws, Stream, protocol_seed};
use crate::setters::setters;
use crate::units::Share;

/// The initial conditions of [`Rounds`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RoundSettings {
    /// The number of nodes n0, n1, ...; all of them know each other.
    pub nodes: usize,
    /// The configuration of every node; the mode is always [`Mode::OnDemand`].
    pub config: Config,
    /// Virtual time from one round to the next.
    pub period: Duration,
    /// The share of datagrams that is lost.
    pub loss: Share,
    /// The seed of everything that is random.
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

setters! {
    RoundSettings {
        nodes: usize,
        config: Config,
        period: Duration,
        loss: Share,
        seed: u64,
    }
}

/// The cost and the outcome of one round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Round {
    /// The number of the round; the first is 1.
    pub number: u32,
    /// When the round was complete, in virtual time since the start.
    pub at: Duration,
    /// Datagrams sent by all nodes.
    pub datagrams: u64,
    /// Payload bytes of these datagrams.
    pub bytes: u64,
    /// Exchanges that found no difference.
    pub in_sync: usize,
    /// Exchanges without an answer from any partner.
    pub failed: usize,
}

/// A cluster that gossips in explicit rounds.
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
    /// Datagrams in flight: sender, receiver, bytes.
    in_flight: VecDeque<(usize, usize, Vec<u8>)>,
    /// Buffers to use again.
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
    /// Creates a cluster in which every node holds every node Alive at generation 0.
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
            in_flight: VecDeque::new(),
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

    /// Merges a claim about `of` into the table of the node `at`.
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

    /// Merges a claim about `of` into the table of `observer`, as if a peer had made it.
    pub fn apply_claim(
        &mut self,
        observer: usize,
        of: usize,
        generation: Generation,
        status: Status,
    ) {
        let instance = self.members[of].node.me().instance();
        self.claim(observer, of, instance, generation, status);
    }

    /// Silences a node: from now on it neither answers nor starts an exchange.
    pub fn silence(&mut self, index: usize) {
        self.owners.remove(&self.members[index].address);
    }

    fn is_silent(&self, index: usize) -> bool {
        !self.owners.contains_key(&self.members[index].address)
    }

    /// Lets a node claim Alive for itself at its next generation, and returns that generation.
    pub fn update(&mut self, index: usize) -> Generation {
        let id = node_id(index);
        let (generation, instance) = self.members[index]
            .table
            .get(id.as_str())
            .map_or_else(Default::default, |me| (me.generation().next(), me.instance()));
        self.claim(index, index, instance, generation, Status::Alive);
        generation
    }

    /// Lets a node publish an entry of its telemetry.
    pub fn publish(&mut self, index: usize, key: &str, value: &[u8]) -> Result<(), InputError> {
        let input =
            Input::Publish { key: Cow::Borrowed(key), value: Cow::Borrowed(value), urgent: false };
        let now = self.now;
        let Member { node, table, .. } = &mut self.members[index];
        node.with_table(table, |node| node.handle(now, input))
    }

    /// The number of nodes whose row for `index` equals the one that `index` has for itself,
    /// including `index`.
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

    /// Whether all tables are equal.
    #[must_use]
    pub fn in_sync(&self) -> bool {
        let mut fingerprints = self.members.iter().map(|member| member.table.fingerprint());
        let first = fingerprints.next();
        fingerprints.all(|fingerprint| Some(fingerprint) == first)
    }

    /// Extracts the table of a node.
    ///
    /// # Panics
    /// Panics if there is no node `index`.
    #[must_use]
    pub fn into_table(mut self, index: usize) -> Membership<A> {
        self.members.swap_remove(index).table
    }

    /// The numbers of datagrams and payload bytes since the last round began.
    #[must_use]
    pub fn cost(&self) -> (u64, u64) {
        (self.round.datagrams, self.round.bytes)
    }

    /// The table of a node.
    #[must_use]
    pub fn table(&self, index: usize) -> &Membership<A> {
        &self.members[index].table
    }

    /// The number of rounds done so far.
    #[must_use]
    pub fn rounds_done(&self) -> u32 {
        self.round.number
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now.since(Instant::ORIGIN)
    }

    /// Advances virtual time by `span` without any activity.
    pub fn advance(&mut self, span: Duration) {
        self.now = self.now + span;
    }

    /// Runs one round: every node in sequence exchanges with one partner.
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

    /// Runs one exchange of one node and returns its outcome; `None` if the node waits for nothing.
    pub fn exchange(&mut self, index: usize) -> Option<ExchangeOutcome> {
        let mut outcome = self.feed(index, Input::Exchange);
        loop {
            outcome = self.deliver(index).or(outcome);
            match outcome {
                Some(ExchangeOutcome::InSync) => self.round.in_sync += 1,
                Some(ExchangeOutcome::Failed) => self.round.failed += 1,
                Some(_) => {}
                None => {
                    // A datagram was lost. Advance time to the deadline at which the node gives up
                    // on this partner.
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

    /// Delivers datagrams until none is in flight; returns the outcome of the exchange of `asker`,
    /// if it has ended.
    fn deliver(&mut self, asker: usize) -> Option<ExchangeOutcome> {
        let mut outcome = None;
        while let Some((from, to, bytes)) = self.in_flight.pop_front() {
            if !self.draws.chance(self.loss.as_ppm()) {
                let from = self.members[from].address;
                let ended = self.feed(to, Input::Datagram { from, bytes: Cow::Borrowed(&bytes) });
                outcome = ended.filter(|_| to == asker).or(outcome);
            }
            self.spare.push(bytes);
        }
        outcome
    }

    /// Passes one input to a node together with its table; returns the outcome of its exchange, if
    /// it has ended.
    fn feed(&mut self, index: usize, input: Input<'_, A>) -> Option<ExchangeOutcome> {
        let (now, buffer) = (self.now, &mut self.buffer);
        let (round, in_flight, spare, owners) =
            (&mut self.round, &mut self.in_flight, &mut self.spare, &self.owners);
        let Member { node, table, .. } = &mut self.members[index];
        node.with_table(table, |node| {
            // A refused input shows as an exchange that fails.
            let _ = node.handle(now, input);
            while let Some(sent) = node.poll_transmit(buffer) {
                round.datagrams += 1;
                round.bytes += sent.len as u64;
                if let Some(&to) = owners.get(&sent.to) {
                    let mut bytes = spare.pop().unwrap_or_default();
                    bytes.clear();
                    bytes.extend_from_slice(&buffer[..sent.len]);
                    in_flight.push_back((index, to, bytes));
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
    fn all_nodes_know_each_other_at_the_start() {
        let rounds = rounds(&RoundSettings::default());
        assert!(rounds.in_sync());
        assert!(
            (0..20).all(|index| rounds.table(index).len() == 20 && rounds.aware_of(index) == 20)
        );
    }

    #[test]
    fn an_update_stays_local_until_the_next_round() {
        let mut rounds = rounds(&RoundSettings::default());
        assert_eq!(rounds.update(0), Generation(1));
        assert_eq!(rounds.aware_of(0), 1);
        let round = rounds.round();
        assert!(rounds.aware_of(0) > 1);
        assert_eq!((round.number, round.at), (1, Duration::from_millis(100)));
    }

    #[test]
    fn a_round_without_differences_takes_no_time() {
        let mut rounds = rounds(&RoundSettings::default().period(Duration::ZERO));
        let round = rounds.round();
        assert_eq!((round.in_sync, round.failed, round.at), (20, 0, Duration::ZERO));
    }

    #[test]
    fn every_exchange_fails_after_a_timeout_if_all_datagrams_are_lost() {
        let mut rounds = rounds(&RoundSettings::default().loss(Share::ALL).nodes(4));
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
        let value = |index: usize| Some(rounds.table(index).get("n3")?.value("load")?.value);
        assert!((0..20).all(|index| value(index) == Some(b"17".as_slice())));
    }
}
