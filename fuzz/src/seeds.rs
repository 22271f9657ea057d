//! What the first inputs of the targets are made of: datagrams of real nodes, and the golden ones.
//! `examples/seeds.rs` writes them. The inputs of `cluster`, `node` and `seal` are operations, and
//! were found by the fuzzer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use telemetry_gossip_core::Label;

use crate::datagram::{ADDRESSES, ANSWER, EQUAL, HEADER, Situation, TICK, situations, write_step};
use crate::meaning::Golden;
use crate::warm;
use crate::wire::{self, Asked};

/// The longest seed in bytes.
pub const LONGEST: usize = 2_048;

/// A seed: its name and contents.
pub type Seed = (String, Vec<u8>);

fn kinds(datagram: &[u8]) -> Vec<u8> {
    wire::frames(datagram).map(|(kind, _)| kind).collect()
}

fn named(kinds: &[u8]) -> String {
    kinds.iter().map(u8::to_string).collect::<Vec<_>>().join("-")
}

/// For each situation its traffic to a node alone, and for each sequence of frame kinds that
/// datagram as it was, and with its header and numbers made anew.
#[must_use]
pub fn datagram() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut by_kinds: BTreeMap<Vec<u8>, (u8, u8, &[u8])> = BTreeMap::new();
    let mut replays = BTreeSet::new();
    for (number, situation) in (0_u8..).zip(situations()) {
        let mut seed = vec![0];
        for (from, datagram) in &situation.traffic {
            // What the node said itself comes back from the stranger.
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

/// For each situation what the others say in it, as an answer to what the node asks in it, one of
/// each kind; and the golden datagrams, good and bad, with this cluster's label.
#[must_use]
pub fn bytes() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (number, situation) in situations().iter().enumerate() {
        let asked = questions(situation);
        let mut seen = BTreeSet::new();
        // The last come first: they are nearest to where the node stands.
        for (from, datagram) in situation.traffic.iter().rev().filter(|(from, _)| *from > 0) {
            let kinds = kinds(datagram);
            if !seen.insert(kinds.first().copied()) {
                continue;
            }
            let mut seed = datagram.clone();
            asked.get(&ADDRESSES[*from]).copied().unwrap_or_default().answer(&mut seed);
            seed.insert(0, warm::first(number, from - 1));
            seeds.push((format!("{}-{}", situation.name, named(&kinds)), seed));
        }
    }
    let calm = situations().iter().position(|situation| situation.name == "in calm").unwrap_or(0);
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
        seed.insert(0, warm::first(calm, 0));
        seeds.push((format!("golden-{name}"), seed));
    }
    seeds
}

/// What the node has asked so far, at each address.
fn questions(situation: &Situation) -> BTreeMap<SocketAddr, Asked> {
    let watched = situation.node();
    let mut asked: BTreeMap<SocketAddr, Asked> = BTreeMap::new();
    for (to, bytes) in &watched.sent {
        asked.entry(*to).or_default().note(bytes);
    }
    asked
}
