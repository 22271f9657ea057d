//! The versions that a store keeps: each is read, held against the one after it, and told of.
//!
//! A version names the hash of the one before, so that the chain from the newest one down shows
//! whether an old one was changed. One document is held at a time beside the one after it, whatever
//! the length of the history.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;
use telemetry_gossip_registry::document::{MAX_BYTES, Removed};
use telemetry_gossip_registry::{Document, DocumentHash, Edition, Head};

use super::access::{Newest, Registry};
use super::error::RegistryError;
use super::print::Changes;
use crate::error::Error;
use crate::safe::Safe;
use crate::text;

/// The most parts in which a store keeps a document: parts are 512 KB.
const MAX_CHUNKS: u32 = MAX_BYTES.div_ceil(512 << 10) as u32;

/// The versions below the newest, read from the newest down.
pub(super) struct History<'a> {
    registry: &'a Registry,
    /// The version that was read last.
    later: Edition,
    /// In how many parts it is kept.
    chunks: u32,
    /// The versions that are kept below it, the oldest first.
    below: VecDeque<u64>,
}

/// One version below another.
pub(super) struct Earlier {
    /// The document; `None` if it cannot be read.
    pub(super) edition: Option<Edition>,
    /// What is wrong with it.
    pub(super) problem: Option<String>,
}

impl<'a> History<'a> {
    pub(super) async fn of(registry: &'a Registry, newest: &Newest) -> Result<Self, RegistryError> {
        let kept = registry.store().versions().await.map_err(|error| registry.failed(error))?;
        let version = newest.edition.version();
        let below = kept.into_iter().filter(|kept| *kept < version).collect();
        let (later, chunks) = (newest.edition.clone(), newest.found.head.chunks);
        Ok(Self { registry, later, chunks, below })
    }

    /// The versions that are kept and were not read yet, the oldest first.
    pub(super) fn kept(&self) -> impl ExactSizeIterator<Item = u64> {
        self.below.iter().copied()
    }

    /// Reads the next version down; `None` after the oldest.
    pub(super) async fn next(&mut self) -> Result<Option<Earlier>, RegistryError> {
        let Some(version) = self.below.pop_back() else { return Ok(None) };
        let after = self.later.version();
        let document = self.later.document();
        // A recovery may be made from the list of the fleet, and leaves versions out.
        let is_recovery = document.recovered() == after;
        let expected = document.previous().filter(|_| !is_recovery);
        let is_gap = version + 1 != after && !is_recovery;
        let (edition, mut problem) = self.read(version, expected.filter(|_| !is_gap)).await?;
        if is_gap {
            problem = Some(format!("version {} is missing: restore it", after - 1));
        }
        if let Some(edition) = &edition {
            self.later = edition.clone();
        }
        Ok(Some(Earlier { edition, problem }))
    }

    /// Reads a version, which only its hash can tell from a part of it.
    async fn read(
        &mut self,
        version: u64,
        expected: Option<DocumentHash>,
    ) -> Result<(Option<Edition>, Option<String>), RegistryError> {
        let store = self.registry.store();
        let (mut found, mut last) = (None, None);
        // It most likely has as many parts as the version after it.
        let others = (1..=MAX_CHUNKS).filter(|chunks| *chunks != self.chunks);
        for chunks in std::iter::once(self.chunks).chain(others) {
            let bytes = store.document(version, chunks).await;
            let Some(bytes) = bytes.map_err(|error| self.registry.failed(error))? else {
                // Without this many parts it has no more, either.
                if chunks == self.chunks { continue } else { break }
            };
            match Edition::parse(&bytes) {
                Ok(edition) if expected.is_none_or(|hash| hash == edition.hash()) => {
                    let is_named = edition.version() == version;
                    let named = edition.version();
                    self.chunks = chunks;
                    let problem = (!is_named)
                        .then(|| format!("version {version} says that it is version {named}"));
                    return Ok((Some(edition), problem));
                }
                Ok(edition) => found = Some(edition),
                Err(error) => last = Some(error),
            }
        }
        let problem = match (&found, last) {
            (Some(_), _) => format!(
                "version {version} is not the one from which version {} was made: it was changed \
                 since",
                self.later.version()
            ),
            (None, Some(error)) => format!("version {version} cannot be read: {error}"),
            (None, None) => format!("version {version} is not whole"),
        };
        Ok((found, Some(problem)))
    }
}

/// A version, and what it has changed.
#[derive(Debug, Serialize)]
struct Entry {
    version: u64,
    /// Whether the store has its document. What is told of another comes from the oldest document.
    kept: bool,
    /// When it was written, if that is known.
    at: Option<String>,
    by: String,
    why: String,
    #[serde(flatten)]
    changes: Changes,
    /// What is wrong with its document.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// Prints what each version has changed, the newest first.
pub(super) async fn log(registry: &Registry, json: bool) -> Result<(), Error> {
    let newest = registry.newest().await?;
    let mut history = History::of(registry, &newest).await?;
    let mut out = Safe::new(io::stdout().lock(), json);
    let (mut later, mut head) = (newest.edition, Some(newest.found.head));
    let mut problem = None;
    while let Some(earlier) = history.next().await? {
        let Some(edition) = earlier.edition else {
            problem = problem.or(earlier.problem);
            continue;
        };
        let changes = Changes::between(Some(edition.document()), later.document());
        let entry = Entry { changes, problem, ..told(later.document(), head.take()) };
        entry.print(&mut out, json)?;
        (later, problem) = (edition, earlier.problem);
    }
    for (version, changes) in remembered(later.document()).into_iter().rev() {
        let told = told(later.document(), head.take_if(|head| head.version == version));
        let (by, why) = said_of(later.document(), version);
        let kept = version == later.version();
        let (by, why) = if kept { (told.by, told.why) } else { (by, why) };
        let problem = problem.take_if(|_| kept);
        Entry { version, kept, at: told.at, by, why, changes, problem }.print(&mut out, json)?;
    }
    Ok(out.flush()?)
}

/// What is known of the version of a document, without its changes. The head says more.
fn told(document: &Document, head: Option<Head>) -> Entry {
    let version = document.version();
    let (by, why) = said_of(document, version);
    let (changes, problem) = Default::default();
    let entry = Entry { version, kept: true, at: None, by, why, changes, problem };
    match head {
        Some(Head { at, by, why, .. }) if at > 0 => Entry { at: Some(time(at)), by, why, ..entry },
        _ => entry,
    }
}

/// Who removed nodes in this version, and why; empty if it removed none.
fn said_of(document: &Document, version: u64) -> (String, String) {
    let of_version = |removed: &&Removed| removed.removed == version;
    let removed = document.removed().map(|(_, removed)| removed).find(of_version);
    removed.map_or_else(Default::default, |Removed { by, why, .. }| (by.clone(), why.clone()))
}

/// What a document still tells of the versions up to its own: since when each member belongs, and
/// when each removed node was removed.
fn remembered(document: &Document) -> BTreeMap<u64, Changes> {
    let mut versions = BTreeMap::<u64, Changes>::new();
    versions.entry(document.version()).or_default();
    for (id, member) in document.members().filter(|(_, member)| member.since > 0) {
        let changes = versions.entry(member.since).or_default();
        let is_new = member.replaced.is_none();
        let ids = if is_new { &mut changes.added } else { &mut changes.replaced };
        ids.push(id.to_string());
    }
    for (id, removed) in document.removed() {
        versions.entry(removed.removed).or_default().removed.push(id.to_string());
    }
    versions
}

/// A time in seconds since 1970, as `2026-11-30T19:00:00Z`.
pub(super) fn time(at: u64) -> String {
    // The last second of the year 9999, which a head may exceed.
    let at = Duration::from_secs(at.min(253_402_300_799));
    humantime::format_rfc3339_seconds(UNIX_EPOCH + at).to_string()
}

impl Entry {
    fn print(&self, out: &mut impl Write, json: bool) -> Result<(), Error> {
        if json {
            serde_json::to_writer(&mut *out, self).map_err(io::Error::from)?;
            return Ok(writeln!(out)?);
        }
        let Self { version, kept, at, by, why, changes, problem } = self;
        let mut line = format!("version {version}");
        if let Some(at) = at {
            line += &format!(" at {at}");
        }
        if !by.is_empty() {
            line += &format!(" by {}", text::word(by));
        }
        if !why.is_empty() {
            line += &format!(": {}", text::printable(why, usize::MAX));
        }
        if !kept {
            line += " (no longer kept)";
        }
        writeln!(out, "{line}")?;
        let changes = changes.lines();
        if changes.is_empty() {
            writeln!(out, "  what it changed is not known: the version before it is not kept")?;
        }
        for change in changes {
            writeln!(out, "  {change}")?;
        }
        if let Some(problem) = problem {
            writeln!(out, "  {problem}")?;
        }
        Ok(())
    }
}
