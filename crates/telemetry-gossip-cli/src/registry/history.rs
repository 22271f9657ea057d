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
    after: u64,
    /// What that one says of the version before it.
    before: Before,
    /// In how many parts it is kept.
    chunks: u32,
    /// The versions that are kept below it, the oldest first.
    below: VecDeque<u64>,
}

/// What a version says of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    /// It is the version one lower, with this hash if it is named.
    Next(Option<DocumentHash>),
    /// Nothing: a recovery may be made from the list of the fleet, and leaves versions out; and a
    /// version that cannot be read says nothing at all.
    Unknown,
}

impl Before {
    fn of(edition: &Edition) -> Self {
        let document = edition.document();
        let is_recovery = document.recovered() == document.version();
        if is_recovery { Self::Unknown } else { Self::Next(document.previous()) }
    }
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
        let (before, chunks) = (Before::of(&newest.edition), newest.found.head.chunks);
        Ok(Self { registry, after: version, before, chunks, below })
    }

    /// The versions that are kept and were not read yet, the oldest first.
    pub(super) fn kept(&self) -> impl ExactSizeIterator<Item = u64> {
        self.below.iter().copied()
    }

    /// Reads the next version down; `None` after the oldest.
    pub(super) async fn next(&mut self) -> Result<Option<Earlier>, RegistryError> {
        let Some(version) = self.below.pop_back() else { return Ok(None) };
        let (expected, is_gap) = match self.before {
            Before::Next(_) if version + 1 < self.after => (None, true),
            Before::Next(hash) => (hash, false),
            Before::Unknown => (None, false),
        };
        let (edition, problem) = self.read(version, expected).await?;
        let gap = is_gap.then(|| format!("version {} is missing: restore it", self.after - 1));
        self.before = edition.as_ref().map_or(Before::Unknown, Before::of);
        self.after = version;
        Ok(Some(Earlier { edition, problem: gap.or(problem) }))
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
                self.after
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
        // Of one that was taken back, the other machine came later.
        let is_new = member.replaced.is_none_or(|other| other > member.since);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use telemetry_gossip_core::NodeId;
    use telemetry_gossip_registry::{
        ClusterId, FoundHead, Member, Stamp, Store, StoreError, Write, Written,
    };

    use super::*;

    /// A store whose documents are kept in parts, and may be changed by hand.
    #[derive(Debug, Default)]
    struct Parts(BTreeMap<u64, Vec<Vec<u8>>>);

    type Answer<T> = std::pin::Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

    fn answer<T: Send + 'static>(value: T) -> Answer<T> {
        Box::pin(std::future::ready(Ok(value)))
    }

    impl Store for Parts {
        fn location(&self) -> String {
            "parts".to_owned()
        }

        fn poll_interval(&self) -> Duration {
            Duration::from_secs(1)
        }

        fn head(&self) -> Answer<Option<FoundHead>> {
            let newest = self.0.last_key_value().map(|(_, parts)| parts);
            let head = newest.map(|parts| {
                let edition = Edition::parse(&parts.concat()).unwrap();
                let mut head = Head::of(&edition, &Stamp::new("ana", "more load").at(1));
                head.chunks = parts.len() as u32;
                FoundHead::new(head, 1)
            });
            answer(head)
        }

        fn document(&self, version: u64, chunks: u32) -> Answer<Option<Vec<u8>>> {
            let parts = self.0.get(&version).and_then(|parts| parts.get(..chunks as usize));
            answer(parts.map(|parts| parts.concat()))
        }

        fn write<'a>(&'a self, _: &'a Write) -> Answer<Written> {
            answer(Written::Conflict)
        }

        fn versions(&self) -> Answer<Vec<u64>> {
            answer(self.0.keys().copied().collect())
        }
    }

    fn id(text: &str) -> NodeId {
        text.parse().unwrap()
    }

    /// Five versions, each of which adds a node, in as many parts as their numbers say.
    fn five() -> Parts {
        let first = [(id("n1"), Member::default())];
        let mut edition = Edition::first(ClusterId::from_random([1; 16]), "", first).unwrap();
        let mut parts = Parts::default();
        for version in 1..=5 {
            let size = edition.bytes().len().div_ceil(version);
            let cut = edition.bytes().chunks(size).map(<[u8]>::to_vec).collect();
            parts.0.insert(version as u64, cut);
            let next = [(id(&format!("n{}", version + 1)), Member::default())];
            edition = edition.add(next).unwrap();
        }
        parts
    }

    /// The versions that are read, and what is wrong with them.
    async fn read(parts: Parts) -> (Vec<u64>, Vec<String>) {
        let registry = Registry::in_store(Arc::new(parts));
        let newest = registry.newest().await.unwrap();
        let mut history = History::of(&registry, &newest).await.unwrap();
        let (mut versions, mut problems) = (vec![], vec![]);
        while let Some(earlier) = history.next().await.unwrap() {
            versions.extend(earlier.edition.map(|edition| edition.version()));
            problems.extend(earlier.problem);
        }
        (versions, problems)
    }

    #[tokio::test]
    async fn a_whole_history_is_read_whatever_the_parts_of_its_versions() {
        assert_eq!(read(five()).await, (vec![4, 3, 2, 1], vec![]));
        let mut shorter = five();
        shorter.0.retain(|version, _| *version > 2);
        assert_eq!(read(shorter).await, (vec![4, 3], vec![]), "the oldest need not be the first");
    }

    #[tokio::test]
    async fn a_version_that_was_changed_is_missing_or_is_cut_is_named() {
        let with = |change: &dyn Fn(&mut Parts)| {
            let mut parts = five();
            change(&mut parts);
            parts
        };
        let changed = with(&|parts| {
            let text = String::from_utf8(parts.0[&3].concat()).unwrap();
            parts.0.insert(3, vec![text.replace("[members.n2]", "[members.x]").into_bytes()]);
        });
        let (versions, problems) = read(changed).await;
        assert_eq!(versions, [4, 3, 2, 1]);
        assert_eq!(
            problems,
            ["version 3 is not the one from which version 4 was made: it was changed since"]
        );

        let (versions, problems) = read(with(&|parts| drop(parts.0.remove(&3)))).await;
        assert_eq!(
            (versions, problems),
            (vec![4, 2, 1], vec!["version 3 is missing: restore it".into()])
        );

        let cut = with(&|parts| parts.0.get_mut(&3).unwrap()[0] = b"version = ".to_vec());
        let (versions, problems) = read(cut).await;
        assert_eq!(versions, [4, 2, 1]);
        assert!(problems.len() == 1, "{problems:?}");
        assert!(problems[0].starts_with("version 3 cannot be read: line 1"), "{problems:?}");
    }

    #[tokio::test]
    async fn a_recovery_leaves_versions_out_and_that_is_no_problem() {
        let mut parts = five();
        let fifth = Edition::parse(&parts.0[&5].concat()).unwrap();
        parts.0.insert(9, vec![fifth.recover(8).unwrap().bytes().to_vec()]);
        assert_eq!(read(parts).await, (vec![5, 4, 3, 2, 1], vec![]));
    }

    #[test]
    fn the_newest_document_tells_of_versions_that_are_no_longer_kept() {
        let fifth = Edition::parse(&five().0[&5].concat()).unwrap();
        let sixth = fifth.remove(&[id("n2")], None, &Stamp::new("ana", "stolen")).unwrap();
        let told = remembered(sixth.document());
        assert_eq!(told[&6].removed, ["n2"]);
        assert_eq!(told[&5].added, ["n5"]);
        assert_eq!(told.keys().copied().collect::<Vec<_>>(), [1, 3, 4, 5, 6]);
        let seventh = sixth.replace(id("n3"), vec![]).unwrap();
        assert_eq!(remembered(seventh.document())[&7].replaced, ["n3"]);
        let eighth = seventh.readmit(id("n3")).unwrap();
        assert_eq!(remembered(eighth.document())[&3].added, ["n3"]);
        assert_eq!(said_of(seventh.document(), 6), ("ana".into(), "stolen".into()));
    }
}
