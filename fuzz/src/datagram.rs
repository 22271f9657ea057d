//! The input of the target `datagram`: a situation, then datagrams from members or a stranger.
//!
//! ```text
//! input  = situation (1) step*
//! step   = control (1) [milliseconds (2) if JUMP] length (1, or 2 if LONG) bytes
//! ```
//!
//! A situation is a recorded run of a small cluster, cut off where something is under way: a probe,
//! a suspicion, a session. Replaying the inputs of its first node costs microseconds, and raw bytes
//! meet a node with state to spoil. The control byte can put a valid header before the bytes and
//! the pending question's number into them, so that the fuzzer need not guess either.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

use telemetry_gossip_core::{
    Config, Generation, Input, InputError, Instant, Label, Mode, NodeId, Status,
};

use crate::cluster::{Cluster, id};
use crate::warm::AMPLIFICATION;
use crate::watched::{Watched, refusals, state};
use crate::wire::{self, Asked};

/// The low bits of a control byte: which member sends, or a stranger.
pub const FROM: u8 = 0b11;
/// A valid header goes before the bytes.
pub const HEADER: u8 = 1 << 2;
/// That header says that the sender's table is like the node's.
pub const EQUAL: u8 = 1 << 3;
/// The numbers in the datagram become those of the node's last questions to the sender.
pub const ANSWER: u8 = 1 << 4;
/// The next deadline comes first.
pub const TICK: u8 = 1 << 5;
/// Time passes first: milliseconds in two bytes, or thirty days if all their bits are set.
pub const JUMP: u8 = 1 << 6;
/// The length has two bytes.
pub const LONG: u8 = 1 << 7;

/// The most steps that are carried out.
const MAX_STEPS: usize = 64;
/// How many deadlines are met after the last step.
const LAST_TICKS: usize = 24;

/// A run of four nodes, as the first of them saw it.
#[derive(Debug)]
pub struct Situation {
    /// What is going on.
    pub name: &'static str,
    pub(crate) config: Config,
    /// What happened to the first node.
    pub(crate) log: Vec<(Instant, Input<'static, SocketAddr>)>,
    /// All datagrams of the run, by the number of the sender.
    pub traffic: Vec<(usize, Vec<u8>)>,
    /// The sender's tags of all four.
    tags: [u32; 4],
}

/// The addresses of the four, and of a stranger. One speaks IPv6.
pub static ADDRESSES: [SocketAddr; 5] = [
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 7_946),
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 7_946),
    SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 3)), 7_946),
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 4)), 7_946),
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)), 9),
];

static SITUATIONS: LazyLock<Vec<Situation>> = LazyLock::new(record_all);

/// All situations; an input's first byte names one, modulo their number.
#[must_use]
pub fn situations() -> &'static [Situation] {
    &SITUATIONS
}

fn config() -> Config {
    Config::default().label(Label::of("fuzz")).max_members(32).max_value(64).max_telemetry(512)
}

type Net = Cluster<SocketAddr>;

/// Lets the cluster run until `is` holds.
fn run_until(net: &mut Net, what: &str, is: impl Fn(&Watched<SocketAddr>) -> bool) {
    for _ in 0..60_000 {
        if net.node(0).is_some_and(&is) {
            return;
        }
        net.run_for(Duration::from_millis(1));
    }
    panic!("a situation never came to be: {what}");
}

/// Nothing reaches the first node any more.
fn deafen(net: &mut Net) {
    for from in 1..net.len() {
        net.link(from, 0).cut = true;
    }
}

fn join_all_but_the_first(net: &mut Net) {
    net.join(2);
    net.join(3);
    net.run_for(Duration::from_secs(2));
}

fn join_all(net: &mut Net) {
    for host in 1..net.len() {
        net.join(host);
    }
    net.run_for(Duration::from_secs(2));
    for host in 0..net.len() {
        net.command(
            host,
            Input::Publish { key: "load".into(), value: vec![b'0'; 4].into(), urgent: false },
        );
    }
    net.run_for(Duration::from_secs(1));
    assert_eq!(net.defect(), None, "a calm start");
}

fn held(watched: &Watched<SocketAddr>, of: usize) -> Option<Status> {
    watched.node.member(id(of).as_str()).map(|member| member.status())
}

fn record_all() -> Vec<Situation> {
    let probes = |watched: &Watched<SocketAddr>| watched.node.stats().probes;
    let mut all = Vec::new();
    let mut record = |name: &'static str, config: Config, script: &dyn Fn(&mut Net)| {
        let mut net = Cluster::new(config.clone(), &ADDRESSES[..4]);
        (net.log, net.tap) = (Some(Vec::new()), Some(Vec::new()));
        script(&mut net);
        let tags = core::array::from_fn(tag);
        let (log, traffic) = (net.log.unwrap_or_default(), net.tap.unwrap_or_default());
        all.push(Situation { name, config, log, traffic, tags });
    };
    record("alone", config(), &|_| {});
    record("joining", config(), &|net| {
        deafen(net);
        net.join(0);
    });
    record("in calm", config(), &join_all);
    record("pinging", config(), &|net| {
        join_all(net);
        deafen(net);
        let before = net.node(0).map_or(0, probes);
        run_until(net, "a ping", |watched| probes(watched) > before);
    });
    record("asking helpers", config(), &|net| {
        join_all(net);
        deafen(net);
        let before = net.node(0).map_or(0, probes);
        run_until(net, "a ping", |watched| probes(watched) > before);
        net.run_for(Duration::from_millis(500));
    });
    record("suspecting", config(), &|net| {
        join_all(net);
        net.crash(3);
        run_until(net, "a suspicion", |watched| held(watched, 3) == Some(Status::Suspected));
        deafen(net);
    });
    record("mourning", config(), &|net| {
        join_all(net);
        net.crash(3);
        run_until(net, "a death", |watched| held(watched, 3) == Some(Status::Dead));
    });
    record("calling the roll", config(), &|net| {
        join_all(net);
        deafen(net);
        run_until(net, "a roll call", |watched| watched.node.stats().roll_calls > 0);
    });
    record("isolated", config(), &|net| {
        join_all(net);
        deafen(net);
        run_until(net, "an isolation", |watched| watched.node.health().isolated_since.is_some());
    });
    record("opening a session", config(), &|net| {
        join_all(net);
        deafen(net);
        net.command(0, Input::Exchange);
    });
    record("comparing", config(), &|net| {
        join_all(net);
        deafen(net);
        net.command(
            1,
            Input::Publish { key: "load".into(), value: vec![b'9'; 4].into(), urgent: false },
        );
        net.run_for(Duration::from_millis(900));
        net.heal();
        net.command(0, Input::Exchange);
        net.run_for(Duration::from_millis(2));
        deafen(net);
    });
    record("reading anew", config().max_telemetry(72), &|net| {
        join_all(net);
        deafen(net);
        // What is left of removed keys has to make room.
        for key in ["a", "b", "c"] {
            let value = vec![b'9'; 10].into();
            net.command(1, Input::Publish { key: key.into(), value, urgent: false });
            net.command(1, Input::Unpublish { key: key.into() });
        }
        net.run_for(Duration::from_millis(900));
        net.heal();
        net.command(0, Input::Exchange);
        net.run_for(Duration::from_millis(100));
    });
    record("paging", config(), &|net| {
        for to in 1..4 {
            net.link(0, to).cut = true;
        }
        join_all_but_the_first(net);
        net.heal();
        net.join(0);
        net.run_for(Duration::from_millis(2));
        deafen(net);
    });
    record("relaying", config(), &|net| {
        join_all(net);
        net.link(2, 0).cut = true;
        net.link(1, 2).cut = true;
        run_until(net, "a relay", |watched| watched.node.stats().ping_reqs > 0);
    });
    record("refuting", config(), &|net| {
        join_all(net);
        for to in 1..4 {
            net.link(0, to).cut = true;
        }
        run_until(net, "a refutation", |watched| watched.node.stats().refutations > 0);
    });
    record("leaving", config(), &|net| {
        join_all(net);
        net.command(0, Input::Leave);
    });
    record("full", config().max_members(4), &join_all);
    record("configured", config(), &|net| {
        join_all(net);
        let members: Vec<NodeId> = (0..5).map(id).collect();
        net.command(0, Input::ApplyClusterConfig { version: 1, members: members.into() });
    });
    record("on demand", config().mode(Mode::OnDemand), &|net| {
        for other in 1..4 {
            introduce(net, 0, other, 0);
        }
        net.command(0, Input::Exchange);
        net.run_for(Duration::from_millis(10));
        net.command(0, Input::Probe { id: id(1) });
    });
    // In a table this large a session begins with one question, and differing ranges are found by
    // their sums.
    let large = config().mode(Mode::OnDemand).max_members(64);
    record("asking whether tables differ", large.clone(), &|net| {
        introduce_many(net);
        deafen(net);
        net.command(0, Input::Exchange);
    });
    record("comparing sums", large, &|net| {
        introduce_many(net);
        net.command(0, Input::Exchange);
        net.run_for(Duration::from_millis(4));
        deafen(net);
    });
    all
}

/// The first two know each other and many more, and each knows one of whom the other does not.
/// Without an address those cannot be asked.
fn introduce_many(net: &mut Net) {
    for host in 0..2 {
        introduce(net, host, 1 - host, 0);
        for other in (10..50).filter(|other| other % 20 != host) {
            let (id, generation) = (id(other), Generation(7));
            net.command(host, Input::Introduce { id, address: None, instance: None, generation });
        }
    }
}

fn introduce(net: &mut Net, host: usize, other: usize, generation: u64) {
    let (address, generation) = (Some(ADDRESSES[other]), Generation(generation));
    net.command(host, Input::Introduce { id: id(other), address, instance: None, generation });
}

/// The tag under which a node sends, read off its first datagram.
fn tag(host: usize) -> u32 {
    let mut node = Net::birthday(config(), host, ADDRESSES[host]);
    let seeds = vec![ADDRESSES[4]];
    node.handle(Instant::ORIGIN, Input::Join { seeds: seeds.into() }).expect("there is a seed");
    node.sent.first().and_then(|(_, bytes)| wire::sender(bytes)).expect("a joining node sends")
}

impl Situation {
    /// A node in this situation.
    ///
    /// # Panics
    /// If the replay differs from the run.
    #[must_use]
    pub fn node(&self) -> Watched<SocketAddr> {
        let mut watched = Net::birthday(self.config.clone(), 0, ADDRESSES[0]);
        for (now, input) in &self.log {
            watched.handle(*now, input.clone()).expect("it was accepted before");
        }
        watched
    }
}

/// How an input fared; lets a test see that inputs get past the first checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Datagrams accepted.
    pub accepted: usize,
    /// Datagrams refused.
    pub refused: usize,
}

/// Runs one input.
///
/// # Panics
/// If the node breaks a rule.
pub fn run(input: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    let Some((&situation, mut rest)) = input.split_first() else { return outcome };
    let situation = &situations()[usize::from(situation) % situations().len()];
    let mut watched = situation.node();
    let mut asked = Questions::new();
    note_questions(&mut watched, &mut asked);
    for _ in 0..MAX_STEPS {
        let Some(step) = Step::read(&mut rest) else { break };
        let now = step.when(&watched);
        if now > watched.node.now() || step.control & (TICK | JUMP) != 0 {
            watched.handle(now, Input::Tick).expect("a tick is never refused");
            note_questions(&mut watched, &mut asked);
        }
        // Whatever the time brings is not the datagram's doing.
        let from = ADDRESSES[1 + usize::from(step.control & FROM)];
        let bytes = step.datagram(situation, &watched, &asked);
        if deliver(&mut watched, from, &bytes) {
            outcome.accepted += 1;
        } else {
            outcome.refused += 1;
        }
        note_questions(&mut watched, &mut asked);
    }
    for _ in 0..LAST_TICKS {
        let Some(next) = watched.node.poll_timeout() else { break };
        watched.handle(next, Input::Tick).expect("a tick is never refused");
        watched.sent.clear();
        watched.events.clear();
    }
    outcome
}

/// What the node has asked at each address.
type Questions = BTreeMap<SocketAddr, Asked>;

/// Remembers the last numbers that went to each address, and forgets what was sent.
fn note_questions(watched: &mut Watched<SocketAddr>, asked: &mut Questions) {
    for (to, bytes) in watched.sent.drain(..) {
        asked.entry(to).or_default().note(&bytes);
    }
    watched.events.clear();
}

/// One datagram arrives; true if it was accepted.
fn deliver(watched: &mut Watched<SocketAddr>, from: SocketAddr, bytes: &[u8]) -> bool {
    let known = watched.node.members().any(|member| member.address() == Some(from));
    let (before, counted, now) =
        (state(&watched.node), refusals(&watched.node), watched.node.now());
    match watched.handle(now, Input::Datagram { from, bytes: bytes.into() }) {
        Err(InputError::Datagram(error)) => {
            assert_eq!(before, state(&watched.node), "refused ({error}), and the state changed");
            assert!(
                watched.sent.is_empty() && watched.events.is_empty(),
                "refused ({error}), and answered"
            );
            assert_eq!(
                refusals(&watched.node),
                counted + 1,
                "refused ({error}), and not counted once"
            );
            false
        }
        Err(error) => panic!("a datagram is blamed on the host: {error}"),
        Ok(()) => {
            let replies: Vec<usize> = watched
                .sent
                .iter()
                .filter(|(to, _)| *to == from)
                .map(|(_, reply)| reply.len())
                .collect();
            if !known {
                let (most, all) = (AMPLIFICATION * bytes.len(), replies.iter().sum::<usize>());
                assert!(
                    all <= most,
                    "S17: a stranger sent {} bytes and gets {replies:?}",
                    bytes.len()
                );
            }
            true
        }
    }
}

/// One step, as read from the input.
#[derive(Clone, Copy, Debug)]
struct Step<'a> {
    control: u8,
    jump: [u8; 2],
    bytes: &'a [u8],
}

impl<'a> Step<'a> {
    fn read(rest: &mut &'a [u8]) -> Option<Self> {
        let control = *take(rest, 1)?.first()?;
        let jump = if control & JUMP != 0 { take(rest, 2)?.try_into().ok()? } else { [0; 2] };
        let len = if control & LONG != 0 {
            u16::from_be_bytes(take(rest, 2)?.try_into().ok()?).into()
        } else {
            usize::from(*take(rest, 1)?.first()?)
        };
        let bytes = take(rest, len.min(rest.len()))?;
        Some(Self { control, jump, bytes })
    }

    /// When the datagram comes.
    fn when(&self, watched: &Watched<SocketAddr>) -> Instant {
        let mut now = watched.node.now();
        if self.control & TICK != 0 {
            now = now.max(watched.node.poll_timeout().unwrap_or(now));
        }
        if self.control & JUMP != 0 {
            now = now
                + match u16::from_be_bytes(self.jump) {
                    u16::MAX => Duration::from_secs(30 * 24 * 3_600),
                    millis => Duration::from_millis(millis.into()),
                };
        }
        now
    }

    fn datagram(
        &self,
        situation: &Situation,
        watched: &Watched<SocketAddr>,
        asked: &Questions,
    ) -> Vec<u8> {
        let from = 1 + usize::from(self.control & FROM);
        let mut bytes = Vec::new();
        if self.control & HEADER != 0 {
            let tag = situation.tags.get(from).copied().unwrap_or(0xdead_beef);
            let fingerprints =
                if self.control & EQUAL != 0 { wire::fingerprints(&watched.node) } else { [0; 2] };
            bytes = wire::header(Label::of("fuzz"), tag, fingerprints);
        }
        bytes.extend_from_slice(self.bytes);
        if self.control & ANSWER != 0 {
            let last = asked.get(&ADDRESSES[from]).or(asked.values().next_back());
            if let Some(asked) = last {
                asked.answer(&mut bytes);
            }
        }
        bytes
    }
}

/// Writes a step as [`run`] reads it.
pub fn write_step(out: &mut Vec<u8>, control: u8, bytes: &[u8]) {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.push(control & !JUMP | LONG);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&bytes[..len.into()]);
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(taken)
}
