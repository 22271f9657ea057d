//! What a follower makes of a head and of a document. Nothing here reads or waits.
//!
//! ```text
//!   head       newer format? other cluster, other label? older than in force, or than the fleet?
//!              the same? another history?
//!   document   the one that the head names? takes away too many? names this node?
//! ```

use telemetry_gossip_core::{Label, NodeId};

use super::status::{Gone, Reason};
use super::{Fleet, Held};
use crate::document::{Document, DocumentHash, Edition};
use crate::guard;
use crate::head::{FORMAT, Head};

/// What a head calls for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeadVerdict {
    /// The version in force is the newest.
    Current,
    /// The version is not taken.
    Hold(Reason),
    /// The content of the version in force was written in another way, or another history has it:
    /// only the document tells.
    Compare,
    /// The document of this version says whether the history is that of the version in force.
    Link(u64),
    /// The document is to be read.
    Read,
}

/// Judges a head against the version in force.
pub(super) fn judge_head(head: &Head, held: Option<&Held>, label: Label) -> HeadVerdict {
    if head.format > FORMAT {
        return HeadVerdict::Hold(Reason::NewerFormat { format: head.format });
    }
    if !head.label.is_empty() && Label::of(&head.label) != label {
        return HeadVerdict::Hold(Reason::OtherLabel { label: head.label.clone() });
    }
    let Some(held) = held else { return HeadVerdict::Read };
    if head.cluster != held.cluster {
        let (theirs, ours) = (head.cluster, held.cluster);
        return HeadVerdict::Hold(Reason::OtherCluster { theirs, ours });
    }
    let (store, known) = (head.version, held.version);
    if store < known {
        return HeadVerdict::Hold(Reason::RolledBack { store, known });
    }
    if store == known {
        let is_same = head.hash == held.hash;
        return if is_same { HeadVerdict::Current } else { HeadVerdict::Compare };
    }
    if head.recovered > known {
        return HeadVerdict::Read;
    }
    match head.previous {
        Some(previous) if store == known + 1 && previous != held.hash => {
            HeadVerdict::Hold(Reason::Forked { version: known })
        }
        Some(_) if store > known + 1 => HeadVerdict::Link(known + 1),
        // A document that a template has written does not say.
        _ => HeadVerdict::Read,
    }
}

/// Whether the document after the version in force follows from it. A store that no longer has that
/// document, or none that says it, shows nothing.
pub(super) fn follows(link: Option<&[u8]>, held: DocumentHash) -> bool {
    let document = link.and_then(|bytes| Document::parse(bytes).ok());
    let previous = document.and_then(|document| document.previous());
    previous.is_none_or(|previous| previous == held)
}

/// What a document calls for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The version is not taken.
    Hold(Reason),
    /// The version says the same as the one in force.
    Same,
    /// The version names this node, which is this machine.
    Take {
        /// Since which version this machine is the node.
        since: u64,
    },
    /// The version does not name this node, and no earlier one did.
    NotYetMember,
    /// The version no longer names this node.
    Gone(Gone),
}

/// Judges a document that the head names.
pub(super) fn judge(
    me: NodeId,
    head: &Head,
    edition: &Edition,
    held: Option<&Held>,
    fleet: &Fleet,
) -> Verdict {
    if let Err(what) = head.matches(edition) {
        return Verdict::Hold(Reason::Damaged(what));
    }
    let document = edition.document();
    let before = held.and_then(|held| Document::parse(&held.bytes).ok());
    if held.is_some_and(|held| held.version == document.version()) {
        let is_same = before.as_ref() == Some(document);
        let version = document.version();
        return if is_same { Verdict::Same } else { Verdict::Hold(Reason::Forked { version }) };
    }
    if held.is_none()
        && let Some(known) = fleet.half_is_above(document.version())
    {
        return Verdict::Hold(Reason::RolledBack { store: document.version(), known });
    }
    if let Some(reason) = guarded(before.as_ref(), edition, fleet) {
        return Verdict::Hold(reason);
    }
    standing(me, document, held)
}

/// Holds a version that takes away too many, unless an operator has confirmed it since the version
/// in force, or some members have taken it.
fn guarded(before: Option<&Document>, edition: &Edition, fleet: &Fleet) -> Option<Reason> {
    let after = edition.document();
    let version = after.version();
    let Some(before) = before else {
        let is_empty = after.members().len() == 0;
        return is_empty.then_some(Reason::Guarded { version, gone: 0, of: 0 });
    };
    let is_confirmed = after.forced() > before.version() && after.members().len() > 0;
    if is_confirmed
        || !guard::takes_too_many(before, after)
        || fleet.publishing(version, &edition.hash()) >= guard::SUPPORTERS
    {
        return None;
    }
    let gone = guard::gone(before, after) as u64;
    Some(Reason::Guarded { version, gone, of: before.members().len() as u64 })
}

/// Why the list no longer names this node, or this machine; `None` if it does.
pub(super) fn gone(me: NodeId, document: &Document, held: Option<&Held>) -> Option<Gone> {
    match standing(me, document, held) {
        Verdict::Gone(gone) => Some(gone),
        _ => None,
    }
}

/// Whether the list names this node, and this machine.
fn standing(me: NodeId, document: &Document, held: Option<&Held>) -> Verdict {
    let own_since = held.and_then(|held| held.since);
    if let Some(member) = document.member(me.as_str()) {
        return match own_since {
            Some(since) if since < member.since => {
                Verdict::Gone(Gone::Replaced { version: member.since })
            }
            // The machine before it was taken back.
            Some(since) if member.replaced == Some(since) => {
                Verdict::Gone(Gone::Replaced { version: document.version() })
            }
            _ => Verdict::Take { since: member.since },
        };
    }
    match document.removed_node(me.as_str()) {
        Some(removed) => Verdict::Gone(Gone::Removed {
            version: removed.removed,
            by: removed.by.clone(),
            why: removed.why.clone(),
        }),
        None if own_since.is_some() => Verdict::Gone(Gone::Removed {
            version: document.version(),
            by: String::new(),
            why: String::new(),
        }),
        None => Verdict::NotYetMember,
    }
}
