//! The telemetry of one node: a small key-value log in order of version.
//!
//! Only the owner writes. Each publication gets the owner's next version. An entry that is replaced
//! or removed is taken out and the new one appended, so the log stays in ascending order of
//! version, and *the update since version v is a suffix*. A reader that applies suffixes without a
//! gap holds exactly the owner's state up to a version.
//!
//! The log is a packed byte string at the end of a member's record. A member without telemetry
//! takes no memory for it, and replacing a value by one that is not longer allocates nothing. The
//! version stands last in an entry, so that the newest version is the end of the log:
//!
//! ```text
//! log   = [0 (1), compacted version (6)] entry*
//! entry = key length (1), value length or REMOVED (2), published in ms and urgency (5),
//!         key, value, version (6)
//! ```
//!
//! A removed key leaves a *delete marker*, so that the removal spreads like a value. Markers that
//! had time to spread are dropped, and the version of the latest dropped one is the *compacted
//! version* of the log. A reader that knows the log to less than that may hold keys that are gone,
//! and reads the whole log anew.
//!
//! A reader that has no room for the log of an owner keeps the version alone. Such a log is *not
//! held*: it has no entries, and a second header with the version in the place of them.
//!
//! ```text
//! not held = [0 (1), 0 (6)] [0 (1), version (6)]
//! ```
//!
//! New entries are merged in one pass over the log, however many they are, so that the cost of a
//! frame is that of reading the log once.
//!
//! How entries travel is decided in `dissemination` and `anti_entropy`, not here.

use alloc::vec::Vec;
use core::cmp::Reverse;
use core::time::Duration;

use arrayvec::ArrayVec;

use crate::config::MAX_LOG;
use crate::time::Instant;

/// The bytes of an entry without its key and value.
pub(crate) const ENTRY_OVERHEAD: usize = 1 + 2 + 5 + 6;
// The error of a full log names it.
const _: () = assert!(ENTRY_OVERHEAD == 14);

/// The most bytes of a log that a reader holds: between two states of the owner it may hold parts
/// of both.
pub(crate) const MAX_LOG_READ: usize = 2 * MAX_LOG;

/// The most entries that a node publishes, delete markers included.
pub(crate) const MAX_ENTRIES: usize = 1_024;

/// The most entries of a log that a reader holds, for the same reason as [`MAX_LOG_READ`].
pub(crate) const MAX_ENTRIES_READ: usize = 2 * MAX_ENTRIES;

/// The latest time of publication that an entry can hold, in milliseconds since the origin: 17
/// years.
const MAX_PUBLISHED_MS: u64 = (1 << 39) - 1;

/// The bytes of a compacted version at the beginning of a log: a key length that no key has, and
/// the version.
const COMPACTED_LEN: usize = 1 + 6;

/// The shortest time for which a delete marker is kept, so that the removal can spread.
const MIN_MARKER_AGE: Duration = Duration::from_secs(60);

/// The highest version: one publication per microsecond for nine years.
pub(crate) const MAX_VERSION: u64 = (1 << 48) - 1;

/// The value length that marks an entry as a delete marker.
const REMOVED: u16 = u16::MAX;

/// The bytes that cost about as much to move as one entry costs to look at.
const BYTES_PER_STEP: usize = 256;

/// One entry of a node's telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TelemetryEntry<'a> {
    /// The key.
    pub key: &'a str,
    /// The value.
    pub value: &'a [u8],
    /// The version at which the owner published it.
    pub version: u64,
    /// The time at which the owner published it, as well as it is known here: it is computed from
    /// the ages that the senders on the way reported, which do not include the time on the network.
    pub published: Instant,
    /// Whether the owner published it as urgent.
    pub urgent: bool,
}

impl TelemetryEntry<'_> {
    /// Returns the age of the entry at `now`.
    #[must_use]
    pub fn age(&self, now: Instant) -> Duration {
        now.since(self.published)
    }
}

/// An entry as it stands in a log. Its key was checked to be text where it entered the node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogEntry<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) version: u64,
    pub(crate) published: Instant,
    pub(crate) urgent: bool,
}

impl<'a> LogEntry<'a> {
    /// The entry as a host reads it; `None` if the owner removed it.
    pub(crate) fn read(&self) -> Option<TelemetryEntry<'a>> {
        let Self { key, value, version, published, urgent } = *self;
        Some(TelemetryEntry {
            key: core::str::from_utf8(key).ok()?,
            value: value?,
            version,
            published,
            urgent,
        })
    }

    /// The key and the version of an entry that its owner removed.
    pub(crate) fn removed(&self) -> Option<(&'a str, u64)> {
        let key = core::str::from_utf8(self.key).ok()?;
        self.value.is_none().then_some((key, self.version))
    }

    /// Returns the bytes that this entry takes in a log.
    pub(crate) fn packed_len(&self) -> usize {
        ENTRY_OVERHEAD + self.key.len() + self.value.map_or(0, <[u8]>::len)
    }
}

/// An iterator over the entries of a packed log, in order of version.
#[derive(Clone, Debug)]
pub(crate) struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    pub(crate) fn new(log: &'a [u8]) -> Self {
        Self { rest: log.get(compacted_len(log)..).unwrap_or_default() }
    }

    /// Skips the entries up to version `since`. Returns the version of the last one skipped; 0 if
    /// there is none.
    ///
    /// What is sent of a log is mostly its end, once for each branch of a tree. So this reads of
    /// each entry only how long it is and its version.
    pub(crate) fn skip_to(&mut self, since: u64) -> u64 {
        let mut last = 0;
        while let Some(&[key_len, v0, v1]) = self.rest.first_chunk() {
            #[cfg(any(test, feature = "check-invariants"))]
            crate::work::add(1);
            let value_len = match u16::from_le_bytes([v0, v1]) {
                REMOVED => 0,
                len => len,
            };
            let len = ENTRY_OVERHEAD + usize::from(key_len) + usize::from(value_len);
            let Some((entry, rest)) = self.rest.split_at_checked(len) else { break };
            let Some(&[a, b, c, d, e, f]) = entry.last_chunk() else { break };
            let version = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
            // No key is empty: a log that begins with one is not held.
            if key_len == 0 || version > since {
                break;
            }
            (last, self.rest) = (version, rest);
        }
        last
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = LogEntry<'a>;

    fn next(&mut self) -> Option<LogEntry<'a>> {
        #[cfg(any(test, feature = "check-invariants"))]
        crate::work::add(1);
        let (&[key_len], rest) = self.rest.split_first_chunk()?;
        if key_len == 0 {
            // No key is empty: this log is not held.
            return None;
        }
        let (&value_len, rest) = rest.split_first_chunk()?;
        let (&[p0, p1, p2, p3, p4], rest) = rest.split_first_chunk()?;
        let (key, rest) = rest.split_at_checked(key_len.into())?;
        let value_len = u16::from_le_bytes(value_len);
        let (value, rest) = if value_len == REMOVED {
            (None, rest)
        } else {
            let (value, rest) = rest.split_at_checked(value_len.into())?;
            (Some(value), rest)
        };
        let (&[v0, v1, v2, v3, v4, v5], rest) = rest.split_first_chunk()?;
        self.rest = rest;
        let published = u64::from_le_bytes([p0, p1, p2, p3, p4, 0, 0, 0]);
        Some(LogEntry {
            key,
            value,
            version: u64::from_le_bytes([v0, v1, v2, v3, v4, v5, 0, 0]),
            published: Instant::from_micros((published >> 1) * 1_000),
            urgent: published & 1 != 0,
        })
    }
}

/// What a merge did to a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edited {
    /// The number of entries in the log.
    pub(crate) entries: usize,
    /// What the merge cost: the number of entries looked at, and a part of the bytes moved.
    pub(crate) steps: usize,
}

/// New entries in order of version, few of them without an allocation.
#[derive(Debug, Default)]
pub(crate) struct NewEntries<'a> {
    few: ArrayVec<LogEntry<'a>, 4>,
    many: Vec<LogEntry<'a>>,
}

impl<'a> NewEntries<'a> {
    /// Adds an entry, which must be newer than those before it.
    pub(crate) fn push(&mut self, entry: LogEntry<'a>) {
        if !self.many.is_empty() {
            self.many.push(entry);
        } else if let Err(full) = self.few.try_push(entry) {
            self.many.extend(self.few.iter().copied());
            self.many.push(full.element());
        }
    }

    pub(crate) fn as_slice(&self) -> &[LogEntry<'a>] {
        if self.many.is_empty() { &self.few } else { &self.many }
    }
}

/// Merges `new`, which are newer than the log and in order of version, into the log that is the
/// tail of `bytes` from `start`: removes the older entries of their keys and appends them. Of two
/// new entries of one key the later stays.
///
/// If a key is removed, the delete markers that had time to spread by `now` are dropped in the same
/// pass.
pub(crate) fn merge(
    bytes: &mut Vec<u8>,
    start: usize,
    new: &[LogEntry<'_>],
    now: Instant,
) -> Edited {
    let mut keys: ArrayVec<(&[u8], usize), 4> = ArrayVec::new();
    let mut sorted = Vec::new();
    for (at, entry) in new.iter().enumerate() {
        if keys.is_full() {
            sorted = new.iter().enumerate().map(|(at, entry)| (entry.key, at)).collect();
            // The latest of each key stands first among its like, and is the one that is kept.
            sorted.sort_unstable_by_key(|&(key, at)| (key, Reverse(at)));
            sorted.dedup_by_key(|&mut (key, _)| key);
            break;
        }
        // A key that comes again takes the place of its earlier entry.
        match keys.iter_mut().find(|(key, _)| *key == entry.key) {
            Some(earlier) => earlier.1 = at,
            None => keys.push((entry.key, at)),
        }
    }
    let latest = |key: &[u8]| {
        if sorted.is_empty() {
            return keys.iter().find(|(new, _)| *new == key).map(|&(_, at)| at);
        }
        let found = sorted.binary_search_by_key(&key, |&(new, _)| new).ok()?;
        sorted.get(found).map(|&(_, at)| at)
    };
    let sweep = new.iter().any(|entry| entry.value.is_none());
    let newest = new.last().map_or(0, |entry| entry.version);
    let mut edited = retain(bytes, start, |entry| {
        let gone = sweep && is_old_marker(entry, now) && entry.version < newest;
        match (latest(entry.key), gone) {
            (Some(_), _) => Keep::No,
            (None, true) => Keep::Compact,
            (None, false) => Keep::Yes,
        }
    });
    let kept = |&(at, entry): &(usize, &LogEntry<'_>)| latest(entry.key) == Some(at);
    let added = new.iter().enumerate().filter(kept).map(|(_, entry)| entry.packed_len()).sum();
    bytes.reserve_exact(added);
    for (_, entry) in new.iter().enumerate().filter(kept) {
        write(bytes, entry);
        edited.entries += 1;
        edited.steps += 1;
    }
    edited
}

/// Whether an entry is a delete marker that had time to spread.
fn is_old_marker(entry: &LogEntry<'_>, now: Instant) -> bool {
    entry.value.is_none() && now.since(entry.published) >= MIN_MARKER_AGE
}

/// Appends an entry to the bytes of a log.
fn write(bytes: &mut Vec<u8>, entry: &LogEntry<'_>) {
    let Ok(key_len) = u8::try_from(entry.key.len()) else { return };
    let value_len =
        entry.value.map_or(REMOVED, |value| u16::try_from(value.len()).unwrap_or(REMOVED));
    bytes.push(key_len);
    bytes.extend_from_slice(&value_len.to_le_bytes());
    let published =
        (entry.published.as_micros() / 1_000).min(MAX_PUBLISHED_MS) << 1 | u64::from(entry.urgent);
    bytes.extend_from_slice(&published.to_le_bytes()[..5]);
    bytes.extend_from_slice(entry.key);
    bytes.extend_from_slice(entry.value.unwrap_or_default());
    bytes.extend_from_slice(&entry.version.to_le_bytes()[..6]);
}

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Yes,
    No,
    /// It goes, and its version becomes the compacted version.
    Compact,
}

/// Removes entries from a log, in one pass, and moves each byte at most once.
fn retain(bytes: &mut Vec<u8>, start: usize, keep: impl Fn(&LogEntry<'_>) -> Keep) -> Edited {
    let mut edited = Edited { entries: 0, steps: 1 };
    let Some(log) = bytes.get(start..) else { return edited };
    let mut at = start + compacted_len(log);
    // The bytes before `end` are done. Those from `from` to `at` stay, and wait to be moved.
    let (mut end, mut from, mut compacted) = (at, at, 0);
    loop {
        let mut rest = Entries { rest: bytes.get(at..).unwrap_or_default() };
        let Some(entry) = rest.next() else { break };
        edited.steps += 1;
        let next = at + entry.packed_len();
        let kept = keep(&entry);
        if kept == Keep::Yes {
            edited.entries += 1;
        } else {
            if kept == Keep::Compact {
                compacted = entry.version;
            }
            edited.steps += shift(bytes, from..at, end);
            end += at - from;
            from = next;
        }
        at = next;
    }
    edited.steps += shift(bytes, from..at, end);
    bytes.truncate(end + at - from);
    raise_compacted(bytes, start, compacted);
    edited
}

/// Moves a range to the front, to `to`. Returns the cost.
fn shift(bytes: &mut [u8], range: core::ops::Range<usize>, to: usize) -> usize {
    if range.start == to {
        return 0;
    }
    let steps = range.len() / BYTES_PER_STEP;
    #[cfg(any(test, feature = "check-invariants"))]
    crate::work::add(steps);
    bytes.copy_within(range, to);
    steps
}

fn compacted_len(log: &[u8]) -> usize {
    if log.first() == Some(&0) { COMPACTED_LEN } else { 0 }
}

/// Returns the compacted version of a log; 0 if all delete markers are still in it. A reader that
/// knows the log to less than this version cannot be sent a suffix of it.
pub(crate) fn compacted_version(log: &[u8]) -> u64 {
    match log.first_chunk() {
        Some(&[0, v0, v1, v2, v3, v4, v5]) => u64::from_le_bytes([v0, v1, v2, v3, v4, v5, 0, 0]),
        _ => 0,
    }
}

/// Raises the compacted version of the log that is the tail of `bytes` from `start` to this one.
fn raise_compacted(bytes: &mut Vec<u8>, start: usize, compacted: u64) {
    let log = bytes.get(start..).unwrap_or_default();
    if compacted <= compacted_version(log) {
        return;
    }
    if compacted_len(log) == 0 {
        let at = start.min(bytes.len());
        bytes.splice(at..at, [0; COMPACTED_LEN]);
    }
    write_compacted(bytes, start, compacted);
}

fn write_compacted(bytes: &mut [u8], start: usize, compacted: u64) {
    if let Some(stated) = bytes.get_mut(start + 1..start + COMPACTED_LEN) {
        stated.copy_from_slice(&compacted.to_le_bytes()[..6]);
    }
}

/// Lowers the compacted version of a log that has one to this one.
///
/// A reader that knows the log up to a version, and has all markers above it, need not send the
/// whole log to readers that know as much. So a compacted version that no owner stated does not
/// last.
pub(crate) fn lower_compacted(bytes: &mut [u8], start: usize, most: u64) {
    if compacted_version(bytes.get(start..).unwrap_or_default()) > most {
        write_compacted(bytes, start, most);
    }
}

/// Empties the log that is the tail of `bytes` from `start`, and sets its compacted version.
pub(crate) fn reset(bytes: &mut Vec<u8>, start: usize, compacted: u64) {
    bytes.truncate(start);
    bytes.push(0);
    bytes.extend_from_slice(&compacted.to_le_bytes()[..6]);
}

/// Empties the log that is the tail of `bytes` from `start` and keeps its version alone: the log is
/// not held.
pub(crate) fn withhold(bytes: &mut Vec<u8>, start: usize, version: u64) {
    reset(bytes, start, 0);
    bytes.push(0);
    bytes.extend_from_slice(&version.to_le_bytes()[..6]);
}

/// Whether the entries of a log are held, not its version alone.
pub(crate) fn is_held(log: &[u8]) -> bool {
    log.get(compacted_len(log)) != Some(&0)
}

/// Drops all delete markers, however young. The next entry must be set at once: the version of a
/// log is that of its newest entry.
pub(crate) fn drop_delete_markers(bytes: &mut Vec<u8>, start: usize) {
    retain(bytes, start, |entry| if entry.value.is_none() { Keep::Compact } else { Keep::Yes });
}

/// Returns the version of the newest entry of a log; 0 if it has no entries.
pub(crate) fn version(log: &[u8]) -> u64 {
    match log.get(compacted_len(log)..).and_then(<[u8]>::last_chunk) {
        Some(&[v0, v1, v2, v3, v4, v5]) => u64::from_le_bytes([v0, v1, v2, v3, v4, v5, 0, 0]),
        None => 0,
    }
}

/// Returns the bytes of the entries after version `since`, and whether any of them is urgent.
pub(crate) fn update_since(log: &[u8], since: u64) -> (usize, bool) {
    let mut update = Entries::new(log);
    update.skip_to(since);
    update
        .fold((0, false), |(len, urgent), entry| (len + entry.packed_len(), urgent | entry.urgent))
}

/// Returns the bytes and the number of the entries that the log would have with `entry` set.
pub(crate) fn size_with(log: &[u8], entry: &LogEntry<'_>) -> (usize, usize) {
    size_of_entries(log, entry, |_| true)
}

/// As [`size_with`], if all delete markers in the log were dropped.
pub(crate) fn size_without_markers(log: &[u8], entry: &LogEntry<'_>) -> (usize, usize) {
    size_of_entries(log, entry, |held| held.value.is_some())
}

fn size_of_entries(
    log: &[u8],
    entry: &LogEntry<'_>,
    counts: impl Fn(&LogEntry<'_>) -> bool,
) -> (usize, usize) {
    Entries::new(log)
        .filter(|held| held.key != entry.key && counts(held))
        .fold((entry.packed_len(), 1), |(len, entries), held| {
            (len + held.packed_len(), entries + 1)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use alloc::string::String;
    use proptest::prelude::*;

    fn entry<'a>(key: &'a str, value: Option<&'a [u8]>, version: u64) -> LogEntry<'a> {
        LogEntry {
            key: key.as_bytes(),
            value,
            version,
            published: Instant::from_micros(version * 7_000),
            urgent: false,
        }
    }

    fn set(bytes: &mut Vec<u8>, start: usize, entry: &LogEntry<'_>) {
        let (_, entries) = size_with(&bytes[start..], entry);
        let edited = merge(bytes, start, &[*entry], Instant::ORIGIN);
        assert_eq!(edited.entries, entries);
    }

    #[test]
    fn a_replaced_value_of_the_same_length_allocates_nothing() {
        let mut bytes = alloc::vec![1, 2, 3];
        set(&mut bytes, 3, &entry("load", Some(b"0001"), 1));
        let capacity = bytes.capacity();
        for version in 2..100 {
            set(&mut bytes, 3, &entry("load", Some(b"0002"), version));
        }
        assert_eq!(bytes.capacity(), capacity);
        assert_eq!(bytes[..3], [1, 2, 3]);
    }

    #[test]
    fn old_delete_markers_are_dropped_and_leave_the_compacted_version() {
        let mut bytes = alloc::vec![9];
        set(&mut bytes, 1, &entry("a", Some(b"1"), 1));
        set(&mut bytes, 1, &entry("b", None, 2));
        set(&mut bytes, 1, &entry("c", None, 3));
        let now = Instant::from_micros(3 * 7_000) + MIN_MARKER_AGE;
        let keys = |bytes: &[u8]| {
            let log = bytes[1..].to_vec();
            let keys: Vec<_> =
                Entries::new(&log).map(|entry| (entry.key.to_vec(), entry.version)).collect();
            (keys, compacted_version(&log))
        };
        let young = Instant::from_micros(7_000) + MIN_MARKER_AGE;
        merge(&mut bytes, 1, &[entry("a", None, 4)], young);
        assert_eq!(
            keys(&bytes),
            (alloc::vec![(b"b".to_vec(), 2), (b"c".to_vec(), 3), (b"a".to_vec(), 4)], 0),
            "both markers are too young"
        );
        merge(&mut bytes, 1, &[entry("d", Some(b"1"), 5)], now);
        assert_eq!(keys(&bytes).1, 0, "a value drops no markers");
        merge(&mut bytes, 1, &[entry("e", Some(b"1"), 6), entry("f", None, 7)], now);
        let left = alloc::vec![
            (b"a".to_vec(), 4),
            (b"d".to_vec(), 5),
            (b"e".to_vec(), 6),
            (b"f".to_vec(), 7)
        ];
        assert_eq!(keys(&bytes), (left, 3), "two had time to spread");
        // The owner may drop the young ones, too, before its next entry.
        drop_delete_markers(&mut bytes, 1);
        let left = alloc::vec![(b"d".to_vec(), 5), (b"e".to_vec(), 6)];
        assert_eq!((keys(&bytes), bytes[0]), ((left, 7), 9));
    }

    /// The fast way to the end of a log against the plain one.
    #[test]
    fn what_is_skipped_are_the_entries_up_to_the_version() {
        let mut log = Vec::new();
        let long = [7; 300];
        for (version, value) in
            [(2, Some(&[][..])), (3, None), (7, Some(&long[..])), (9, None), (10, Some(&[]))]
        {
            merge(
                &mut log,
                0,
                &[entry(&alloc::format!("k{version}"), value, version)],
                Instant::ORIGIN,
            );
        }
        for since in 0..11 {
            let mut skipped = Entries::new(&log);
            let last = skipped.skip_to(since);
            let versions: Vec<u64> = Entries::new(&log).map(|entry| entry.version).collect();
            let at = versions.partition_point(|&version| version <= since);
            assert_eq!(last, at.checked_sub(1).map_or(0, |at| versions[at]), "since {since}");
            let rest: Vec<u64> = skipped.map(|entry| entry.version).collect();
            assert_eq!(rest, versions[at..], "since {since}");
        }
        let mut withheld = Vec::new();
        withhold(&mut withheld, 0, 9);
        assert_eq!(Entries::new(&withheld).skip_to(20), 0);
    }

    #[test]
    fn a_log_that_is_not_held_keeps_its_version_and_no_entries() {
        let mut bytes = alloc::vec![9];
        set(&mut bytes, 1, &entry("a", Some(b"1"), 5));
        assert!(is_held(&bytes[1..]) && is_held(&[]));
        withhold(&mut bytes, 1, MAX_VERSION);
        let log = &bytes[1..];
        assert_eq!(
            (version(log), is_held(log), Entries::new(log).count()),
            (MAX_VERSION, false, 0)
        );
        assert_eq!((compacted_version(log), bytes[0]), (0, 9));
        reset(&mut bytes, 1, 3);
        assert!(is_held(&bytes[1..]));
    }

    /// One frame cost 14 s when each of its entries rebuilt the log.
    #[test]
    fn a_merge_looks_at_each_entry_once_and_moves_each_byte_at_most_once() {
        let keys: Vec<String> = (0..2_000).map(|at| alloc::format!("{at:04}")).collect();
        let mut bytes = Vec::new();
        let first: Vec<_> =
            (1..).zip(&keys).map(|(at, key)| entry(key, None, at)).take(MAX_ENTRIES_READ).collect();
        merge(&mut bytes, 0, &first, Instant::ORIGIN);
        let (held, len) = (Entries::new(&bytes).count(), bytes.len());
        // Every other key again, all of them removed, so that the log is compacted, too.
        let again: Vec<_> =
            (5_000..).zip(keys.iter().step_by(2)).map(|(at, key)| entry(key, None, at)).collect();
        let now = Instant::from_micros(3_000 * 7_000) + MIN_MARKER_AGE;
        let edited = merge(&mut bytes, 0, &again, now);
        assert!(edited.steps <= 1 + held + len / BYTES_PER_STEP + again.len(), "{edited:?}");
        assert_eq!(edited.entries, Entries::new(&bytes).count());
        assert_eq!(edited.entries, again.len(), "the other markers were old");
    }

    proptest! {
        /// The log against the obvious map: the same values, in ascending order of version.
        #[test]
        fn a_log_holds_what_a_map_would_in_order_of_version(
            ops in prop::collection::vec(
                ("[a-e]", prop::option::of(prop::collection::vec(any::<u8>(), 0..9))),
                0..40,
            ),
            frame in 1_usize..12,
        ) {
            let mut bytes = Vec::new();
            let mut map = BTreeMap::<String, (Option<Vec<u8>>, u64)>::new();
            for (version, (key, value)) in (1..).zip(&ops) {
                let new = entry(key, value.as_deref(), version);
                let expected = size_with(&bytes, &new);
                set(&mut bytes, 0, &new);
                prop_assert_eq!((bytes.len(), Entries::new(&bytes).count()), expected);
                map.insert(key.clone(), (value.clone(), version));
            }
            let versions: Vec<u64> = Entries::new(&bytes).map(|entry| entry.version).collect();
            prop_assert!(versions.is_sorted());
            prop_assert_eq!(super::version(&bytes), versions.last().copied().unwrap_or(0));
            let log: BTreeMap<String, (Option<Vec<u8>>, u64)> = Entries::new(&bytes)
                .map(|entry| {
                    let key = core::str::from_utf8(entry.key).unwrap().into();
                    (key, (entry.value.map(Into::into), entry.version))
                })
                .collect();
            prop_assert_eq!(log, map);
            // The same entries in frames of several give the same log.
            let all: Vec<_> = (1..)
                .zip(&ops)
                .map(|(version, (key, value))| entry(key, value.as_deref(), version))
                .collect();
            let mut merged = Vec::new();
            for new in all.chunks(frame) {
                merge(&mut merged, 0, new, Instant::ORIGIN);
            }
            prop_assert_eq!(merged, bytes);
        }
    }
}
