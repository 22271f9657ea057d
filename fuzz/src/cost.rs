//! The cost of one datagram: what it may be, and the target `cost`, which looks for more.
//!
//! ```text
//! input = scene and sender (1) frames
//! ```
//!
//! The frames follow a valid header, and meet a node of 250 members in one of the scenes of
//! `tests/wire/scenes.rs` of the core. The seeds are the datagrams of `costly.rs` beside it. Each
//! level of a cost is code of its own, so that the fuzzer keeps an input that costs more than all
//! before it, and goes on from there.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::net::SocketAddr;

use telemetry_gossip_core::work;

use crate::meaning::Header;
use crate::scenes::{Liar, SCENES};
use crate::warm::Warm;
use crate::watched::AMPLIFICATION;
use crate::{costly, writer};

/// The members in the table of each scene.
const MEMBERS: u32 = 250;

/// The longest datagram.
pub(crate) const LONGEST: usize = 1_500;

/// What one datagram has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// The bytes received.
    pub received: u64,
    /// The bytes sent at once because of it, to all addresses.
    pub sent: u64,
    /// The most bytes sent to one address that has proved nothing.
    pub to_stranger: u64,
    /// The rows of the table that were visited.
    pub rows: u64,
    /// The steps for telemetry; see [`work::MAX_STEPS`].
    pub steps: u64,
    /// The bytes by which the heap has grown.
    pub growth: u64,
    /// The number of members in the table.
    pub members: u64,
    /// The most bytes of one datagram that the node sends.
    pub mtu: u64,
}

impl Cost {
    /// Checks each cost against the bound that the core states.
    ///
    /// # Errors
    /// The first cost above its bound.
    pub fn check(&self) -> Result<(), String> {
        let Self { received, sent, to_stranger, rows, steps, growth, members, mtu } = *self;
        let bounds = [
            ("rows visited", rows, work::max_rows(received, sent)),
            ("steps for telemetry", steps, work::MAX_STEPS),
            ("bytes sent", sent, work::max_sent(received, mtu)),
            ("bytes sent to a stranger", to_stranger, AMPLIFICATION as u64 * received),
            ("bytes of growth", growth, work::max_growth(received, members)),
        ];
        match bounds.into_iter().find(|(_, cost, most)| cost > most) {
            Some((what, cost, most)) => {
                Err(format!("S14: {received} bytes cost {cost} {what} of at most {most}"))
            }
            None => Ok(()),
        }
    }

    /// Runs code of its own for each level of each cost.
    fn feel(&self) {
        reach::<0>(self.rows);
        reach::<1>(self.steps);
        reach::<2>(self.sent);
        reach::<3>(self.growth);
        reach::<4>(self.to_stranger);
    }
}

/// The number of levels: two per power of two.
const LEVELS: usize = 40;

#[inline(never)]
fn level<const METER: u8, const LEVEL: usize>() {
    black_box((METER, LEVEL));
}

macro_rules! levels {
    ($meter:ident: $($level:literal)*) => { [$(level::<$meter, $level> as fn()),*] };
}

/// Calls the function of the level that a cost has reached.
fn reach<const METER: u8>(cost: u64) {
    let functions: [fn(); LEVELS] = levels!(METER:
        0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19
        20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39);
    let log = cost.max(1).ilog2();
    let half = cost >> log.saturating_sub(1) & 1;
    let at = (2 * log as usize + half as usize).min(LEVELS - 1);
    functions[at]();
}

/// A node in a scene, and the sender of the datagrams.
struct Stage {
    warm: Warm,
    from: SocketAddr,
    header: Header,
    /// The addresses that have proved themselves, and the seeds of the node.
    trusted: BTreeSet<SocketAddr>,
}

/// Another sender.
fn stranger() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 9], 9))
}

thread_local! {
    static STAGES: RefCell<Vec<Stage>> = RefCell::new(stages().into_iter().map(|(_, stage)| stage)
        .collect());
}

/// Makes the scenes, which takes longer than one input may. A target calls it before its first
/// input.
pub fn prepare() {
    STAGES.with_borrow(|_| ());
}

fn stages() -> Vec<(Liar, Stage)> {
    let made = SCENES.iter().map(|scene| scene.make(MEMBERS)).map(|(node, liar)| {
        let addresses = node.members().filter_map(|member| member.address());
        let stage = Stage {
            trusted: addresses.chain(liar.seed()).collect(),
            from: liar.from,
            header: liar.target(LONGEST).header,
            warm: Warm::new(node),
        };
        (liar, stage)
    });
    made.collect()
}

/// Runs one input. Returns what its datagram has cost; `None` if it was refused.
///
/// # Panics
/// If it costs more than it may, or the node breaks a rule.
pub fn run(input: &[u8]) -> Option<Cost> {
    let (&first, frames) = input.split_first()?;
    let cost = STAGES.with_borrow_mut(|stages| {
        let at = usize::from(first >> 1) % stages.len();
        let stage = &mut stages[at];
        let from = if first & 1 == 0 { stage.from } else { stranger() };
        let mut bytes = writer::datagram(&stage.header, &[]);
        bytes.extend(frames);
        cost_of(&mut stage.warm, &stage.trusted, from, &bytes)
    })?;
    if let Err(error) = cost.check() {
        panic!("{error}");
    }
    cost.feel();
    Some(cost)
}

fn cost_of(
    warm: &mut Warm,
    trusted: &BTreeSet<SocketAddr>,
    from: SocketAddr,
    bytes: &[u8],
) -> Option<Cost> {
    warm.restore();
    let (rows, heap) = (warm.node().stats().rows_visited, warm.node().heap_bytes());
    let mut to_each: BTreeMap<SocketAddr, u64> = BTreeMap::new();
    let (steps, accepted) = work::steps_of(|| {
        let accepted = warm.receive(from, bytes).is_ok();
        warm.drain(|to, bytes| *to_each.entry(to).or_default() += bytes.len() as u64);
        accepted
    });
    let node = warm.node();
    accepted.then(|| Cost {
        received: bytes.len() as u64,
        sent: to_each.values().sum(),
        to_stranger: to_each
            .iter()
            .filter(|(to, _)| !trusted.contains(to))
            .map(|(_, &sent)| sent)
            .max()
            .unwrap_or(0),
        rows: node.stats().rows_visited - rows,
        steps,
        growth: node.heap_bytes().saturating_sub(heap) as u64,
        members: node.membership().len() as u64,
        mtu: node.config().mtu.into(),
    })
}

/// The scenes of the seeds. The fuzzer finds the others by the first byte.
const SEEDED: [&str; 4] = [
    "quiet, from a stranger",
    "full telemetry",
    "a session in flight, full telemetry",
    "a join pending",
];

/// Makes the seeds: each thought-out datagram in some of the scenes.
#[must_use]
pub fn seeds() -> Vec<crate::seeds::Seed> {
    let mut seeds = Vec::new();
    for ((liar, stage), (number, scene)) in stages().into_iter().zip((0_u8..).zip(SCENES)) {
        if !SEEDED.contains(&scene.name) {
            continue;
        }
        let empty = writer::datagram(&stage.header, &[]).len();
        for (name, bytes) in costly::datagrams(&liar.target(LONGEST)) {
            let mut seed = vec![number << 1];
            seed.extend_from_slice(&bytes[empty..]);
            seeds.push((format!("{} {name}", scene.name), seed));
        }
    }
    seeds
}
