//! The network between the nodes: what a datagram meets on its way.
//!
//! A network decides from its own random stream whether a datagram is lost, how long it takes, and
//! whether it comes again; from the barriers in force whether it passes at all. It moves no
//! datagram (that is `simulation`) and never looks inside one.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::rng::{Draws, Stream, micros};
use crate::tamper;
use crate::units::{Share, span};

/// How long a datagram takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// No datagram takes less.
    #[serde(with = "span")]
    pub minimum: Duration,
    /// The mean of what comes on top.
    #[serde(with = "span", default)]
    pub jitter: Duration,
    /// How that is distributed.
    #[serde(default)]
    pub shape: Shape,
}

impl Latency {
    /// Always this long.
    #[must_use]
    pub const fn fixed(span: Duration) -> Self {
        Self { minimum: span, jitter: Duration::ZERO, shape: Shape::Uniform }
    }

    fn draw(&self, draws: &mut Draws) -> Duration {
        if self.jitter.is_zero() {
            return self.minimum;
        }
        self.minimum
            + match self.shape {
                Shape::Uniform => {
                    Duration::from_micros(draws.micros_up_to(micros(self.jitter) * 2))
                }
                Shape::Exponential => draws.exponential(self.jitter),
            }
    }
}

/// The distribution of jitter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// Anything from none to twice the mean, alike.
    Uniform,
    /// Mostly little, now and then much: what queues do, and what reorders datagrams.
    #[default]
    Exponential,
}

/// The conditions on every link, unless a link has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Network {
    /// How long datagrams take. Jitter reorders them.
    pub latency: Latency,
    /// Share of datagrams that never arrive.
    pub loss: Share,
    /// Share of datagrams that arrive twice, the second with a latency of its own.
    pub duplicate: Share,
    /// Share of datagrams that arrive once more, late.
    pub replay: Share,
    /// A replayed datagram comes again within this time.
    #[serde(with = "span")]
    pub replay_within: Duration,
    /// Share of datagrams that arrive altered: bits flipped, cut short, with the end of another
    /// one, or overwritten in part.
    pub alter: Share,
    /// Datagrams longer than this are lost (a link with a smaller MTU); 0 for no limit.
    pub lose_above: u32,
    /// One kind of datagram is lost more often than the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lose_kind: Option<LoseKind>,
    /// The nodes are spread over so many zones, one after another; 0 for none.
    pub zones: u32,
    /// How much longer a datagram takes from one zone to another.
    #[serde(with = "span")]
    pub between_zones: Duration,
    /// Datagrams that wait at a paused or blocked node, each way; more are lost, as in a socket's
    /// buffer.
    pub receive_queue: u32,
}

impl Default for Network {
    /// A LAN: 0.2 ms and 0.3 ms of exponential jitter, nothing lost.
    fn default() -> Self {
        Self {
            latency: Latency {
                minimum: Duration::from_micros(200),
                jitter: Duration::from_micros(300),
                shape: Shape::Exponential,
            },
            loss: Share::NONE,
            duplicate: Share::NONE,
            replay: Share::NONE,
            replay_within: Duration::from_secs(30),
            alter: Share::NONE,
            lose_above: 0,
            lose_kind: None,
            zones: 0,
            between_zones: Duration::ZERO,
            receive_queue: 1_024,
        }
    }
}

impl Network {
    /// The default network with a share of its datagrams lost.
    #[must_use]
    pub fn losing(loss: Share) -> Self {
        Self { loss, ..Self::default() }
    }

    /// What is added between these nodes.
    fn between(&self, from: usize, to: usize) -> Duration {
        let zone = |node: usize| node.checked_rem(self.zones as usize);
        if zone(from) == zone(to) { Duration::ZERO } else { self.between_zones }
    }
}

/// Loss that befalls one kind of datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoseKind {
    /// Which.
    pub kind: Kind,
    /// How many of them never arrive.
    pub share: Share,
}

/// What a datagram is about: its first frame that is not of claims, which ride on anything.
/// `docs/wire.md` numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Pings.
    Ping,
    /// Acks.
    Ack,
    /// Nacks, and pleas to ping somebody else.
    Relay,
    /// News and claims.
    Claims,
    /// Telemetry, in trees or by session.
    Telemetry,
    /// Sessions, in which tables are compared, and pages of tables.
    Session,
    /// Anything else.
    Other,
}

impl Kind {
    /// Of a datagram as the node made it.
    pub(crate) fn of(datagram: &[u8]) -> Self {
        /// Version, label, tag, two fingerprints and a clock.
        const HEADER: usize = 20;
        let mut rest = datagram.get(HEADER..).unwrap_or_default();
        let mut about = Self::Other;
        while let [kind, after @ ..] = rest {
            about = match kind {
                1 => return Self::Ping,
                2 => return Self::Ack,
                3 | 4 => return Self::Relay,
                5 => Self::Claims,
                6 | 14..=16 => return Self::Telemetry,
                7..=13 => return Self::Session,
                _ => about,
            };
            rest = match *after {
                [len, ref body @ ..] if len < 128 => body.get(usize::from(len)..),
                [low, high, ref body @ ..] => {
                    body.get(usize::from(low & 127) + 128 * usize::from(high)..)
                }
                _ => None,
            }
            .unwrap_or_default();
        }
        about
    }
}

/// What became of the datagrams of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Datagrams sent by nodes.
    pub sent: u64,
    /// Their payload bytes.
    pub sent_bytes: u64,
    /// Datagrams that a node took in, duplicates included.
    pub delivered: u64,
    /// Lost at random.
    pub lost: u64,
    /// Lost at a partition or a cut.
    pub cut: u64,
    /// Lost for their length.
    pub too_long: u64,
    /// Sent where nobody listens: a crashed node, or an address that a node has given up.
    pub nobody: u64,
    /// Lost at a paused or blocked node whose queue was full.
    pub overflowed: u64,
    /// Delivered twice.
    pub duplicated: u64,
    /// Delivered again, late.
    pub replayed: u64,
    /// Lost for what they were about.
    pub lost_by_kind: u64,
    /// Arrived altered.
    pub altered: u64,
}

/// What keeps datagrams from passing.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Barrier {
    /// From these nodes to those, one way.
    Cut { from: Nodes, to: Nodes },
    /// Whoever is further apart than `reach` on a ring of `of` nodes.
    Ring { reach: usize, of: usize },
}

impl Barrier {
    fn stops(&self, from: usize, to: usize) -> bool {
        match self {
            Self::Cut { from: sources, to: targets } => {
                sources.contains(from) && targets.contains(to)
            }
            Self::Ring { reach, of } => {
                let apart = from.abs_diff(to);
                from < *of && to < *of && apart.min(of - apart) > *reach
            }
        }
    }
}

/// A set of node indices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Nodes(Vec<u64>);

impl Nodes {
    fn contains(&self, node: usize) -> bool {
        self.0.get(node / 64).is_some_and(|word| word >> (node % 64) & 1 == 1)
    }
}

impl FromIterator<usize> for Nodes {
    fn from_iter<I: IntoIterator<Item = usize>>(nodes: I) -> Self {
        let mut words = Vec::new();
        for node in nodes {
            let at = node / 64;
            if words.len() <= at {
                words.resize(at + 1, 0);
            }
            words[at] |= 1 << (node % 64);
        }
        Self(words)
    }
}

/// When copies of one datagram arrive, after it was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arrivals {
    pub(crate) first: Option<Duration>,
    pub(crate) duplicate: Option<Duration>,
    pub(crate) replay: Option<Duration>,
    /// Whether the first is altered.
    pub(crate) alter: bool,
}

/// The network of one run.
#[derive(Debug)]
pub(crate) struct Fabric {
    conditions: Network,
    links: BTreeMap<(usize, usize), Share>,
    barriers: Vec<Barrier>,
    draws: Draws,
    pub(crate) traffic: Traffic,
}

impl Fabric {
    pub(crate) fn new(conditions: Network, seed: u64) -> Self {
        Self {
            conditions,
            links: BTreeMap::new(),
            barriers: Vec::new(),
            draws: Draws::new(seed, Stream::Network),
            traffic: Traffic::default(),
        }
    }

    pub(crate) fn conditions(&self) -> &Network {
        &self.conditions
    }

    pub(crate) fn set_conditions(&mut self, conditions: Network) {
        self.conditions = conditions;
    }

    pub(crate) fn set_link_loss(&mut self, from: usize, to: usize, loss: Share) {
        self.links.insert((from, to), loss);
    }

    pub(crate) fn cut(
        &mut self,
        from: impl IntoIterator<Item = usize>,
        to: impl IntoIterator<Item = usize>,
    ) {
        self.barriers
            .push(Barrier::Cut { from: from.into_iter().collect(), to: to.into_iter().collect() });
    }

    pub(crate) fn ring(&mut self, reach: usize, of: usize) {
        self.barriers.push(Barrier::Ring { reach, of });
    }

    /// Takes every barrier and every link's own loss away.
    pub(crate) fn heal(&mut self) {
        self.barriers.clear();
        self.links.clear();
    }

    /// Whether a datagram may pass at all.
    pub(crate) fn passes(&self, from: usize, to: usize) -> bool {
        !self.barriers.iter().any(|barrier| barrier.stops(from, to))
            && self.links.get(&(from, to)).is_none_or(|&loss| loss < Share::ALL)
    }

    /// Whether any barrier is in force, on whatever link.
    pub(crate) fn is_whole(&self) -> bool {
        self.barriers.is_empty() && self.links.is_empty()
    }

    /// The fate of one datagram that is sent now.
    pub(crate) fn send(&mut self, from: usize, to: usize, kind: Kind, len: usize) -> Arrivals {
        let nowhere = Arrivals::default();
        if self.barriers.iter().any(|barrier| barrier.stops(from, to)) {
            self.traffic.cut += 1;
            return nowhere;
        }
        let Network { latency, loss, duplicate, replay, replay_within, alter, lose_above, .. } =
            self.conditions;
        if lose_above > 0 && len > lose_above as usize {
            self.traffic.too_long += 1;
            return nowhere;
        }
        let own = if self.links.is_empty() { None } else { self.links.get(&(from, to)) };
        if self.draws.chance(own.map_or(loss, |&own| own).as_ppm()) {
            self.traffic.lost += 1;
            return nowhere;
        }
        let of_kind = self.conditions.lose_kind.filter(|lose| lose.kind == kind);
        if of_kind.is_some_and(|lose| self.draws.chance(lose.share.as_ppm())) {
            self.traffic.lost_by_kind += 1;
            return nowhere;
        }
        let first = Some(latency.draw(&mut self.draws) + self.conditions.between(from, to));
        let duplicate =
            self.draws.chance(duplicate.as_ppm()).then(|| latency.draw(&mut self.draws));
        let replay = self
            .draws
            .chance(replay.as_ppm())
            .then(|| Duration::from_micros(self.draws.micros_up_to(micros(replay_within))));
        let alter = self.draws.chance(alter.as_ppm());
        self.traffic.duplicated += u64::from(duplicate.is_some());
        self.traffic.replayed += u64::from(replay.is_some());
        self.traffic.altered += u64::from(alter);
        Arrivals { first, duplicate, replay, alter }
    }

    /// Alters a datagram; `other` is one that is under way as well.
    pub(crate) fn alter(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        tamper::alter(bytes, other, &mut self.draws);
    }

    /// A place below `len`.
    pub(crate) fn below(&mut self, len: usize) -> usize {
        self.draws.below(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fabric(conditions: Network) -> Fabric {
        Fabric::new(conditions, 7)
    }

    #[test]
    fn a_lossy_network_loses_its_share_and_no_more() {
        let mut fabric = fabric(Network::losing(Share::percent(10)));
        let arrived =
            (0..20_000).filter(|_| fabric.send(0, 1, Kind::Ping, 100).first.is_some()).count();
        // Four standard deviations of 20,000 draws at 10 % are 170.
        assert!((17_830..18_170).contains(&arrived), "{arrived}");
        assert_eq!(fabric.traffic.lost, 20_000 - arrived as u64);
    }

    #[test]
    fn latency_is_at_least_the_minimum_and_on_average_its_mean() {
        for shape in [Shape::Uniform, Shape::Exponential] {
            let (minimum, jitter) = (Duration::from_millis(2), Duration::from_millis(3));
            let mut fabric = fabric(Network {
                latency: Latency { minimum, jitter, shape },
                ..Network::default()
            });
            let taken: Vec<u64> = (0..20_000)
                .filter_map(|_| fabric.send(0, 1, Kind::Ping, 100).first)
                .map(micros)
                .collect();
            assert!(taken.iter().all(|&taken| taken >= 2_000));
            let mean = taken.iter().sum::<u64>() / 20_000;
            assert!((4_900..5_100).contains(&mean), "{shape:?}: {mean}");
        }
    }

    #[test]
    fn a_cut_is_one_way_and_a_partition_ends_with_healing() {
        let mut fabric = fabric(Network::default());
        fabric.cut(0..3, 3..5);
        assert!(fabric.send(2, 4, Kind::Ping, 1).first.is_none());
        assert!(fabric.send(4, 2, Kind::Ping, 1).first.is_some());
        assert!(fabric.send(1, 2, Kind::Ping, 1).first.is_some());
        assert!(!fabric.passes(0, 3) && fabric.passes(3, 0) && !fabric.is_whole());
        fabric.heal();
        assert!(fabric.send(2, 4, Kind::Ping, 1).first.is_some() && fabric.is_whole());
        assert_eq!(fabric.traffic.cut, 1);
    }

    #[test]
    fn on_a_ring_only_neighbours_talk() {
        let mut fabric = fabric(Network::default());
        fabric.ring(2, 10);
        assert!(fabric.passes(0, 2) && fabric.passes(0, 8) && fabric.passes(9, 1));
        assert!(!fabric.passes(0, 3) && !fabric.passes(0, 7));
        assert!(fabric.passes(0, 10), "who joined after the ring was formed is not on it");
    }

    #[test]
    fn a_link_may_be_worse_than_the_others() {
        let mut fabric = fabric(Network::default());
        fabric.set_link_loss(0, 1, Share::ALL);
        fabric.set_link_loss(2, 1, Share::percent(50));
        assert!((0..50).all(|_| fabric.send(0, 1, Kind::Ping, 1).first.is_none()));
        let arrived =
            (0..10_000).filter(|_| fabric.send(2, 1, Kind::Ping, 1).first.is_some()).count();
        assert!((4_800..5_200).contains(&arrived), "{arrived}");
        assert!((0..50).all(|_| fabric.send(1, 0, Kind::Ping, 1).first.is_some()));
    }

    #[test]
    fn duplicates_and_replays_come_as_often_as_set() {
        let mut fabric = fabric(Network {
            duplicate: Share::percent(5),
            replay: Share::percent(2),
            ..Network::default()
        });
        for _ in 0..20_000 {
            fabric.send(0, 1, Kind::Ping, 1);
        }
        let Traffic { duplicated, replayed, .. } = fabric.traffic;
        assert!((870..1_130).contains(&duplicated), "{duplicated}");
        assert!((320..480).contains(&replayed), "{replayed}");
    }

    #[test]
    fn one_kind_of_datagram_may_be_lost_and_the_others_not() {
        let lose = LoseKind { kind: Kind::Ack, share: Share::ALL };
        let mut fabric = fabric(Network { lose_kind: Some(lose), ..Network::default() });
        assert!(fabric.send(0, 1, Kind::Ack, 30).first.is_none());
        assert!(fabric.send(0, 1, Kind::Ping, 30).first.is_some());
        let mut ack = [0; 30];
        ack[20] = 2;
        assert_eq!((Kind::of(&ack), Kind::of(&[])), (Kind::Ack, Kind::Other));
        let claims_and_done = [[0; 20].as_slice(), &[5, 2, 0, 0, 11, 1, 0]].concat();
        assert_eq!(
            (Kind::of(&claims_and_done), Kind::of(&claims_and_done[..24])),
            (Kind::Session, Kind::Claims)
        );
    }

    #[test]
    fn another_zone_is_further_away() {
        let far = Duration::from_millis(50);
        let latency = Latency::fixed(Duration::from_millis(1));
        let mut fabric =
            fabric(Network { zones: 2, between_zones: far, latency, ..Network::default() });
        assert_eq!(fabric.send(0, 2, Kind::Ping, 30).first, Some(latency.minimum));
        assert_eq!(fabric.send(0, 3, Kind::Ping, 30).first, Some(latency.minimum + far));
    }

    #[test]
    fn a_link_of_a_smaller_mtu_loses_the_long_ones() {
        let mut fabric = fabric(Network { lose_above: 500, ..Network::default() });
        assert!(fabric.send(0, 1, Kind::Ping, 501).first.is_none());
        assert!(fabric.send(0, 1, Kind::Ping, 500).first.is_some());
    }
}
