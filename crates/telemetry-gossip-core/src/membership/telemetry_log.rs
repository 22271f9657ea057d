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
//! How entries travel is decided in `dissemination` and `anti_entropy`, not here.

use alloc::vec::Vec;
use core::time::Duration;

use crate::config::MAX_LOG;
use crate::time::Instant;

/// The bytes of an entry without its key and value.
pub(crate) const ENTRY_OVERHEAD: usize = 1 + 2 + 5 + 6;

/// The most bytes of a log that a reader holds: between two states of the owner it may hold parts
/// of both.
pub(crate) const MAX_LOG_READ: usize = 2 * MAX_LOG;

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
}

impl<'a> Iterator for Entries<'a> {
    type Item = LogEntry<'a>;

    fn next(&mut self) -> Option<LogEntry<'a>> {
        let (&[key_len], rest) = self.rest.split_first_chunk()?;
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

/// Sets `entry` in the log that is the tail of `bytes` from `start`: removes an older entry of its
/// key and appends the new one.
pub(crate) fn set(bytes: &mut Vec<u8>, start: usize, entry: &LogEntry<'_>) {
    let (Ok(key_len), Some(log)) = (u8::try_from(entry.key.len()), bytes.get(start..)) else {
        return;
    };
    let mut at = start + compacted_len(log);
    for old in Entries::new(log) {
        let len = old.packed_len();
        if old.key == entry.key {
            bytes.drain(at..at + len);
            break;
        }
        at += len;
    }
    let value_len =
        entry.value.map_or(REMOVED, |value| u16::try_from(value.len()).unwrap_or(REMOVED));
    bytes.reserve_exact(entry.packed_len());
    bytes.push(key_len);
    bytes.extend_from_slice(&value_len.to_le_bytes());
    let published =
        (entry.published.as_micros() / 1_000).min(MAX_PUBLISHED_MS) << 1 | u64::from(entry.urgent);
    bytes.extend_from_slice(&published.to_le_bytes()[..5]);
    bytes.extend_from_slice(entry.key);
    bytes.extend_from_slice(entry.value.unwrap_or_default());
    bytes.extend_from_slice(&entry.version.to_le_bytes()[..6]);
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

/// Empties the log that is the tail of `bytes` from `start`, and sets its compacted version.
pub(crate) fn reset(bytes: &mut Vec<u8>, start: usize, compacted: u64) {
    bytes.truncate(start);
    bytes.push(0);
    bytes.extend_from_slice(&compacted.to_le_bytes()[..6]);
}

/// Drops the delete markers that had time to spread, or all of them if room is `scarce`. The newest
/// entry of the log stays in any case, since its version is that of the log.
pub(crate) fn drop_delete_markers(bytes: &mut Vec<u8>, start: usize, now: Instant, scarce: bool) {
    let newest = version(bytes.get(start..).unwrap_or_default());
    let gone = |entry: &LogEntry<'_>| {
        let old = now.since(entry.published) >= MIN_MARKER_AGE;
        entry.value.is_none() && entry.version < newest && (scarce || old)
    };
    let Some(log) = bytes.get(start..) else { return };
    let Some(last) = Entries::new(log).filter(gone).map(|entry| entry.version).last() else {
        return;
    };
    let old = log.to_vec();
    reset(bytes, start, last.max(compacted_version(&old)));
    for entry in Entries::new(&old).filter(|entry| !gone(entry)) {
        set(bytes, start, &entry);
    }
}

/// Returns the version of the newest entry of a log; 0 if it has no entries.
pub(crate) fn version(log: &[u8]) -> u64 {
    match log.get(compacted_len(log)..).and_then(<[u8]>::last_chunk) {
        Some(&[v0, v1, v2, v3, v4, v5]) => u64::from_le_bytes([v0, v1, v2, v3, v4, v5, 0, 0]),
        None => 0,
    }
}

/// Returns the version of the latest entry that is not above `since`; 0 if there is none. A reader
/// that knows the log up to this version knows it up to `since`, because all that was published
/// between the two was replaced later.
pub(crate) fn version_before(log: &[u8], since: u64) -> u64 {
    Entries::new(log)
        .map(|entry| entry.version)
        .take_while(|&version| version <= since)
        .last()
        .unwrap_or(0)
}

/// Returns the bytes of the entries after version `since`, and whether any of them is urgent.
pub(crate) fn update_since(log: &[u8], since: u64) -> (usize, bool) {
    let update = Entries::new(log).filter(|entry| entry.version > since);
    update
        .fold((0, false), |(len, urgent), entry| (len + entry.packed_len(), urgent | entry.urgent))
}

/// Returns the bytes that the log would take with `entry` set.
pub(crate) fn len_with(log: &[u8], entry: &LogEntry<'_>) -> usize {
    let old = Entries::new(log).find(|old| old.key == entry.key).map_or(0, |old| old.packed_len());
    log.len() - old + entry.packed_len()
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
        let now = Instant::from_micros(2 * 7_000) + MIN_MARKER_AGE;
        drop_delete_markers(&mut bytes, 1, Instant::from_micros(0), false);
        assert_eq!(
            (Entries::new(&bytes[1..]).count(), compacted_version(&bytes[1..])),
            (3, 0),
            "both markers are too young"
        );
        drop_delete_markers(&mut bytes, 1, now, false);
        let keys: Vec<_> =
            Entries::new(&bytes[1..]).map(|entry| (entry.key, entry.version)).collect();
        assert_eq!(
            (keys, compacted_version(&bytes[1..])),
            (alloc::vec![(&b"a"[..], 1), (b"c", 3)], 2),
            "the newest entry stays"
        );
        // The log takes further entries as before.
        set(&mut bytes, 1, &entry("a", Some(b"2"), 4));
        drop_delete_markers(&mut bytes, 1, now, true);
        let keys: Vec<_> =
            Entries::new(&bytes[1..]).map(|entry| (entry.key, entry.version)).collect();
        assert_eq!(
            (keys, compacted_version(&bytes[1..]), bytes[0]),
            (alloc::vec![(&b"a"[..], 4)], 3, 9)
        );
        assert_eq!(version(&bytes[1..]), 4);
    }

    proptest! {
        /// The log against the obvious map: the same values, in ascending order of version.
        #[test]
        fn a_log_holds_what_a_map_would_in_order_of_version(
            ops in prop::collection::vec(
                ("[a-e]", prop::option::of(prop::collection::vec(any::<u8>(), 0..9))),
                0..40,
            ),
        ) {
            let mut bytes = Vec::new();
            let mut map = BTreeMap::<String, (Option<Vec<u8>>, u64)>::new();
            for (version, (key, value)) in (1..).zip(&ops) {
                let new = entry(key, value.as_deref(), version);
                let expected = len_with(&bytes, &new);
                set(&mut bytes, 0, &new);
                prop_assert_eq!(bytes.len(), expected);
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
        }
    }
}
