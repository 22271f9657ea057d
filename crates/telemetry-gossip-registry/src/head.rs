//! The head: the small record that says which version of the document is the newest.
//!
//! A store keeps the head apart from the documents. Nodes read it often, as it has some 400 bytes,
//! and a document only when the head names one that they do not have. A write replaces the head in
//! one step, if it still is the one that the writer has read.

use serde::{Deserialize, Serialize};

use crate::document::{ClusterId, DocumentHash, Edition, MAX_TEXT, MAX_VERSION, is_plain};

/// The format of heads and documents that this crate writes, and the highest that it reads.
pub const FORMAT: u32 = 1;

/// The longest head, in bytes.
pub const MAX_HEAD: usize = 4_096;

/// Which version of the document is the newest, and who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Head {
    /// The format of the head and of the document, [`FORMAT`] at most.
    pub format: u32,
    /// The id of the cluster.
    pub cluster: ClusterId,
    /// The name of the cluster.
    #[serde(default)]
    pub label: String,
    /// The version of the document.
    pub version: u64,
    /// In how many parts a store keeps the document that bounds the length of a value.
    #[serde(default = "one")]
    pub chunks: u32,
    /// The hash of the document.
    pub hash: DocumentHash,
    /// The hash of the version before, if the document says it.
    #[serde(default)]
    pub previous: Option<DocumentHash>,
    /// How many members the document has.
    pub members: u64,
    /// The last version that was forced past the guard of the nodes; zero if there is none.
    #[serde(default)]
    pub forced: u64,
    /// The last version by which an operator ended a fork of the history; zero if there is none.
    #[serde(default)]
    pub recovered: u64,
    /// A random text by which a writer knows its own write again, if it did not hear the answer.
    #[serde(default)]
    pub op: String,
    /// When it was written, in seconds since 1970, as the writer's clock says; zero if unknown.
    #[serde(default)]
    pub at: u64,
    /// Who wrote it; empty if unknown.
    #[serde(default)]
    pub by: String,
    /// Why it was written; empty if unknown.
    #[serde(default)]
    pub why: String,
}

fn one() -> u32 {
    1
}

/// Who writes a version, when and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stamp {
    /// A random text by which the writer knows its own write again.
    pub op: String,
    /// When, in seconds since 1970.
    pub at: u64,
    /// Who.
    pub by: String,
    /// Why.
    pub why: String,
}

impl Stamp {
    /// A stamp of this operator with this reason. A text longer than 255 bytes is cut, and control
    /// characters become spaces.
    #[must_use]
    pub fn new(by: &str, why: &str) -> Self {
        Self { by: plain(by), why: plain(why), ..Self::default() }
    }

    /// Sets the random text by which the writer knows its own write again.
    #[must_use]
    pub fn op(mut self, op: [u8; 16]) -> Self {
        self.op = base16ct::lower::encode_string(&op);
        self
    }

    /// Sets when it is written, in seconds since 1970.
    #[must_use]
    pub fn at(mut self, at: u64) -> Self {
        self.at = at;
        self
    }
}

/// A text as documents may contain it.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for character in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if plain.len() + character.len_utf8() > MAX_TEXT {
            break;
        }
        plain.push(character);
    }
    plain.trim().to_owned()
}

impl Head {
    /// The head that names this edition.
    #[must_use]
    pub fn of(edition: &Edition, stamp: &Stamp) -> Self {
        let document = edition.document();
        let Stamp { op, at, by, why } = stamp.clone();
        Self {
            format: FORMAT,
            cluster: document.cluster(),
            label: document.label().to_owned(),
            version: document.version(),
            chunks: 1,
            hash: edition.hash(),
            previous: document.previous(),
            members: document.members().len() as u64,
            forced: document.forced(),
            recovered: document.recovered(),
            op,
            at,
            by,
            why,
        }
    }

    /// Reads a head, which is one line of JSON. Fields that this version does not know are passed
    /// over; a head of a newer format is refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeadError> {
        if bytes.len() > MAX_HEAD {
            return Err(HeadError::TooLong { len: bytes.len() });
        }
        // The format first: all other fields may be others in a newer one.
        let Format { format } = serde_json::from_slice(bytes).map_err(HeadError::unreadable)?;
        if format > FORMAT {
            return Err(HeadError::NewerFormat { format });
        }
        let head: Self = serde_json::from_slice(bytes).map_err(HeadError::unreadable)?;
        head.check()?;
        Ok(head)
    }

    /// Checks the rules that documents have, too: what a head says is shown to operators.
    fn check(&self) -> Result<(), HeadError> {
        let Self { label, version, op, by, why, .. } = self;
        if !(1..=MAX_VERSION).contains(version) {
            let what = format!("it has version {version}: versions go from 1 to {MAX_VERSION}");
            return Err(HeadError::Unreadable { what });
        }
        for (field, text) in [("label", label), ("op", op), ("by", by), ("why", why)] {
            if !is_plain(text) {
                return Err(HeadError::Unreadable {
                    what: format!(
                        "`{field}` is no plain text: at most {MAX_TEXT} bytes are allowed, and no \
                         control characters"
                    ),
                });
            }
        }
        Ok(())
    }

    /// Writes the head as one line of JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings, numbers and options of them can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Checks that the edition is the one that the head names.
    ///
    /// # Errors
    /// What differs, in words.
    pub fn matches(&self, edition: &Edition) -> Result<(), String> {
        let document = edition.document();
        let differs = |what: &str, head: &dyn std::fmt::Display, found: &dyn std::fmt::Display| {
            Err(format!("the head says {what} {head}, and the document has {found}"))
        };
        if self.hash != edition.hash() {
            return differs("hash", &self.hash.short(), &edition.hash().short());
        }
        if self.version != document.version() {
            return differs("version", &self.version, &document.version());
        }
        if self.cluster != document.cluster() {
            return differs("cluster", &self.cluster, &document.cluster());
        }
        if self.label != document.label() {
            return differs("label", &self.label, &document.label());
        }
        let count = document.members().len() as u64;
        if self.members != count {
            return differs("a number of members of", &self.members, &count);
        }
        if self.previous != document.previous() {
            let said = |hash: Option<DocumentHash>| {
                hash.map_or_else(|| "none".to_owned(), |hash| hash.short())
            };
            return differs("previous", &said(self.previous), &said(document.previous()));
        }
        if self.recovered != document.recovered() {
            return differs("recovered", &self.recovered, &document.recovered());
        }
        if self.forced != document.forced() {
            return differs("forced", &self.forced, &document.forced());
        }
        Ok(())
    }
}

/// The only field that every format has.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// Why bytes are no head.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// The head is too long.
    #[error("the head has {len} bytes: at most {MAX_HEAD} are read")]
    #[non_exhaustive]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The head is no JSON, or a field is missing or has another type.
    #[error("the head cannot be read: {what}")]
    #[non_exhaustive]
    Unreadable {
        /// What the parser says.
        what: String,
    },
    /// A newer program has written the head.
    #[error(
        "the head has format {format}, and this program reads up to {FORMAT}: \
         install a newer version of it"
    )]
    #[non_exhaustive]
    NewerFormat {
        /// The format.
        format: u32,
    },
}

impl HeadError {
    fn unreadable(error: serde_json::Error) -> Self {
        Self::Unreadable { what: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Member;

    fn edition() -> Edition {
        let members = [("a".parse().unwrap(), Member::default())];
        Edition::first(ClusterId::from_random([1; 16]), "prod", members).unwrap()
    }

    #[test]
    fn a_head_keeps_the_rules_of_texts_and_versions() {
        let right = Head::of(&edition(), &Stamp::new("ana", "more load").op([1; 16]).at(7));
        assert_eq!(Head::parse(right.to_json().as_bytes()), Ok(right.clone()));
        type Break = fn(&mut Head);
        let broken: [(Break, &str); 6] = [
            (|head| head.why = "x\nversion   9".into(), "`why` is no plain text"),
            (|head| head.by = "\u{1b}[2J".into(), "`by` is no plain text"),
            (|head| head.label = "x".repeat(MAX_TEXT + 1), "`label` is no plain text"),
            (|head| head.op = "\0".into(), "`op` is no plain text"),
            (|head| head.version = 0, "it has version 0: versions go from 1"),
            (|head| head.version = u64::MAX, "versions go from 1 to 9007199254740992"),
        ];
        for (break_it, said) in broken {
            let mut head = right.clone();
            break_it(&mut head);
            let error = Head::parse(head.to_json().as_bytes()).expect_err(said).to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_head_with_another_history_than_its_document_does_not_match() {
        let edition = edition();
        let next = edition.add([("b".parse().unwrap(), Member::default())]).unwrap();
        let mut head = Head::of(&next, &Stamp::default());
        assert_eq!(head.matches(&next), Ok(()));
        head.previous = None;
        assert!(head.matches(&next).unwrap_err().contains("the head says previous none"));
        head.previous = Some(next.hash());
        assert!(head.matches(&next).is_err());
    }
}
