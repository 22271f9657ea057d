//! What the other members publish: the version by which each of them goes.

use std::collections::BTreeMap;

use crate::document::{DocumentHash, MAX_VERSION};

/// What the live members publish, other than this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    pub(super) live: usize,
    published: BTreeMap<Published, usize>,
    pub(super) settled: bool,
}

/// The version that a node publishes: its number, and the first digits of its hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Published {
    version: u64,
    hash: String,
}

impl Published {
    /// Reads the value of [`TELEMETRY_KEY`](super::TELEMETRY_KEY); `None` if it is none.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (version, hash) = std::str::from_utf8(value).ok()?.split_once('.')?;
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_hash = hash.len() == 16 && hash.bytes().all(is_digit);
        let number: u64 = version.parse().ok()?;
        // Another spelling, such as `+5`, or a version that no document has, is not a node's.
        let is_version = (1..=MAX_VERSION).contains(&number) && number.to_string() == version;
        (is_hash && is_version).then(|| Self { version: number, hash: hash.to_owned() })
    }

    /// The version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The first 16 digits of the hash.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

impl Fleet {
    /// Adds up what each live member publishes, other than this node. `settled` is whether the node
    /// has joined and heard from them, or has no others to hear from.
    pub fn new(others: impl IntoIterator<Item = Option<Published>>, settled: bool) -> Self {
        let mut fleet = Self { settled, ..Self::default() };
        for published in others {
            fleet.live += 1;
            if let Some(published) = published {
                *fleet.published.entry(published).or_default() += 1;
            }
        }
        fleet
    }

    /// How many publish this version with this hash.
    pub(crate) fn publishing(&self, version: u64, hash: &DocumentHash) -> usize {
        let wanted = Published { version, hash: hash.short() };
        self.published.get(&wanted).copied().unwrap_or(0)
    }

    /// A version above this one if half of the live members, this node included, publish such.
    pub(crate) fn half_is_above(&self, version: u64) -> Option<u64> {
        let above = self.published.iter().filter(|(published, _)| published.version > version);
        let count: usize = above.clone().map(|(_, count)| count).sum();
        let lowest = above.map(|(published, _)| published.version).min();
        lowest.filter(|_| 2 * count > self.live)
    }
}
