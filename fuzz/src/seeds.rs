//! Makes the seeds of the targets from datagrams of real nodes and from the golden datagrams, and
//! those of `node` by a [search](crate::search). `examples/seeds.rs` writes them. The seeds of
//! `cluster` and `seal` are operations that the fuzzer has found.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use arbitrary::{Arbitrary as _, Unstructured};
use telemetry_gossip_core::Label;

use crate::datagram::{ANSWER, EQUAL, HEADER, TICK, write_step};
use crate::meaning::Golden;
use crate::node::{History, MAX_STEPS, Setting, Step};
use crate::search::{Random, search};
use crate::situation::{ADDRESSES, Situation, situations};
use crate::warm;
use crate::wire::{self, Requests};

/// The longest seed in bytes.
pub const LONGEST: usize = 2_048;
/// The number of histories among which those of the target `node` are chosen.
const HISTORIES: usize = 30_000;

/// The name and the contents of a seed.
pub type Seed = (String, Vec<u8>);

fn kinds(datagram: &[u8]) -> Vec<u8> {
    wire::frames(datagram).map(|(kind, _)| kind).collect()
}

fn named(kinds: &[u8]) -> String {
    kinds.iter().map(u8::to_string).collect::<Vec<_>>().join("-")
}

/// Makes the seeds of the target `datagram`: the traffic of each situation, to a node that is
/// alone; and one datagram per sequence of frame kinds, unchanged and with a new header and new
/// numbers.
#[must_use]
pub fn datagram() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut by_kinds: BTreeMap<Vec<u8>, (u8, u8, &[u8])> = BTreeMap::new();
    let mut replays = BTreeSet::new();
    for (number, situation) in (0_u8..).zip(situations()) {
        let mut seed = vec![0];
        for (from, datagram) in &situation.traffic {
            // The datagrams of the node itself come back from the stranger.
            let from = u8::try_from((from + 3) % 4).unwrap_or(0);
            by_kinds.entry(kinds(datagram)).or_insert((number, from, datagram));
            if from != 3 && seed.len() + datagram.len() + 3 <= LONGEST {
                write_step(&mut seed, from | TICK, datagram);
            }
        }
        if seed.len() > 1 && replays.insert(seed.clone()) {
            seeds.push((format!("replay-{}", situation.name), seed));
        }
    }
    for (kinds, (number, from, datagram)) in by_kinds {
        let body = datagram.get(wire::HEADER_LEN..).unwrap_or_default();
        let mut seed = vec![number];
        write_step(&mut seed, from, datagram);
        write_step(&mut seed, from | HEADER | ANSWER, body);
        write_step(&mut seed, from | HEADER | ANSWER | EQUAL | TICK, body);
        write_step(&mut seed, 3 | HEADER | ANSWER, body);
        seeds.push((format!("frames-{}", named(&kinds)), seed));
    }
    seeds
}

/// Makes the seeds of the target `bytes`: for each situation one datagram of each kind from the
/// other nodes, with the numbers of the node's requests; and the golden datagrams, valid and
/// invalid, with the label of this cluster.
#[must_use]
pub fn bytes() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (number, situation) in situations().iter().enumerate() {
        let requests = requests(situation);
        let mut seen = BTreeSet::new();
        // The last datagrams are closest to the state of the node.
        for (from, datagram) in situation.traffic.iter().rev().filter(|(from, _)| *from > 0) {
            let kinds = kinds(datagram);
            if !seen.insert(kinds.first().copied()) {
                continue;
            }
            let mut seed = datagram.clone();
            requests.get(&ADDRESSES[*from]).copied().unwrap_or_default().answer(&mut seed);
            seed.insert(0, warm::first(number, from - 1));
            seeds.push((format!("{}-{}", situation.name, named(&kinds)), seed));
        }
    }
    let quiet = situations().iter().position(|situation| situation.name == "quiet").unwrap_or(0);
    let golden = Golden::load();
    let good = golden
        .datagrams
        .iter()
        .chain(&golden.also_read)
        .map(|case| (&case.name, case.hex.0.clone()));
    let bad = golden.refused.iter().map(|case| (&case.name, case.bytes()));
    let (theirs, ours) = (golden.header.label.to_be_bytes(), Label::of("fuzz").0.to_be_bytes());
    for (name, mut seed) in good.chain(bad).filter(|(_, seed)| seed.len() <= LONGEST) {
        if let Some(label) = seed.get_mut(1..5).filter(|label| **label == theirs) {
            label.copy_from_slice(&ours);
        }
        seed.insert(0, warm::first(quiet, 0));
        seeds.push((format!("golden-{name}"), seed));
    }
    seeds
}

/// Makes the seeds of the target `node`: a search for histories that do what no other one does.
#[must_use]
pub fn node() -> Vec<Seed> {
    let found = search(HISTORIES, 1 + MAX_STEPS, piece_of_history, |bytes| {
        History::arbitrary_take_rest(Unstructured::new(bytes))
            .map_or_else(|_| BTreeSet::new(), |history| traits_of(&history))
    });
    let named = found.into_iter().enumerate();
    named.map(|(number, seed)| (format!("life-{number:03}"), seed)).collect()
}

/// Makes the bytes of a setting or of a step. Every other step is a datagram of a member with
/// frames, since most of what a node does is answering them.
fn piece_of_history(random: &mut Random, at: usize) -> Vec<u8> {
    if at == 0 {
        return random.bytes(size_of::<Setting>());
    }
    let says = random.below(2) == 0;
    loop {
        // In a list, an odd byte says that another step follows.
        let mut bytes = random.bytes(128);
        bytes[0] = 1;
        let mut rest = Unstructured::new(&bytes[1..]);
        let step = Step::arbitrary(&mut rest);
        let is_one = match &step {
            Ok(Step::Hear { says: frames, .. }) => says && !frames.is_empty(),
            other => !says && other.is_ok(),
        };
        if is_one {
            let len = bytes.len() - rest.len();
            bytes.truncate(len);
            return bytes;
        }
    }
}

/// Returns what a history does: the inputs and frames that were accepted, in each mode, the errors
/// of the others, which counters rise how far, and how many members are left.
fn traits_of(history: &History) -> BTreeSet<String> {
    let (mode, outcome) = (history.setting.mode % 4, history.run());
    let twin = if outcome.doubled > 0 { "with a twin" } else { "alone" };
    let accepted = outcome.accepted.iter().flat_map(|(what, kind)| {
        [format!("mode {mode}: {what} {kind}"), format!("{twin}: {what} {kind}")]
    });
    // Numbers in an error make no other trait.
    let refused = outcome.refused.iter().map(|error| {
        format!("{error:?}").chars().filter(|c| !c.is_ascii_digit()).collect::<String>()
    });
    let counters = format!("{:?}", outcome.stats);
    let counters = counters.split([',', '{', '}']).filter_map(|counter| {
        let (name, count) = counter.split_once(": ")?;
        let count: u64 = count.trim().parse().ok().filter(|&count| count > 0)?;
        Some(format!("{name} 4^{}", count.ilog(4)))
    });
    let small = if history.setting.small { "small" } else { "large" };
    let members = outcome.members.iter().zip(["alive", "suspected", "dead", "left"]);
    let members = members.map(|(count, status)| format!("{small} table: {count} {status}"));
    let doubled = outcome.doubled.checked_ilog2().map(|log| format!("2^{log} inputs to a twin"));
    accepted.chain(refused).chain(counters).chain(members).chain(doubled).collect()
}

/// Returns the last requests of the node to each address.
fn requests(situation: &Situation) -> BTreeMap<SocketAddr, Requests> {
    let watched = situation.node();
    let mut requests: BTreeMap<SocketAddr, Requests> = BTreeMap::new();
    for (to, bytes) in &watched.sent {
        requests.entry(*to).or_default().note(bytes);
    }
    requests
}
