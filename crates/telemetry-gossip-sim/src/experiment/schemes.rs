//! Models of other schemes to disseminate telemetry: the cost of each, and the lateness of its
//! values.
//!
//! The models favour the other schemes: they have no loss, no latency, and no limit on the length
//! of a datagram. Time proceeds in steps of 100 ms. As in this implementation, an entry takes
//! [`ENTRY`] bytes besides its key and value, and a datagram [`HEADER`]. Our trees are not modelled
//! but measured in the simulator, with all datagrams of the nodes: see
//! [`telemetry`](super::telemetry).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::rng::{Draws, Stream};

/// Bytes of an entry on the wire besides its key and value: owner, instance, version and age.
const ENTRY: f64 = 20.0;

/// Bytes of a datagram's header.
const HEADER: f64 = 20.0;

/// Bytes of one member's version in a digest.
const VERSION: f64 = 6.0;

/// Bytes per difference of a rateless sketch, including the request for the entry (Yang et al.
/// 2024).
const SKETCHED: f64 = 54.0;

/// A scheme to disseminate telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Scheme {
    /// Every second each member exchanges its whole state with a random member, in both directions.
    FullPushPull,
    /// Every second each member exchanges all versions with a random member, then the entries that
    /// differ. Chitchat works like this.
    VersionDigest,
    /// The version digest, five times per second.
    FasterDigest,
    /// Every second each member finds the differences to a random member with a rateless sketch.
    Sketch,
    /// Every 200 ms each member sends its news to three random members, each piece 4 log10 n times.
    /// Memberlist works like this.
    Rumors,
}

impl Scheme {
    pub(super) const ALL: [Self; 5] =
        [Self::FullPushPull, Self::VersionDigest, Self::FasterDigest, Self::Sketch, Self::Rumors];

    /// The number of steps between two rounds of a member.
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

/// The cost and lateness of a scheme.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SchemeRow {
    /// The scheme.
    pub scheme: Scheme,
    /// The number of members.
    pub members: usize,
    /// Seconds between publications.
    pub period_s: u32,
    /// Bytes received, as a multiple of the floor.
    pub ratio: f64,
    /// The 99th percentile of the age of values, minus the period, in seconds.
    pub late_s: f64,
}

/// The state of all members.
struct Model {
    members: usize,
    /// The versions held, one row of the matrix per member.
    held: Vec<u32>,
    /// How often a member has sent a version, likewise.
    sent: Vec<u8>,
    /// Bytes received so far by all.
    bytes: f64,
    /// Bytes of an entry.
    entry: f64,
}

impl Model {
    fn version(&self, at: usize, of: usize) -> u32 {
        self.held[at * self.members + of]
    }

    /// Two members exchange what differs. This costs `cost` bytes, plus an entry and `difference`
    /// bytes for each difference.
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

    /// One member sends all its news to another.
    fn send_news(&mut self, from: usize, to: usize, limit: u8) {
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

/// Runs the model of a scheme.
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
    // A prime spreads the publications of the members over the period.
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
                // Both receive the whole state of the other, whatever differs.
                Scheme::FullPushPull => {
                    let bytes = model.bytes;
                    model.exchange(one, partner, 0.0, 0.0);
                    model.bytes = bytes + 2.0 * (members as f64 * entry + HEADER);
                }
                // The partner receives all versions. The initiator receives what it lacks and the
                // versions that the partner lacks, and sends those entries: three datagrams.
                Scheme::VersionDigest | Scheme::FasterDigest => {
                    model.exchange(one, partner, versions + 3.0 * HEADER, VERSION);
                }
                Scheme::Sketch => model.exchange(one, partner, 3.0 * HEADER, SKETCHED),
                Scheme::Rumors => {
                    for _ in 0..3 {
                        let to = other(&mut draws);
                        model.send_news(one, to, limit);
                    }
                }
            }
        }
        if step >= warm && step.is_multiple_of(5) {
            // The lateness is the time since the version after the one held was published.
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
    fn a_full_push_pull_costs_two_whole_states() {
        let row = model(Scheme::FullPushPull, 50, 1, 100, 1);
        // Two states of 120 B per member each second, over a floor of 100 B.
        assert!((2.4..2.6).contains(&row.ratio), "{row:?}");
        let slow = model(Scheme::FullPushPull, 50, 10, 100, 1);
        assert!((24.0..26.0).contains(&slow.ratio), "{slow:?}");
    }

    #[test]
    fn a_version_digest_is_cheaper_and_later_than_rumors() {
        let [digest, rumors] =
            [Scheme::VersionDigest, Scheme::Rumors].map(|scheme| model(scheme, 100, 10, 100, 1));
        assert!(
            digest.ratio < rumors.ratio && digest.late_s > rumors.late_s,
            "{digest:?} {rumors:?}"
        );
    }
}
