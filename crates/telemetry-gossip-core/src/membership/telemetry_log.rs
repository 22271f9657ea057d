//! One node's telemetry: a small key-value log in order of version.
//!
//! Only the owner writes. Each publication gets the owner's next version; an entry replaced or
//! removed is taken out and the new one appended, so the log stays in ascending order of version
//! and *the news since version v is a suffix*. A reader that applies suffixes without a gap holds
//! exactly the owner's state up to a version.
//!
//! The log is a packed byte string (it lives at the end of a member's record), so a member without
//! telemetry pays nothing, and replacing a value by one that is not longer allocates nothing. The
//! version stands last, so that the newest one is the end of the log:
//!
//! ```text
//! log   = [0 (1), floor (6)] entry*
//! entry = key length (1), value length or REMOVED (2), published in ms and urgency (5), key, value, version (6)
//! ```
//!
//! A removed key leaves a marker, so that the removal spreads like a value. Markers that have done
//! so are dropped, and the version of the last of them is the log's *floor*: who knows less than
//! that may hold keys that are gone, and reads the whole log anew.

use alloc::vec::Vec;
use core::time::Duration;

use crate::config::MAX_LOG;
use crate::time::Instant;

/// Bytes of an entry beside its key and value.
pub(crate) const ENTRY_OVERHEAD: usize = 1 + 2 + 5 + 6;

/// The largest log that a reader holds: while it goes from one state of the owner to another, parts
/// of both.
pub(crate) const MAX_LOG_READ: usize = 2 * MAX_LOG;

/// The latest time of publication that an entry can hold, in milliseconds: 17 years after the
/// origin.
const LATEST: u64 = (1 << 39) - 1;

/// Bytes of a floor at the beginning of a log: a key length that no key has, and the version.
const COMPACTED_LEN: usize = 1 + 6;

/// How long a removal is told of at least, before its marker may go.
const REMOVAL_SPAN: Duration = Duration::from_secs(60);

/// The highest version: a publication each microsecond for nine years.
pub(crate) const MAX_VERSION: u64 = (1 << 48) - 1;

/// A value length that says: removed. Removals stay in the log, so that they spread like values.
const REMOVED: u16 = u16::MAX;

/// One entry of a node's telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TelemetryEntry<'a> {
    /// The key.
    pub key: &'a str,
    /// The value.
    pub value: &'a [u8],
    /// The owner's version that set it.
    pub version: u64,
    /// When the owner published it, as well as it is known here: the ages that carriers reported
    /// are subtracted, times on the network are not.
    pub published: Instant,
    /// Whether the owner published it as urgent.
    pub urgent: bool,
}

impl TelemetryEntry<'_> {
    /// How old the value is at `now`.
    #[must_use]
    pub fn age(&self, now: Instant) -> Duration {
        now.since(self.published)
    }
}

/// An entry as it stands in a log: its key was found to be text where it entered.
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

    /// Bytes that this entry takes in the log.
    pub(crate) fn packed_len(&self) -> usize {
        ENTRY_OVERHEAD + self.key.len() + self.value.map_or(0, <[u8]>::len)
    }
}

/// Walks a packed log in order of version.
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

/// Sets `entry` in the log that is the tail of `bytes` from `start`: an older entry of its key
/// goes, the new one is appended.
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
        (entry.published.as_micros() / 1_000).min(LATEST) << 1 | u64::from(entry.urgent);
    bytes.extend_from_slice(&published.to_le_bytes()[..5]);
    bytes.extend_from_slice(entry.key);
    bytes.extend_from_slice(entry.value.unwrap_or_default());
    bytes.extend_from_slice(&entry.version.to_le_bytes()[..6]);
}

fn compacted_len(log: &[u8]) -> usize {
    if log.first() == Some(&0) { COMPACTED_LEN } else { 0 }
}

/// Below this version of its owner a log may be told in part only; 0 if all removals are still in
/// it.
pub(crate) fn compacted_version(log: &[u8]) -> u64 {
    match log.first_chunk() {
        Some(&[0, v0, v1, v2, v3, v4, v5]) => u64::from_le_bytes([v0, v1, v2, v3, v4, v5, 0, 0]),
        _ => 0,
    }
}

/// The log that is the tail of `bytes` from `start` is read anew, from this floor on.
pub(crate) fn reset(bytes: &mut Vec<u8>, start: usize, compacted: u64) {
    bytes.truncate(start);
    bytes.push(0);
    bytes.extend_from_slice(&compacted.to_le_bytes()[..6]);
}

/// Drops the markers of removals that were told of for long, or all if room is `scarce`, but not
/// the newest entry of the log: its version is the owner's.
pub(crate) fn drop_delete_markers(bytes: &mut Vec<u8>, start: usize, now: Instant, scarce: bool) {
    let newest = version(bytes.get(start..).unwrap_or_default());
    let gone = |entry: &LogEntry<'_>| {
        let old = now.since(entry.published) >= REMOVAL_SPAN;
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

/// The newest version in a log; 0 if it has no entries.
pub(crate) fn version(log: &[u8]) -> u64 {
    match log.get(compacted_len(log)..).and_then(<[u8]>::last_chunk) {
        Some(&[v0, v1, v2, v3, v4, v5]) => u64::from_le_bytes([v0, v1, v2, v3, v4, v5, 0, 0]),
        None => 0,
    }
}

/// The latest version of an entry that is not above `since`; 0 if there is none. Whoever knows the
/// log up to it knows it up to `since`: what was published between them was replaced later.
pub(crate) fn version_before(log: &[u8], since: u64) -> u64 {
    Entries::new(log)
        .map(|entry| entry.version)
        .take_while(|&version| version <= since)
        .last()
        .unwrap_or(0)
}

/// Bytes of the entries after a version, and whether any of them is urgent.
pub(crate) fn news_since(log: &[u8], since: u64) -> (usize, bool) {
    let news = Entries::new(log).filter(|entry| entry.version > since);
    news.fold((0, false), |(len, urgent), entry| (len + entry.packed_len(), urgent | entry.urgent))
}

/// Bytes that the log would take with `entry` set.
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
        let now = Instant::from_micros(2 * 7_000) + REMOVAL_SPAN;
        drop_delete_markers(&mut bytes, 1, Instant::from_micros(0), false);
        assert_eq!(
            (Entries::new(&bytes[1..]).count(), compacted_version(&bytes[1..])),
            (3, 0),
            "too young"
        );
        drop_delete_markers(&mut bytes, 1, now, false);
        let keys: Vec<_> =
            Entries::new(&bytes[1..]).map(|entry| (entry.key, entry.version)).collect();
        assert_eq!(
            (keys, compacted_version(&bytes[1..])),
            (alloc::vec![(&b"a"[..], 1), (b"c", 3)], 2),
            "the newest stays"
        );
        // The log goes on as ever.
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
        /// The log against the obvious map: same values, ascending versions, and every suffix is
        /// the news since.
        #[test]
        fn the_log_is_the_map_in_order_of_version(
            ops in prop::collection::vec(("[a-e]", prop::option::of(prop::collection::vec(any::<u8>(), 0..9))), 0..40),
        ) {
            let (mut bytes, mut map) = (Vec::new(), BTreeMap::<String, (Option<Vec<u8>>, u64)>::new());
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
