//! Ways to tell everybody everybody's telemetry, modelled: what each costs, and how late its values
//! are.
//!
//! The models have no loss, no latency and no limit of a datagram's length, all in favour of what
//! is modelled. Time goes in steps of 100 ms. An entry takes [`ENTRY`] bytes beside its key and
//! value, a datagram [`HEADER`], as here. The trees are measured in the whole simulator instead,
//! with everything that a node sends: see [`telemetry`](super::telemetry).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::rng::{Draws, Stream};

/// Bytes of an entry on the wire beside its key and value: whose, which life, which version, how
/// old.
const ENTRY: f64 = 20.0;

/// Bytes of a datagram before its contents.
const HEADER: f64 = 20.0;

/// Bytes of a member's version in a digest.
const VERSION: f64 = 6.0;

/// Bytes a difference of a rateless sketch, and what must come along to be asked for and sent (Yang
/// et al. 2024).
const SKETCHED: f64 = 54.0;

/// A way to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// Each second each member exchanges its whole state with a random one, both ways.
    FullPushPull,
    /// The same, but all versions first, then what differs; as chitchat does it.
    VersionDigest,
    /// The same five times a second.
    FasterDigest,
    /// The same, but a rateless sketch finds what differs.
    Sketch,
    /// News to three random members every 200 ms, each piece sent 4 log10 n times by whoever has
    /// it; as memberlist does it.
    Rumors,
}

impl Scheme {
    pub(super) const ALL: [Self; 5] =
        [Self::FullPushPull, Self::VersionDigest, Self::FasterDigest, Self::Sketch, Self::Rumors];

    /// Steps of 100 ms between two rounds of a member.
    const fn every(self) -> u64 {
        match self {
            Self::FullPushPull | Self::VersionDigest | Self::Sketch => 10,
            Self::FasterDigest | Self::Rumors => 2,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::FullPushPull => "full push-pull, 1 s",
            Self::VersionDigest => "version digest, 1 s",
            Self::FasterDigest => "version digest, 0.2 s",
            Self::Sketch => "rateless sketch, 1 s",
            Self::Rumors => "rumors, 0.2 s",
        })
    }
}

/// What a scheme costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SchemeRow {
    /// Which.
    pub scheme: Scheme,
    /// Members.
    pub members: usize,
    /// Seconds between publications.
    pub period_s: u32,
    /// Bytes received, in times the floor.
    pub ratio: f64,
    /// How much older than the period a value is that is older than 99 of 100, in seconds.
    pub late_s: f64,
}

/// Versions held, a row a member; how often a piece of news has been sent, likewise.
struct Model {
    members: usize,
    held: Vec<u32>,
    sent: Vec<u8>,
    bytes: f64,
    entry: f64,
}

impl Model {
    fn version(&self, at: usize, of: usize) -> u32 {
        self.held[at * self.members + of]
    }

    /// Two members exchange, at `cost` bytes besides the entries that differ.
    fn exchange(&mut self, one: usize, other: usize, cost: f64, difference: f64) {
        for of in 0..self.members {
            let (mine, theirs) = (self.version(one, of), self.version(other, of));
            if mine != theirs {
                let newest = mine.max(theirs);
                self.held[one * self.members + of] = newest;
                self.held[other * self.members + of] = newest;
                self.bytes += self.entry + difference;
            }
        }
        self.bytes += cost;
    }

    /// One member tells another all its news.
    fn tell(&mut self, from: usize, to: usize, limit: u8) {
        let mut any = false;
        for of in 0..self.members {
            let version = self.version(from, of);
            let sent = self.sent[from * self.members + of];
            if version == 0 || sent >= limit {
                continue;
            }
            any = true;
            self.sent[from * self.members + of] = sent + 1;
            self.bytes += self.entry;
            if self.version(to, of) < version {
                self.held[to * self.members + of] = version;
                self.sent[to * self.members + of] = 0;
            }
        }
        self.bytes += if any { HEADER } else { 0.0 };
    }
}

pub(super) fn model(
    scheme: Scheme,
    members: usize,
    period_s: u32,
    bytes: usize,
    seed: u64,
) -> SchemeRow {
    let mut draws = Draws::new(seed, Stream::Experiment);
    let entry = ENTRY + bytes as f64;
    let size = members * members;
    let mut model =
        Model { members, held: vec![0; size], sent: vec![u8::MAX; size], bytes: 0.0, entry };
    let period = u64::from(period_s) * 10;
    let published = |of: usize, step: u64| (step + of as u64 * 7_919) / period;
    let (warm, end) = (period + 150, period * 2 + 300);
    let limit = 4 * (u8::try_from(members.max(1).ilog10()).unwrap_or(u8::MAX) + 1);
    let mut lateness = Vec::new();
    let mut before = 0.0;
    for step in 0..end {
        if step == warm {
            before = model.bytes;
        }
        for of in 0..members {
            let version = u32::try_from(published(of, step)).unwrap_or(u32::MAX);
            if model.version(of, of) != version {
                model.held[of * members + of] = version;
                model.sent[of * members + of] = 0;
            }
        }
        for one in 0..members {
            if !(step + one as u64).is_multiple_of(scheme.every()) {
                continue;
            }
            let other = |draws: &mut Draws| (one + 1 + draws.below(members - 1)) % members;
            let partner = other(&mut draws);
            let versions = members as f64 * VERSION;
            match scheme {
                // Both receive all that the other has, and no difference costs anything.
                Scheme::FullPushPull => {
                    let bytes = model.bytes;
                    model.exchange(one, partner, 0.0, 0.0);
                    model.bytes = bytes + 2.0 * (members as f64 * entry + HEADER);
                }
                // Who is asked receives the versions; who asks, what it wants and theirs that
                // differ: two ways and a header.
                Scheme::VersionDigest | Scheme::FasterDigest => {
                    model.exchange(one, partner, versions + 3.0 * HEADER, VERSION);
                }
                Scheme::Sketch => model.exchange(one, partner, 3.0 * HEADER, SKETCHED),
                Scheme::Rumors => {
                    for _ in 0..3 {
                        let to = other(&mut draws);
                        model.tell(one, to, limit);
                    }
                }
            }
        }
        if step >= warm && step.is_multiple_of(5) {
            // How long ago the version after the one held was published.
            for at in 0..members {
                for of in (0..members).filter(|&of| of != at) {
                    let missing = published(of, step)
                        - u64::from(model.version(at, of)).min(published(of, step));
                    let into = (step + of as u64 * 7_919) % period;
                    lateness.push(if missing == 0 { 0 } else { into + (missing - 1) * period });
                }
            }
        }
    }
    lateness.sort_unstable();
    let late = lateness.get(lateness.len() * 99 / 100).copied().unwrap_or(0);
    let seconds = (end - warm) as f64 / 10.0;
    let floor = (members - 1) as f64 * bytes as f64 / f64::from(period_s);
    let ratio = (model.bytes - before) / seconds / members as f64 / floor;
    SchemeRow { scheme, members, period_s, ratio, late_s: late as f64 / 10.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_push_pull_costs_what_it_must() {
        let row = model(Scheme::FullPushPull, 50, 1, 100, 1);
        // Two states of 120 B a member each second, of which 100 B are counted.
        assert!((2.4..2.6).contains(&row.ratio), "{row:?}");
        let slow = model(Scheme::FullPushPull, 50, 10, 100, 1);
        assert!((24.0..26.0).contains(&slow.ratio), "{slow:?}");
    }

    #[test]
    fn a_digest_costs_least_where_much_differs_and_comes_late() {
        let [digest, rumors] =
            [Scheme::VersionDigest, Scheme::Rumors].map(|scheme| model(scheme, 100, 10, 100, 1));
        assert!(
            digest.ratio < rumors.ratio && digest.late_s > rumors.late_s,
            "{digest:?} {rumors:?}"
        );
    }
}
