//! How the outcome of a change is told.

use std::io::{self, Write};

use serde::Serialize;
use telemetry_gossip_core::NodeId;
use telemetry_gossip_registry::edit::Difference;
use telemetry_gossip_registry::{Document, Edition};

use super::access::Made;
use crate::error::Error;
use crate::safe::Safe;
use crate::text;

/// The most ids of a kind in a line. `log` has them all.
const MAX_IDS: usize = 8;

/// What a version has changed, for programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Changes {
    pub(super) added: Vec<String>,
    pub(super) removed: Vec<String>,
    pub(super) replaced: Vec<String>,
    pub(super) changed: Vec<String>,
}

impl Changes {
    /// What differs between two versions; all of the second if there is no first.
    pub(super) fn between(before: Option<&Document>, after: &Document) -> Self {
        let texts = |ids: &[NodeId]| ids.iter().map(ToString::to_string).collect();
        match before {
            None => Self { added: texts(&after.ids()), ..Self::default() },
            Some(before) => {
                let difference = Difference::between(before, after);
                Self {
                    added: texts(&difference.added),
                    removed: texts(&difference.removed),
                    replaced: texts(&difference.replaced),
                    changed: texts(&difference.changed),
                }
            }
        }
    }

    /// The kinds of changes, each with its word.
    fn kinds(&self) -> [(&'static str, &[String]); 4] {
        let Self { added, removed, replaced, changed } = self;
        [("added", added), ("removed", removed), ("replaced", replaced), ("changed", changed)]
    }

    /// All in one line: `added edge-7, edge-8; removed edge-9`.
    pub(super) fn line(&self) -> String {
        let kinds = self.kinds();
        let told: Vec<String> = kinds
            .iter()
            .filter(|(_, ids)| !ids.is_empty())
            .map(|(word, ids)| format!("{word} {}", listed(ids)))
            .collect();
        if told.is_empty() { "the same members".to_owned() } else { told.join("; ") }
    }

    /// A line for each node.
    pub(super) fn lines(&self) -> Vec<String> {
        let of = |(word, ids): (&'static str, &[String])| -> Vec<String> {
            ids.iter().map(|id| format!("{word} {}", text::word(id))).collect()
        };
        self.kinds().into_iter().flat_map(of).collect()
    }
}

/// The first ids, and how many more there are.
pub(super) fn listed(ids: &[String]) -> String {
    let mut told: Vec<String> = ids.iter().take(MAX_IDS).map(|id| text::word(id)).collect();
    if ids.len() > MAX_IDS {
        told.push(format!("and {} more", ids.len() - MAX_IDS));
    }
    told.join(", ")
}

/// A version that was written, for programs.
#[derive(Serialize)]
struct MadeView {
    version: u64,
    hash: String,
    members: usize,
    #[serde(flatten)]
    changes: Changes,
}

/// Tells which version was written, in one line. `instead` replaces what it has changed.
pub(super) fn made(made: &Made, instead: Option<String>, json: bool) -> Result<(), Error> {
    let Made { before, edition } = made;
    let document = edition.document();
    let changes = Changes::between(before.as_ref().map(Edition::document), document);
    let version = edition.version();
    if json {
        let (hash, members) = (edition.hash().to_string(), document.members().len());
        return object(&MadeView { version, hash, members, changes });
    }
    line(&format!("version {version}: {}", instead.unwrap_or_else(|| changes.line())))
}

/// Prints a line for people.
pub(super) fn line(text: &str) -> Result<(), Error> {
    let mut out = Safe::new(io::stdout().lock(), false);
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Prints an object for programs.
pub(super) fn object(value: &impl Serialize) -> Result<(), Error> {
    let mut out = Safe::new(io::stdout().lock(), true);
    serde_json::to_writer(&mut out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_many_nodes_is_still_one_short_line() {
        let added = (0..240).map(|n| format!("n{n}")).collect();
        let changes = Changes { added, removed: vec!["x y".into()], ..Changes::default() };
        assert_eq!(
            changes.line(),
            "added n0, n1, n2, n3, n4, n5, n6, n7, and 232 more; removed \"x y\""
        );
        assert_eq!(changes.lines().len(), 241);
        assert_eq!(Changes::default().line(), "the same members");
    }
}
