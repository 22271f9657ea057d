//! What liars have heard, said and recorded.

use std::collections::BTreeMap;

use super::wire::{self, Said, TelemetryHead, kind};
use crate::rng::Draws;

/// The most datagrams that are recorded.
const RECORDED: usize = 512;

/// A datagram as it was on the wire.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) bytes: Vec<u8>,
}

/// The memory that all liars of a run share.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// By id: the highest claim that was heard.
    claims: BTreeMap<String, Said>,
    /// By id: the highest generation that a liar said.
    said: BTreeMap<String, u64>,
    /// By id hash of the owner: the latest version of its telemetry.
    telemetry: BTreeMap<u32, TelemetryHead>,
    /// A sample of all datagrams since the first one, so that earlier lives remain in it.
    recorded: Vec<Recorded>,
    seen: usize,
}

impl Memory {
    /// Remembers what a datagram says of members and of telemetry.
    pub(super) fn hear(&mut self, contents: &[u8]) {
        for (kind, mut body) in wire::frames(contents) {
            match kind {
                kind::CLAIMS => {
                    while let Some(claim) = body.claim() {
                        let rank = |claim: &Said| (claim.generation, claim.status, claim.instance);
                        let held = self.claims.get(&claim.id);
                        if held.is_none_or(|held| rank(held) < rank(&claim)) {
                            self.claims.insert(claim.id.clone(), claim);
                        }
                    }
                }
                kind::TELEMETRY | kind::TELEMETRY_ANEW => {
                    let Some(head) = body.telemetry(kind == kind::TELEMETRY_ANEW) else { continue };
                    let held = self.telemetry.entry(head.owner).or_insert(head);
                    if held.instance != head.instance || held.version < head.version {
                        *held = head;
                    }
                }
                _ => {}
            }
        }
    }

    /// Keeps a datagram, or not: each one since the first is kept with the same probability.
    pub(super) fn record(&mut self, draws: &mut Draws, from: u32, to: u32, bytes: &[u8]) {
        self.seen += 1;
        let datagram = || Recorded { from, to, bytes: bytes.to_vec() };
        if self.recorded.len() < RECORDED {
            self.recorded.push(datagram());
        } else if let Some(place) = self.recorded.get_mut(draws.below(self.seen)) {
            *place = datagram();
        }
    }

    pub(super) fn recorded(&self) -> &[Recorded] {
        &self.recorded
    }

    /// What was heard of a member.
    pub(super) fn claim(&self, id: &str) -> Option<&Said> {
        self.claims.get(id)
    }

    /// The highest generation of a member that was heard, or also said.
    pub(super) fn generation(&self, id: &str, said_too: bool) -> u64 {
        let said = self.said.get(id).copied().filter(|_| said_too).unwrap_or(0);
        self.claims.get(id).map_or(0, |claim| claim.generation).max(said)
    }

    pub(super) fn say(&mut self, id: &str, generation: u64) {
        let highest = self.said.entry(id.to_owned()).or_default();
        *highest = generation.max(*highest);
    }

    pub(super) fn telemetry(&self, owner: u32) -> Option<TelemetryHead> {
        self.telemetry.get(&owner).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    #[test]
    fn a_recording_keeps_datagrams_from_the_whole_run() {
        let (mut memory, mut draws) = (Memory::default(), Draws::new(1, Stream::Lies));
        for number in 0..10_000 {
            memory.record(&mut draws, number, 0, &[]);
        }
        let early = memory.recorded().iter().filter(|recorded| recorded.from < 5_000).count();
        assert_eq!(memory.recorded().len(), RECORDED);
        // Four standard deviations of 512 draws are 45.
        assert!((211..=301).contains(&early), "{early}");
    }
}
