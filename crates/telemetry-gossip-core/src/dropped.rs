//! What a node drops since it cannot read it or may not take it, and when the host is told.
//!
//! A wrong key or label is silent by nature: the node that drops must not answer, as it does not
//! know who sent it. So the host of the node that drops is told, and the operator can look at the
//! sender. The rule has no clock and no node, so that a driver applies the same one to what it
//! drops before it reaches the node.
//!
//! ```text
//!   the first of its reason -------------------------------> told at once
//!   more of that reason, for ten minutes ------------------> counted
//!   the next one after that -------------------------------> told, with the number of all
//!   none for ten minutes ----------------------------------> forgotten: the next one is a first
//! ```

use alloc::vec::Vec;
use core::fmt::{self, Display};
use core::time::Duration;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::bounded::list;
use crate::time::{Instant, TimeRules};

/// How long the host is not told again of the same reason.
const TELL_EVERY: Duration = Duration::from_secs(600);

/// The most addresses that [`Dropped`] names.
pub const MAX_DROP_SOURCES: usize = 3;

/// The most reasons: each is counted by itself.
const REASONS: usize = 9;

/// Why a node dropped something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DropReason {
    /// A datagram in plaintext came to a node that seals.
    NotSealed,
    /// A sealed datagram came to a node without keys.
    Sealed,
    /// A datagram is sealed under a key that the node does not have.
    UnknownKey,
    /// A datagram names a key of the node, and is forged, altered, or sealed for another label.
    NotAuthentic,
    /// A datagram has the label of another cluster.
    OtherLabel,
    /// A datagram is of another version of the protocol.
    OtherVersion,
    /// A datagram is longer than the node accepts.
    TooLong,
    /// A datagram is damaged, or none of this protocol.
    Malformed,
    /// A member was claimed for which the table has no room. Its address is named, instead of that
    /// of the sender.
    TableFull,
}

impl DropReason {
    /// One word for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotSealed => "not-sealed",
            Self::Sealed => "sealed",
            Self::UnknownKey => "unknown-key",
            Self::NotAuthentic => "not-authentic",
            Self::OtherLabel => "other-label",
            Self::OtherVersion => "other-version",
            Self::TooLong => "too-long",
            Self::Malformed => "malformed",
            Self::TableFull => "table-full",
        }
    }

    /// What is wrong with what was dropped, after "it was dropped, as".
    const fn cause(self) -> &'static str {
        match self {
            Self::NotSealed => "in plaintext, while this node takes sealed ones only",
            Self::Sealed => "sealed, while this node has no key",
            Self::UnknownKey => "sealed under a key that this node does not have",
            Self::NotAuthentic => {
                "under a key of this node, but forged, altered or sealed for another label"
            }
            Self::OtherLabel => "with the label of another cluster",
            Self::OtherVersion => "of another version of the protocol",
            Self::TooLong => "longer than this node accepts",
            Self::Malformed => "damaged, or not of this protocol",
            Self::TableFull => "for which the table has no room",
        }
    }

    /// What the operator can do.
    const fn advice(self) -> &'static str {
        match self {
            Self::NotSealed | Self::Sealed => "give all nodes the same key, or none of them a key",
            Self::UnknownKey => "give all nodes the same key",
            Self::NotAuthentic => {
                "compare the labels of the two nodes; if they are the same, look at what sends \
                 these"
            }
            Self::OtherLabel => "give all nodes of one cluster the same label",
            Self::OtherVersion => "finish the upgrade, so that all nodes speak the same version",
            Self::TooLong => "give all nodes the same MTU",
            Self::Malformed => "look at what sends these",
            Self::TableFull => {
                "raise the limit of members on all nodes, or find out whether there are so many"
            }
        }
    }

    /// The noun for what is dropped.
    const fn noun(self) -> &'static str {
        match self {
            Self::TableFull => "claim",
            _ => "datagram",
        }
    }

    /// The words between the count and the addresses.
    const fn preposition(self) -> &'static str {
        match self {
            Self::TableFull => "of members at",
            _ => "from",
        }
    }
}

/// What was dropped for one reason since the host was told last.
///
/// Its `Display` is a sentence for people: what, where from, what is wrong, and what to do.
///
/// ```
/// use telemetry_gossip_core::{DropReason, Dropped};
///
/// let dropped = Dropped::new(DropReason::UnknownKey, 22, [Some("10.0.0.7:7946"), None, None]);
/// assert_eq!(
///     dropped.to_string(),
///     "dropped 22 datagrams from 10.0.0.7:7946, sealed under a key that this node does not have: \
///      give all nodes the same key",
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Dropped<A> {
    /// Why it was dropped.
    pub reason: DropReason,
    /// How many datagrams, or claims if the table is full.
    pub count: u64,
    /// The addresses from which they came, the most frequent first; `None` after the last. Anyone
    /// can forge the source of a datagram that is not sealed under a key of the node.
    pub from: [Option<A>; MAX_DROP_SOURCES],
    /// Whether some came from other addresses.
    pub others: bool,
}

impl<A> Dropped<A> {
    /// What was dropped, from these addresses and no others.
    pub const fn new(reason: DropReason, count: u64, from: [Option<A>; MAX_DROP_SOURCES]) -> Self {
        Self { reason, count, from, others: false }
    }
}

impl<A: Display> Display for Dropped<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, count, from, others } = self;
        let plural = if *count == 1 { "" } else { "s" };
        write!(f, "dropped {count} {}{plural}", reason.noun())?;
        let known = from.iter().flatten().count();
        for (place, address) in from.iter().flatten().enumerate() {
            match (place, place + 1 == known && !others) {
                (0, _) => write!(f, " {} {address}", reason.preposition())?,
                (_, true) => write!(f, " and {address}")?,
                (_, false) => write!(f, ", {address}")?,
            }
        }
        if *others && known > 0 {
            f.write_str(" and others")?;
        }
        write!(f, ", {}: {}", reason.cause(), reason.advice())
    }
}

/// What was dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Tally<A> {
    reason: DropReason,
    /// When the host was told last.
    told_at: Option<Instant>,
    /// When something was dropped last.
    last_at: Instant,
    /// How many were dropped since the host was told.
    count: u64,
    /// Some of their sources, each with a lower bound of how many came from it (Misra and Gries,
    /// 1982): a source that sends more than a quarter of them is among these, whatever others
    /// forge.
    sources: ArrayVec<(A, u64), MAX_DROP_SOURCES>,
    /// Whether there were more sources than there is room for.
    others: bool,
}

impl<A: Copy + PartialEq> Tally<A> {
    const fn new(reason: DropReason, now: Instant) -> Self {
        let sources = ArrayVec::new_const();
        Self { reason, told_at: None, last_at: now, count: 0, sources, others: false }
    }

    fn add_source(&mut self, from: A) {
        if let Some((_, count)) = self.sources.iter_mut().find(|(held, _)| *held == from) {
            *count = count.saturating_add(1);
        } else if self.sources.try_push((from, 1)).is_err() {
            self.others = true;
            match self.sources.iter_mut().find(|(_, count)| *count == 0) {
                Some(unlikely) => *unlikely = (from, 1),
                None => {
                    self.sources.iter_mut().for_each(|(_, count)| *count = count.saturating_sub(1))
                }
            }
        }
    }

    fn clear(&mut self) {
        self.count = 0;
        self.sources.clear();
        self.others = false;
    }

    /// What the host is told, after which the count begins anew.
    fn take(&mut self, now: Instant) -> Dropped<A> {
        self.sources.sort_by_key(|&(_, count)| core::cmp::Reverse(count));
        let mut from = [None; MAX_DROP_SOURCES];
        for (place, &(source, _)) in from.iter_mut().zip(&self.sources) {
            *place = Some(source);
        }
        let told = Dropped { reason: self.reason, count: self.count, from, others: self.others };
        self.told_at = Some(now);
        self.clear();
        told
    }
}

/// Counts what is dropped, by reason, and decides when the host is told: at once of the first, and
/// then once in ten minutes while it goes on. Adding costs some comparisons, and allocates only for
/// the first of a reason.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(serialize = "A: Serialize", deserialize = "A: Deserialize<'de>"))]
pub struct Drops<A> {
    #[serde(deserialize_with = "list::<_, _, _, REASONS>")]
    tallies: Vec<Tally<A>>,
}

impl<A> Default for Drops<A> {
    fn default() -> Self {
        Self { tallies: Vec::new() }
    }
}

impl<A: Copy + PartialEq> Drops<A> {
    /// Counts one; what the host is to be told, if it is time.
    pub fn add(&mut self, reason: DropReason, from: Option<A>, now: Instant) -> Option<Dropped<A>> {
        let place = self.tallies.iter().position(|tally| tally.reason == reason);
        let place = place.unwrap_or_else(|| {
            self.tallies.push(Tally::new(reason, now));
            self.tallies.len() - 1
        });
        let tally = self.tallies.get_mut(place)?;
        if now.since(tally.last_at) >= TELL_EVERY {
            tally.clear();
        }
        tally.last_at = now;
        tally.count = tally.count.saturating_add(1);
        if let Some(from) = from {
            tally.add_source(from);
        }
        let is_time = tally.told_at.is_none_or(|told_at| now.since(told_at) >= TELL_EVERY);
        is_time.then(|| tally.take(now))
    }

    /// Whether the restored counts can be those of a running node.
    pub(crate) fn is_sound(&self, times: TimeRules) -> bool {
        let Self { tallies } = self;
        tallies.iter().enumerate().all(|(place, tally)| {
            let Tally { reason, told_at, last_at, count: _, sources: _, others: _ } = tally;
            times.are_past(&[*told_at, Some(*last_at)])
                && tallies.iter().take(place).all(|earlier| earlier.reason != *reason)
        })
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.tallies.capacity() * size_of::<Tally<A>>()
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    const MINUTE: u64 = 60_000;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn some_of(sources: &[u32]) -> [Option<u32>; MAX_DROP_SOURCES] {
        let mut from = [None; MAX_DROP_SOURCES];
        from.iter_mut().zip(sources).for_each(|(place, &source)| *place = Some(source));
        from
    }

    #[test]
    fn the_first_is_told_at_once_and_the_rest_once_in_ten_minutes() {
        let mut drops = Drops::default();
        let mut told = Vec::new();
        // One per second for half an hour.
        for second in 0..=1_800 {
            let now = at(second * 1_000);
            told.extend(drops.add(DropReason::UnknownKey, Some(7), now).map(|it| (second, it)));
        }
        let counts: Vec<(u64, u64)> = told.iter().map(|(at, it)| (*at, it.count)).collect();
        assert_eq!(counts, [(0, 1), (600, 600), (1_200, 600), (1_800, 600)]);
        assert!(told.iter().all(|(_, it)| it.from == some_of(&[7]) && !it.others));
    }

    #[test]
    fn each_reason_is_told_by_itself() {
        let mut drops = Drops::default();
        for reason in [DropReason::NotSealed, DropReason::OtherLabel, DropReason::TableFull] {
            let told = drops.add(reason, Some(1), at(0)).unwrap();
            assert_eq!((told.reason, told.count), (reason, 1));
            assert_eq!(drops.add(reason, Some(1), at(1)), None);
        }
    }

    #[test]
    fn what_is_over_is_not_counted_when_it_begins_anew() {
        let mut drops = Drops::default();
        for second in 0..60 {
            drops.add(DropReason::Malformed, Some(1), at(second * 1_000));
        }
        let told = drops.add(DropReason::Malformed, Some(2), at(30 * MINUTE)).unwrap();
        assert_eq!((told.count, told.from, told.others), (1, some_of(&[2]), false));
    }

    #[test]
    fn a_flood_from_many_addresses_tells_little_and_names_whoever_sends_most() {
        let mut drops = Drops::default();
        let (mut told, mut heap) = (Vec::new(), None);
        for number in 0..1_200_000_u32 {
            // 1,000 per second; each third one comes from one address, the others from a new one.
            let from = if number % 3 == 0 { 7 } else { 1_000 + number };
            let now = at(number.into());
            told.extend(drops.add(DropReason::NotAuthentic, Some(from), now));
            assert_eq!(*heap.get_or_insert(drops.heap_bytes()), drops.heap_bytes());
        }
        let counts: Vec<u64> = told.iter().map(|told| told.count).collect();
        assert_eq!(counts, [1, 600_000]);
        assert_eq!((told[1].from[0], told[1].others), (Some(7), true));
    }

    #[test]
    fn the_sentence_names_the_addresses_the_cause_and_what_to_do() {
        let said = |count, from: &[u32], others| {
            let from = some_of(from);
            Dropped { others, ..Dropped::new(DropReason::OtherLabel, count, from) }.to_string()
        };
        let rest = ", with the label of another cluster: give all nodes of one cluster the same \
                    label";
        for (said, expected) in [
            (said(1, &[7], false), "dropped 1 datagram from 7"),
            (said(2, &[7, 8], false), "dropped 2 datagrams from 7 and 8"),
            (said(3, &[7, 8, 9], false), "dropped 3 datagrams from 7, 8 and 9"),
            (said(4, &[7, 8, 9], true), "dropped 4 datagrams from 7, 8, 9 and others"),
            (said(5, &[], false), "dropped 5 datagrams"),
        ] {
            assert_eq!(said, [expected, rest].concat());
        }
        let full = Dropped::new(DropReason::TableFull, 2, some_of(&[7])).to_string();
        assert!(full.starts_with("dropped 2 claims of members at 7, for which the"), "{full}");
    }
}
