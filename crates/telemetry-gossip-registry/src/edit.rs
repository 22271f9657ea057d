//! How an operator changes the list. Each edit takes the newest edition and gives the next one, or
//! says which rule refuses it; nothing is written here.
//!
//! ```
//! use telemetry_gossip_registry::edit::EditError;
//! use telemetry_gossip_registry::{ClusterId, Edition, Member, Stamp};
//!
//! let members = ["a", "b", "c"].map(|id| (id.parse().unwrap(), Member::at(["10.0.0.1:7946"])));
//! let first = Edition::first(ClusterId::from_random([1; 16]), "prod", members)?;
//! let second = first.remove(&["c".parse().unwrap()], None, &Stamp::new("ana", "stolen"))?;
//! assert_eq!(second.version(), 2);
//! assert_eq!(second.document().removed_node("c").unwrap().why, "stolen");
//!
//! // It does not come back by accident.
//! let again = [("c".parse().unwrap(), Member::default())];
//! assert!(matches!(second.add(again), Err(EditError::WasRemoved { .. })));
//! assert!(second.readmit("c".parse().unwrap())?.document().member("c").is_some());
//! # Ok::<(), EditError>(())
//! ```

use std::collections::BTreeMap;
use std::fmt;

use telemetry_gossip_core::NodeId;
use thiserror::Error;

use crate::document::{
    ClusterId, Document, DocumentError, Edition, MAX_REMOVED, MAX_VERSION, Member, Removed,
};
use crate::guard;
use crate::head::Stamp;

/// Why an edit is refused. Nothing is changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EditError {
    /// The outcome would break a rule of documents.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The node belongs already.
    #[error("`{id}` is a member since version {since}: `replace` is for another machine by its id")]
    #[non_exhaustive]
    AlreadyMember {
        /// The node.
        id: String,
        /// Since which version.
        since: u64,
    },
    /// The node was removed.
    #[error("`{id}` was removed in version {removed}: `readmit` takes it back")]
    #[non_exhaustive]
    WasRemoved {
        /// The node.
        id: String,
        /// By which version.
        removed: u64,
    },
    /// The node does not belong.
    #[error("`{id}` is no member: `list` shows all of them")]
    #[non_exhaustive]
    NotMember {
        /// The node.
        id: String,
    },
    /// The node was neither removed nor replaced.
    #[error("`{id}` was neither removed nor replaced: there is nothing to take back")]
    #[non_exhaustive]
    NothingToReadmit {
        /// The node.
        id: String,
    },
    /// The edit removes so many members that the operator has to say how many.
    #[error(
        "this removes {gone} of {of} members: if that is meant, say so with `--yes-remove {gone}`"
    )]
    #[non_exhaustive]
    RemovesTooMany {
        /// How many it removes.
        gone: usize,
        /// How many there are.
        of: usize,
    },
    /// The edit removes another number of members than the operator said.
    #[error("this removes {gone} members, and {said} were confirmed")]
    #[non_exhaustive]
    OtherCount {
        /// How many the operator said.
        said: usize,
        /// How many it removes.
        gone: usize,
    },
    /// No member would be left.
    #[error("no member would be left: a cluster has one at least")]
    Empty,
    /// The edit changes nothing.
    #[error("this changes nothing: the registry says so already")]
    Unchanged,
    /// A list that is imported was made from another version.
    #[error("the list is made from version {base}, and the newest is {newest}: export it again")]
    #[non_exhaustive]
    OtherBase {
        /// The version from which it was made.
        base: u64,
        /// The newest version.
        newest: u64,
    },
    /// A list that is imported is that of another cluster.
    #[error("the list is that of cluster {theirs}, and the registry that of {ours}")]
    #[non_exhaustive]
    OtherCluster {
        /// The cluster of the list.
        theirs: ClusterId,
        /// The cluster of the registry.
        ours: ClusterId,
    },
    /// There is no higher version.
    #[error("version {MAX_VERSION} is the last that there is: set the cluster up anew")]
    LastVersion,
}

impl EditError {
    /// Whether another operator was first: the edit may be made again from the newest version.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::OtherBase { .. })
    }
}

impl Edition {
    /// The first version of a new cluster.
    pub fn first(
        cluster: ClusterId,
        label: &str,
        members: impl IntoIterator<Item = (NodeId, Member)>,
    ) -> Result<Self, EditError> {
        let members: BTreeMap<NodeId, Member> =
            members.into_iter().map(|(id, member)| (id, Member { since: 1, ..member })).collect();
        if members.is_empty() {
            return Err(EditError::Empty);
        }
        let (label, removed) = (label.to_owned(), BTreeMap::new());
        let (version, forced, recovered) = (1, 0, 0);
        let previous = None;
        let document =
            Document { cluster, label, version, previous, forced, recovered, members, removed };
        Ok(Self::write(&document)?)
    }

    /// Adds nodes.
    ///
    /// # Errors
    /// One of them belongs already, or was removed. None is added then.
    pub fn add(
        &self,
        members: impl IntoIterator<Item = (NodeId, Member)>,
    ) -> Result<Self, EditError> {
        let mut next = self.next()?;
        for (id, member) in members {
            if let Some(known) = next.members.get(&id) {
                return Err(EditError::AlreadyMember { id: id.to_string(), since: known.since });
            }
            if let Some(Removed { removed, .. }) = next.removed.get(&id) {
                return Err(EditError::WasRemoved { id: id.to_string(), removed: *removed });
            }
            let member = Member { since: next.version, replaced: None, ..member };
            next.members.insert(id, member);
        }
        self.finish(next, None)
    }

    /// Removes nodes. `confirmed` is how many the operator said are to be removed.
    ///
    /// # Errors
    /// One of them is no member, or they are so many that `confirmed` has to say how many. None is
    /// removed then.
    pub fn remove(
        &self,
        ids: &[NodeId],
        confirmed: Option<usize>,
        stamp: &Stamp,
    ) -> Result<Self, EditError> {
        let mut next = self.next()?;
        for id in ids {
            take_away(&mut next, *id, stamp)?;
        }
        self.finish(next, confirmed)
    }

    /// Says that another machine is the node `id` from now on. The one that was leaves as soon as
    /// it learns of it. `addresses` replaces the addresses, if there are any.
    pub fn replace(&self, id: NodeId, addresses: Vec<String>) -> Result<Self, EditError> {
        let mut next = self.next()?;
        let version = next.version;
        let not_member = || EditError::NotMember { id: id.to_string() };
        let member = next.members.get_mut(&id).ok_or_else(not_member)?;
        member.replaced = Some(member.since);
        member.since = version;
        if !addresses.is_empty() {
            member.addresses = addresses;
        }
        self.finish(next, None)
    }

    /// Takes back a removed node, or the machine that was replaced. The machine that took its place
    /// leaves as soon as it learns of it.
    pub fn readmit(&self, id: NodeId) -> Result<Self, EditError> {
        let mut next = self.next()?;
        if let Some(removed) = next.removed.remove(&id) {
            next.members.insert(id, removed.was);
        } else {
            let member = next.members.get_mut(&id);
            let replaced = member.and_then(|member| Some((member.replaced?, member)));
            let nothing = || EditError::NothingToReadmit { id: id.to_string() };
            let (since, member) = replaced.ok_or_else(nothing)?;
            // The machine that took its place is the one that is replaced now, and leaves.
            member.replaced = Some(std::mem::replace(&mut member.since, since));
        }
        self.finish(next, None)
    }

    /// Takes over the members of a list that was exported as `list` and edited since: those that it
    /// has no more are removed, new ones are added, addresses and labels are taken over.
    ///
    /// # Errors
    /// The list was made from another version, or of another cluster; it has a node that was
    /// removed; or it removes so many that `confirmed` has to say how many.
    pub fn import(
        &self,
        list: &Document,
        confirmed: Option<usize>,
        stamp: &Stamp,
    ) -> Result<Self, EditError> {
        let (theirs, ours) = (list.cluster, self.document().cluster);
        if theirs != ours {
            return Err(EditError::OtherCluster { theirs, ours });
        }
        if list.version != self.version() {
            return Err(EditError::OtherBase { base: list.version, newest: self.version() });
        }
        self.take_over(&list.members, confirmed, stamp)
    }

    /// Takes over a list of all members, as [`import`](Self::import) does, from whatever version it
    /// was made.
    pub fn take_over(
        &self,
        list: &BTreeMap<NodeId, Member>,
        confirmed: Option<usize>,
        stamp: &Stamp,
    ) -> Result<Self, EditError> {
        let mut next = self.next()?;
        let gone: Vec<NodeId> =
            next.members.keys().filter(|id| !list.contains_key(*id)).copied().collect();
        for id in gone {
            take_away(&mut next, id, stamp)?;
        }
        for (id, wanted) in list {
            if let Some(Removed { removed, .. }) = next.removed.get(id) {
                return Err(EditError::WasRemoved { id: id.to_string(), removed: *removed });
            }
            let version = next.version;
            let (since, replaced) =
                next.members.get(id).map_or((version, None), |known| (known.since, known.replaced));
            next.members.insert(*id, Member { since, replaced, ..wanted.clone() });
        }
        self.finish(next, confirmed)
    }

    /// Ends a fork of the history, or a fall of the version as after a restore from a backup: makes
    /// this edition the version above `newest`, the highest that any node or the store has. Nodes
    /// take it whatever they have, as an operator has decided.
    pub fn recover(&self, newest: u64) -> Result<Self, EditError> {
        let mut next = self.next()?;
        next.version = newest.max(self.version()).checked_add(1).ok_or(EditError::LastVersion)?;
        if next.version > MAX_VERSION {
            return Err(EditError::LastVersion);
        }
        next.forced = next.version;
        next.recovered = next.version;
        Ok(Self::write(&next)?)
    }

    /// The same list as the next version.
    fn next(&self) -> Result<Document, EditError> {
        let version = self.version() + 1;
        if version > MAX_VERSION {
            return Err(EditError::LastVersion);
        }
        Ok(Document { version, previous: Some(self.hash()), ..self.document().clone() })
    }

    /// Checks what an edit has made of the list, and writes it.
    fn finish(&self, mut next: Document, confirmed: Option<usize>) -> Result<Self, EditError> {
        let before = self.document();
        if next.members == before.members {
            return Err(EditError::Unchanged);
        }
        if next.members.is_empty() {
            return Err(EditError::Empty);
        }
        let (gone, of) = (guard::gone(before, &next), before.members.len());
        match confirmed {
            Some(said) if said != gone => return Err(EditError::OtherCount { said, gone }),
            Some(_) if guard::takes_too_many(before, &next) => next.forced = next.version,
            None if guard::takes_too_many(before, &next) => {
                return Err(EditError::RemovesTooMany { gone, of });
            }
            _ => {}
        }
        forget_oldest(&mut next.removed);
        Ok(Self::write(&next)?)
    }
}

/// Moves a member to the removed nodes.
fn take_away(next: &mut Document, id: NodeId, stamp: &Stamp) -> Result<(), EditError> {
    let not_member = || EditError::NotMember { id: id.to_string() };
    let was = next.members.remove(&id).ok_or_else(not_member)?;
    let Stamp { by, why, .. } = stamp.clone();
    next.removed.insert(id, Removed { removed: next.version, by, why, was });
    Ok(())
}

/// Forgets the nodes that were removed first, if there are too many.
fn forget_oldest(removed: &mut BTreeMap<NodeId, Removed>) {
    let excess = removed.len().saturating_sub(MAX_REMOVED);
    if excess == 0 {
        return;
    }
    let mut oldest: Vec<(u64, NodeId)> =
        removed.iter().map(|(id, entry)| (entry.removed, *id)).collect();
    oldest.sort_unstable();
    for (_, id) in oldest.into_iter().take(excess) {
        removed.remove(&id);
    }
}

/// What differs between two versions of the list. Its `Display` is one line for each node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The nodes that only the later version has.
    pub added: Vec<NodeId>,
    /// The nodes that only the earlier version has.
    pub removed: Vec<NodeId>,
    /// The nodes that are another machine in the later version.
    pub replaced: Vec<NodeId>,
    /// The nodes whose addresses, labels or seed marks differ.
    pub changed: Vec<NodeId>,
}

impl Difference {
    /// Compares two versions.
    #[must_use]
    pub fn between(earlier: &Document, later: &Document) -> Self {
        let mut difference = Self::default();
        for (id, before) in &earlier.members {
            match later.members.get(id) {
                None => difference.removed.push(*id),
                Some(after) if after.since != before.since => difference.replaced.push(*id),
                Some(after) if after != before => difference.changed.push(*id),
                Some(_) => {}
            }
        }
        let is_new = |id: &&NodeId| !earlier.members.contains_key(*id);
        difference.added = later.members.keys().filter(is_new).copied().collect();
        difference
    }

    /// Whether both have the same members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { added, removed, replaced, changed } = self;
        [added, removed, replaced, changed].iter().all(|ids| ids.is_empty())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { added, removed, replaced, changed } = self;
        let kinds =
            [("added", added), ("removed", removed), ("replaced", replaced), ("changed", changed)];
        let mut first = true;
        for (word, ids) in kinds {
            for id in ids {
                if !std::mem::take(&mut first) {
                    f.write_str("\n")?;
                }
                write!(f, "{word} {id}")?;
            }
        }
        Ok(())
    }
}
