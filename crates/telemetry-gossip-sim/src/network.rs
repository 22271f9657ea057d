//! The network between the nodes: latency, loss, duplication, replay, alteration, and barriers.
//!
//! The network draws from its own random stream whether a datagram is lost, how long it takes and
//! whether it arrives again. The barriers in force decide whether it passes at all. Moving
//! datagrams is the business of `simulation`.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::rng::{Draws, Stream, micros};
use crate::setters::setters;
use crate::tamper;
use crate::units::{Share, span};

/// The time that a datagram takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Latency {
    /// The shortest time of any datagram.
    #[serde(with = "span")]
    pub minimum: Duration,
    /// The mean of the random time on top.
    #[serde(with = "span", default)]
    pub jitter: Duration,
    /// The distribution of the random time.
    #[serde(default)]
    pub shape: Shape,
}

impl Latency {
    /// A latency of `minimum` plus a random time of mean `jitter`, distributed as `shape`.
    #[must_use]
    pub const fn new(minimum: Duration, jitter: Duration, shape: Shape) -> Self {
        Self { minimum, jitter, shape }
    }

    /// A latency without jitter.
    #[must_use]
    pub const fn fixed(span: Duration) -> Self {
        Self::new(span, Duration::ZERO, Shape::Uniform)
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
#[non_exhaustive]
pub enum Shape {
    /// Uniform from zero to twice the mean.
    Uniform,
    /// Exponential: mostly little, sometimes much. Queues behave so, and it reorders datagrams.
    #[default]
    Exponential,
}

/// The conditions on every link that has none of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Network {
    /// The time that datagrams take. Jitter reorders them.
    pub latency: Latency,
    /// The share of datagrams that is lost.
    pub loss: Share,
    /// The share of datagrams that arrives twice; the copy has a latency of its own.
    pub duplicate: Share,
    /// The share of datagrams that arrives once more, late.
    pub replay: Share,
    /// The longest delay of a replayed datagram.
    #[serde(with = "span")]
    pub replay_within: Duration,
    /// The share of datagrams that arrives altered: with flipped bits, truncated, with the end of
    /// another datagram, or overwritten in part.
    pub alter: Share,
    /// The length in bytes above which datagrams are lost, as on a link with a smaller MTU; 0 means
    /// no limit.
    pub lose_above: u32,
    /// A kind of datagram that is lost more often than others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lose_kind: Option<LoseKind>,
    /// The number of zones over which the nodes are distributed in turn; 0 means none.
    pub zones: u32,
    /// The additional time of a datagram between two zones.
    #[serde(with = "span")]
    pub between_zones: Duration,
    /// The number of nodes, from the second one on, at a distant site.
    pub distant: u32,
    /// The additional time of a datagram to or from that site.
    #[serde(with = "span")]
    pub distance: Duration,
    /// Whether only datagrams to that site take this time, and those from it do not.
    pub one_way: bool,
    /// The share of datagrams to or from that site that is lost.
    pub distant_loss: Share,
    /// The number of datagrams that can wait at a paused or blocked node, in each direction. More
    /// are lost, as in the buffer of a socket.
    pub receive_queue: u32,
    /// How many bytes per second each node can send; 0 means no limit. Datagrams wait in a queue
    /// of 300 ms, and those that find it full are lost.
    pub uplink: u32,
}

/// The longest time for which a datagram waits at an uplink.
const MAX_UPLINK_QUEUE: Duration = Duration::from_millis(300);

impl Default for Network {
    /// A LAN: 0.2 ms plus exponential jitter of 0.3 ms on average, without faults.
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
            distant: 0,
            distance: Duration::ZERO,
            one_way: false,
            distant_loss: Share::NONE,
            receive_queue: 1_024,
            uplink: 0,
        }
    }
}

impl Network {
    /// The default network with a share of its datagrams lost.
    #[must_use]
    pub fn losing(loss: Share) -> Self {
        Self::default().loss(loss)
    }

    /// The additional time between the zones of two nodes.
    fn between(&self, from: usize, to: usize) -> Duration {
        let zone = |node: usize| node.checked_rem(self.zones as usize);
        let zones = if zone(from) == zone(to) { Duration::ZERO } else { self.between_zones };
        let takes_longer = self.is_far(from, to) && (self.is_distant(to) || !self.one_way);
        zones + if takes_longer { self.distance } else { Duration::ZERO }
    }

    /// Whether a node is at the distant site.
    fn is_distant(&self, node: usize) -> bool {
        (1..=self.distant as usize).contains(&node)
    }

    /// Whether one of two nodes is at the distant site, and the other is not.
    fn is_far(&self, from: usize, to: usize) -> bool {
        self.is_distant(from) != self.is_distant(to)
    }
}

setters! {
    Network {
        latency: Latency,
        loss: Share,
        duplicate: Share,
        replay: Share,
        replay_within: Duration,
        alter: Share,
        lose_above: u32,
        lose_kind: Option<LoseKind>,
        zones: u32,
        between_zones: Duration,
        distant: u32,
        distance: Duration,
        one_way: bool,
        distant_loss: Share,
        receive_queue: u32,
        uplink: u32,
    }
}

/// The loss of one kind of datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LoseKind {
    /// The kind.
    pub kind: Kind,
    /// The share of these datagrams that is lost.
    pub share: Share,
}

impl LoseKind {
    /// The loss of a share of one kind of datagram.
    #[must_use]
    pub const fn new(kind: Kind, share: Share) -> Self {
        Self { kind, share }
    }
}

/// The kind of a datagram: that of its first frame which is not a frame of claims, since claims are
/// piggybacked on all datagrams. `docs/wire.md` numbers the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// A ping.
    Ping,
    /// An ack.
    Ack,
    /// A ping-req or a nack.
    #[serde(alias = "relay")]
    PingReq,
    /// Claims only.
    Claims,
    /// Telemetry, from a tree or from a session.
    Telemetry,
    /// A part of a session, in which tables are compared, or a page of a table.
    Session,
    /// Any other datagram.
    Other,
}

impl Kind {
    /// The kind of a datagram as the node made it, before sealing.
    pub(crate) fn of(datagram: &[u8]) -> Self {
        /// Version, label, id hash, two fingerprints and a clock.
        const HEADER: usize = 20;
        let mut rest = datagram.get(HEADER..).unwrap_or_default();
        let mut about = Self::Other;
        while let [kind, after @ ..] = rest {
            about = match kind {
                1 => return Self::Ping,
                2 => return Self::Ack,
                3 | 4 => return Self::PingReq,
                5 => Self::Claims,
                6 | 14..=16 => return Self::Telemetry,
                7..=13 | 19 => return Self::Session,
                _ => about,
            };
            // The length of the body is a varint of one or two bytes. A truncated frame ends the
            // loop.
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

/// What happened to the datagrams of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Traffic {
    /// Datagrams sent by nodes.
    pub sent: u64,
    /// Payload bytes of the datagrams sent.
    pub sent_bytes: u64,
    /// Datagrams that a node received, including duplicates.
    pub delivered: u64,
    /// Datagrams lost at random.
    pub lost: u64,
    /// Datagrams stopped by a partition, a cut or a ring.
    pub cut: u64,
    /// Datagrams lost because of their length.
    pub too_long: u64,
    /// Datagrams sent to an address without a running process: that of a crashed node, or one that
    /// a node has given up.
    pub no_listener: u64,
    /// Datagrams lost at a paused or blocked node whose queue was full.
    pub overflowed: u64,
    /// Datagrams lost at an uplink that was full.
    #[serde(default)]
    pub congested: u64,
    /// Datagrams delivered twice.
    pub duplicated: u64,
    /// Datagrams delivered once more, late.
    pub replayed: u64,
    /// Datagrams lost because of their kind.
    pub lost_by_kind: u64,
    /// Datagrams altered on their way.
    pub altered: u64,
    /// Datagrams sent by liars. They are not counted as sent, but have a fate like all others.
    #[serde(default)]
    pub lies: u64,
    /// Datagrams that liars recorded and sent again; a part of `lies`.
    #[serde(default)]
    pub recorded: u64,
    /// Datagrams that nodes sent to liars.
    #[serde(default)]
    pub to_liars: u64,
}

/// A barrier that stops datagrams.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Barrier {
    /// Stops datagrams from one set of nodes to another, in this direction.
    Cut { from: Nodes, to: Nodes },
    /// Stops datagrams between nodes more than `reach` apart on a ring of `of` nodes.
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

/// The delays after which the copies of one datagram arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arrivals {
    pub(crate) first: Option<Duration>,
    pub(crate) duplicate: Option<Duration>,
    pub(crate) replay: Option<Duration>,
    /// Whether the first copy is altered.
    pub(crate) alter: bool,
}

/// The network of one run: conditions, barriers and counters.
#[derive(Debug)]
pub(crate) struct Fabric {
    conditions: Network,
    links: BTreeMap<(usize, usize), Share>,
    /// Until when the uplink of each node is busy, by the virtual time.
    uplinks: BTreeMap<usize, Duration>,
    barriers: Vec<Barrier>,
    draws: Draws,
    pub(crate) traffic: Traffic,
}

impl Fabric {
    pub(crate) fn new(conditions: Network, seed: u64) -> Self {
        Self {
            conditions,
            links: BTreeMap::new(),
            uplinks: BTreeMap::new(),
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

    /// Removes all barriers and the conditions of single links.
    pub(crate) fn heal(&mut self) {
        self.barriers.clear();
        self.links.clear();
    }

    /// Whether datagrams can pass from one node to another.
    pub(crate) fn passes(&self, from: usize, to: usize) -> bool {
        !self.barriers.iter().any(|barrier| barrier.stops(from, to))
            && self.links.get(&(from, to)).is_none_or(|&loss| loss < Share::ALL)
    }

    /// Whether neither a barrier nor a condition of a single link is in force.
    pub(crate) fn is_whole(&self) -> bool {
        self.barriers.is_empty() && self.links.is_empty()
    }

    /// How long a datagram of `len` bytes waits at the uplink of a node; `None` if it is lost
    /// there.
    fn wait_at_uplink(&mut self, now: Duration, from: usize, len: usize) -> Option<Duration> {
        let Some(rate) = NonZeroU32::new(self.conditions.uplink) else {
            return Some(Duration::ZERO);
        };
        let busy = self.uplinks.entry(from).or_default();
        let begins = now.max(*busy);
        if begins - now > MAX_UPLINK_QUEUE {
            return None;
        }
        *busy = begins + Duration::from_micros(len as u64 * 1_000_000 / u64::from(rate.get()));
        Some(*busy - now)
    }

    /// Decides the fate of a datagram that is sent now.
    pub(crate) fn send(
        &mut self,
        now: Duration,
        (from, to): (usize, usize),
        kind: Kind,
        len: usize,
    ) -> Arrivals {
        let nowhere = Arrivals::default();
        // The order of the draws is part of what a seed means. Shares of 0 and 1 draw nothing, so a
        // fault that is switched off does not influence the others.
        if self.barriers.iter().any(|barrier| barrier.stops(from, to)) {
            self.traffic.cut += 1;
            return nowhere;
        }
        let Some(waits) = self.wait_at_uplink(now, from, len) else {
            self.traffic.congested += 1;
            return nowhere;
        };
        let Network { latency, loss, duplicate, replay, replay_within, alter, lose_above, .. } =
            self.conditions;
        if lose_above > 0 && len > lose_above as usize {
            self.traffic.too_long += 1;
            return nowhere;
        }
        let own = if self.links.is_empty() { None } else { self.links.get(&(from, to)) };
        let usual = if self.conditions.is_far(from, to) {
            loss.max(self.conditions.distant_loss)
        } else {
            loss
        };
        if self.draws.chance(own.copied().unwrap_or(usual).as_ppm()) {
            self.traffic.lost += 1;
            return nowhere;
        }
        let of_kind = self.conditions.lose_kind.filter(|lose| lose.kind == kind);
        if of_kind.is_some_and(|lose| self.draws.chance(lose.share.as_ppm())) {
            self.traffic.lost_by_kind += 1;
            return nowhere;
        }
        let first = Some(waits + latency.draw(&mut self.draws) + self.conditions.between(from, to));
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

    /// Alters a datagram; `other` is another datagram in flight.
    pub(crate) fn alter(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        tamper::alter(bytes, other, &mut self.draws);
    }

    /// Draws an index below `len`.
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
    fn a_lossy_network_loses_its_share() {
        let mut fabric = fabric(Network::losing(Share::percent(10)));
        let arrived = (0..20_000)
            .filter(|_| fabric.send(Duration::ZERO, (0, 1), Kind::Ping, 100).first.is_some())
            .count();
        // Four standard deviations of 20,000 draws at 10 % are 170.
        assert!((17_830..18_170).contains(&arrived), "{arrived}");
        assert_eq!(fabric.traffic.lost, 20_000 - arrived as u64);
    }

    #[test]
    fn latency_has_its_minimum_and_its_mean() {
        for shape in [Shape::Uniform, Shape::Exponential] {
            let (minimum, jitter) = (Duration::from_millis(2), Duration::from_millis(3));
            let mut fabric = fabric(Network::default().latency(Latency { minimum, jitter, shape }));
            let taken: Vec<u64> = (0..20_000)
                .filter_map(|_| fabric.send(Duration::ZERO, (0, 1), Kind::Ping, 100).first)
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
        assert!(fabric.send(Duration::ZERO, (2, 4), Kind::Ping, 1).first.is_none());
        assert!(fabric.send(Duration::ZERO, (4, 2), Kind::Ping, 1).first.is_some());
        assert!(fabric.send(Duration::ZERO, (1, 2), Kind::Ping, 1).first.is_some());
        assert!(!fabric.passes(0, 3) && fabric.passes(3, 0) && !fabric.is_whole());
        fabric.heal();
        assert!(
            fabric.send(Duration::ZERO, (2, 4), Kind::Ping, 1).first.is_some() && fabric.is_whole()
        );
        assert_eq!(fabric.traffic.cut, 1);
    }

    #[test]
    fn a_ring_passes_datagrams_between_neighbours_only() {
        let mut fabric = fabric(Network::default());
        fabric.ring(2, 10);
        assert!(fabric.passes(0, 2) && fabric.passes(0, 8) && fabric.passes(9, 1));
        assert!(!fabric.passes(0, 3) && !fabric.passes(0, 7));
        assert!(fabric.passes(0, 10), "a node that joined after the ring was formed is not on it");
    }

    #[test]
    fn a_single_link_can_have_its_own_loss() {
        let mut fabric = fabric(Network::default());
        fabric.set_link_loss(0, 1, Share::ALL);
        fabric.set_link_loss(2, 1, Share::percent(50));
        assert!(
            (0..50).all(|_| fabric.send(Duration::ZERO, (0, 1), Kind::Ping, 1).first.is_none())
        );
        let arrived = (0..10_000)
            .filter(|_| fabric.send(Duration::ZERO, (2, 1), Kind::Ping, 1).first.is_some())
            .count();
        assert!((4_800..5_200).contains(&arrived), "{arrived}");
        assert!(
            (0..50).all(|_| fabric.send(Duration::ZERO, (1, 0), Kind::Ping, 1).first.is_some())
        );
    }

    #[test]
    fn duplicates_and_replays_have_their_configured_shares() {
        let mut fabric =
            fabric(Network::default().duplicate(Share::percent(5)).replay(Share::percent(2)));
        for _ in 0..20_000 {
            fabric.send(Duration::ZERO, (0, 1), Kind::Ping, 1);
        }
        let Traffic { duplicated, replayed, .. } = fabric.traffic;
        assert!((870..1_130).contains(&duplicated), "{duplicated}");
        assert!((320..480).contains(&replayed), "{replayed}");
    }

    #[test]
    fn one_kind_of_datagram_can_be_lost_alone() {
        let lose = LoseKind { kind: Kind::Ack, share: Share::ALL };
        let mut fabric = fabric(Network::default().lose_kind(Some(lose)));
        assert!(fabric.send(Duration::ZERO, (0, 1), Kind::Ack, 30).first.is_none());
        assert!(fabric.send(Duration::ZERO, (0, 1), Kind::Ping, 30).first.is_some());
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
    fn the_former_name_of_ping_reqs_is_still_read() {
        let read = |kind: &str| {
            toml::from_str::<LoseKind>(&format!("kind = \"{kind}\"\nshare = \"5%\"")).unwrap()
        };
        assert_eq!(read("ping-req"), LoseKind::new(Kind::PingReq, Share::percent(5)));
        assert_eq!(read("relay"), read("ping-req"));
    }

    #[test]
    fn datagrams_between_zones_take_longer() {
        let far = Duration::from_millis(50);
        let latency = Latency::fixed(Duration::from_millis(1));
        let mut fabric = fabric(Network::default().zones(2).between_zones(far).latency(latency));
        assert_eq!(
            fabric.send(Duration::ZERO, (0, 2), Kind::Ping, 30).first,
            Some(latency.minimum)
        );
        assert_eq!(
            fabric.send(Duration::ZERO, (0, 3), Kind::Ping, 30).first,
            Some(latency.minimum + far)
        );
    }

    #[test]
    fn datagrams_wait_at_an_uplink_and_are_lost_once_it_is_full() {
        let latency = Latency::fixed(Duration::ZERO);
        let mut fabric = fabric(Network::default().uplink(1_000).latency(latency));
        let mut sent = |from, millis| {
            let now = Duration::from_millis(millis);
            fabric.send(now, (from, 9), Kind::Ping, 100).first
        };
        let waits = [sent(0, 0), sent(0, 0), sent(0, 0), sent(0, 0), sent(0, 0)];
        let millis = |millis| Some(Duration::from_millis(millis));
        assert_eq!(waits, [millis(100), millis(200), millis(300), millis(400), None]);
        assert_eq!((sent(1, 0), sent(0, 400)), (millis(100), millis(100)), "another, and later");
        assert_eq!(fabric.traffic.congested, 1);
    }

    #[test]
    fn a_link_with_a_smaller_mtu_loses_long_datagrams() {
        let mut fabric = fabric(Network::default().lose_above(500));
        assert!(fabric.send(Duration::ZERO, (0, 1), Kind::Ping, 501).first.is_none());
        assert!(fabric.send(Duration::ZERO, (0, 1), Kind::Ping, 500).first.is_some());
    }
}
